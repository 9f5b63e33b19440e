package lab_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evenkeel/lab/probe"
)

// within waits until ok says yes, asking every 20 ms.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

func TestNetworksAsInTheTable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for where, addresses := range map[string][]string{
		"a":      {"10.88.1.2", "10.88.1.9", "10.88.1.254", "10.88.2.2", "10.88.2.254", "10.88.3.2"},
		"client": {"10.88.1.1", "10.88.2.2", "10.88.2.254"},
	} {
		for _, address := range addresses {
			if !w.reaches(where, address) {
				t.Errorf("%s does not reach %s", where, address)
			}
		}
	}
	if w.pings("client", "10.88.3.1") {
		t.Error("the client reaches the replication network")
	}
	for node, want := range map[string]string{"a": "evenkeel-master.lab", "b": "evenkeel-slave.lab"} {
		if got := w.ok("exec", node, "--", "hostname"); got != want {
			t.Errorf("%s is called %q", node, got)
		}
	}
}

// carrier reads a node's device.
func (w *world) carrier(node, device string) string {
	return w.ok("exec", node, "--", "cat", "/sys/class/net/"+device+"/carrier")
}

func TestCutAndJoin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok("cut", "a:lan")
	if c := w.carrier("a", "lan"); c != "0" {
		t.Errorf("a:lan is cut and has carrier %s", c)
	}
	if c := w.carrier("b", "lan"); c != "1" || !w.reaches("b", "10.88.1.254") {
		t.Errorf("cutting a:lan cuts b:lan (carrier %s)", c)
	}
	w.ok("kill", "a")
	w.ok("start", "a")
	if c := w.carrier("a", "lan"); c != "0" {
		t.Error("a cut did not stay over kill and start")
	}
	w.ok("join", "a:lan")
	within(t, 3*time.Second, "a joined cable carries", func() bool { return w.pings("a", "10.88.1.2") })
	w.ok("cut", "a:all")
	for _, device := range []string{"lan", "wan", "sync"} {
		if w.carrier("a", device) != "0" || w.carrier("b", device) != "1" {
			t.Errorf("a:all is cut: carrier of %s is wrong", device)
		}
	}
	w.ok("join", "all")
	within(t, 3*time.Second, "all is joined", func() bool { return w.pings("a", "10.88.3.2") && w.pings("a", "10.88.1.2") })
}

func TestSilentAndOneWayKeepTheCarrier(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok("cut", "sync", "--silent")
	if w.carrier("a", "sync") != "1" || w.pings("a", "10.88.3.2") {
		t.Error("a silent cut must keep the carrier and drop the frames")
	}
	w.ok("join", "sync")
	if !w.reaches("a", "10.88.3.2") {
		t.Error("a silent cut does not end")
	}
	before := w.received("b", "sync")
	w.ok("cut", "sync", "--to", "a")
	if w.pings("a", "10.88.3.2") {
		t.Error("a hears although it is cut one way")
	}
	if after := w.received("b", "sync"); after <= before {
		t.Errorf("b does not hear a: %d frames before, %d after", before, after)
	}
	if c := w.fails(2, "cut", "b:lan", "--to", "a"); !strings.Contains(c, "cut a:... --to a") {
		t.Errorf("an impossible direction is answered by %q", c)
	}
}

// received counts the frames that a node's device took in.
func (w *world) received(node, device string) (n int) {
	w.t.Helper()
	if _, err := fmt.Sscan(w.ok("exec", node, "--", "cat", "/sys/class/net/"+device+"/statistics/rx_packets"), &n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// probe asks the echo service of a node from the client. The exit code says whether anybody answered.
func (w *world) probe(args ...string) probe.Result {
	w.t.Helper()
	out, complaint, code := w.run(append([]string{"probe", "--json"}, args...)...)
	var r probe.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		w.t.Fatalf("lab probe %v ended with %d: %v: %s", args, code, err, complaint)
	}
	if nobody := len(r.AnsweredBy) == 0; nobody != (code == 1) || nobody != strings.Contains(complaint, "nobody answered") {
		w.t.Errorf("lab probe %v ended with %d after %+v: %s", args, code, r, complaint)
	}
	return r
}

// echo starts the echo service in a node.
func (w *world) echo(node string) {
	w.t.Helper()
	cmd := exec.Command("/proc/self/exe", "lab", "--dir", w.dir, "exec", node, "--", "/run/lab/evenkeel", "lab", "echo", "--node", node)
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = cmd.Wait() }) // ends with the lab, whose cleanup runs first only if the lab was made later
	within(w.t, 5*time.Second, "echo answers", func() bool {
		r := w.probe("--for", "20ms", "--every", "10ms", "10.88.1."+map[string]string{"a": "1", "b": "2"}[node]+":7007")
		return r.Lost == 0
	})
}

func TestProbeLossAndFreeze(t *testing.T) {
	w := newWorld(t)
	t.Cleanup(func() { w.ok("down") }) // before the echo services are waited for
	w.ok("exec", "a", "--", "ip", "address", "add", "10.88.1.100/24", "dev", "lan")
	defer w.ok("down")
	w.echo("a")
	r := w.probe("--for", "1s", "10.88.1.100:7007")
	if r.Sent != 200 || r.Lost > 2 || len(r.AnsweredBy) != 1 || r.AnsweredBy[0].Node != "a" {
		t.Errorf("a healthy second: %+v", r)
	}
	t.Logf("a healthy second: %+v", r)
	w.ok("loss", "a:lan", "30%")
	r = w.probe("--for", "2s", "10.88.1.1:7007")
	if share := float64(r.Lost) / float64(r.Sent); share < 0.35 || share > 0.67 { // 1 - 0.7*0.7 = 0.51
		t.Errorf("30%% loss each way loses %.2f of the answers", share)
	}
	w.ok("loss", "a:lan", "0%")
	w.frozenMachine()
}

// frozenMachine freezes a in both ways.
func (w *world) frozenMachine() {
	w.t.Helper()
	w.ok("freeze", "a")
	if w.pings("b", "10.88.1.1") || w.carrier("b", "lan") != "1" {
		w.t.Error("a frozen machine answers, or the other side lost its carrier")
	}
	if r := w.probe("--for", "300ms", "10.88.1.1:7007"); r.Lost != r.Sent || r.LongestSilence < 290 {
		w.t.Errorf("a frozen machine answers: %+v", r)
	}
	if c := w.fails(1, "freeze", "a"); !strings.Contains(c, "already") {
		w.t.Errorf("freezing twice says %q", c)
	}
	w.ok("thaw", "a")
	if r := w.probe("--for", "300ms", "10.88.1.1:7007"); r.Lost > 5 {
		w.t.Errorf("a thawed machine does not answer: %+v", r)
	}
	w.ok("freeze", "a", "--userland")
	if !w.reaches("b", "10.88.1.1") {
		w.t.Error("the kernel of a machine with frozen userland does not answer")
	}
	if r := w.probe("--for", "300ms", "10.88.1.1:7007"); r.Lost != r.Sent {
		w.t.Errorf("a frozen userland answers: %+v", r)
	}
	w.ok("thaw", "a")
}

func TestGatewayStaysTheSameMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	neighbour := func() string {
		if !w.reaches("b", "10.88.1.254") {
			t.Error("the gateway does not answer")
		}
		return w.ok("exec", "b", "--", "sh", "-c", "ip neighbour show 10.88.1.254 dev lan | cut -d ' ' -f 3")
	}
	before := neighbour()
	w.ok("kill", "a")
	if after := neighbour(); after != before || before == "" {
		t.Errorf("when a's power is cut the gateway's hardware address changes from %q to %q", before, after)
	}
}

func TestPowerCutAndStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok("exec", "a", "--", "sh", "-c", "echo kept > /var/lib/evenkeel/x; echo kept > /var/lib/evenkeel/disks/x; echo lost > /run/evenkeel/x")
	began := time.Now()
	w.ok("kill", "a")
	t.Logf("a power cut took %s", time.Since(began))
	if c := w.fails(1, "exec", "a", "--", "true"); !strings.Contains(c, "lab start a") {
		t.Errorf("a command in a node that is off says %q", c)
	}
	w.ok("start", "a")
	if got := w.ok("exec", "a", "--", "sh", "-c", "cat /var/lib/evenkeel/x /var/lib/evenkeel/disks/x; ls /run/evenkeel"); got != "kept\nkept" {
		t.Errorf("after a boot the node's folders hold %q", got)
	}
	w.ok("stop", "b")
	if on := w.status().Nodes[1].On; on {
		t.Error("b was stopped and is on")
	}
	w.fails(1, "stop", "b")
	w.ok("start", "b")
	within(t, 3*time.Second, "both machines see each other", func() bool { return w.pings("a", "10.88.3.2") })
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, _, code := w.run("exec", "a", "--", "sh", "-c", "exit 7"); code != 7 {
		t.Errorf("exec ends with %d, its command with 7", code)
	}
	if _, _, code := w.run("exec", "client", "--", "sh", "-c", "exit 9"); code != 9 {
		t.Errorf("exec client ends with %d, its command with 9", code)
	}
	for _, wrong := range [][]string{
		{"cut", "everything"}, {"cut", "c:lan"}, {"kill", "c"}, {"loss", "a:lan", "130%"}, {"loss", "serial", "3%"}, {"noise", "lan", "3%"},
		{"baud", "serial", "17"}, {"disk", "a", "gone"}, {"state-disk", "a", "slow"}, {"exec", "d", "--", "true"}, {"probe"}, {"freeze"},
	} {
		w.fails(2, wrong...)
	}
	w.fails(1, "kill", "a", "heart")
	w.ok("down")
	if c := w.fails(1, "cut", "lan"); !strings.Contains(c, "lab up") {
		t.Errorf("without a lab: %q", c)
	}
}

func TestDiskAndStateFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok("disk", "a", "slow")
	var f struct {
		Mode string
		Seed int64
	}
	b, err := os.ReadFile(filepath.Join(w.dir, "a/var/disks/faults.json"))
	if err != nil || json.Unmarshal(b, &f) != nil || f.Mode != "slow" || f.Seed == 0 {
		t.Errorf("the fault layer reads %s (%v)", b, err)
	}
	fill := []string{"exec", "a", "--", "sh", "-c", "head -c 100000 /dev/zero > /var/lib/evenkeel/big"}
	w.ok("state-disk", "a", "full")
	if _, complaint, code := w.run(fill...); code == 0 || !strings.Contains(complaint, "No space left") {
		t.Errorf("a full state folder takes 100 kB (%d, %s)", code, complaint)
	}
	w.ok("exec", "a", "--", "sh", "-c", "head -c 100000 /dev/zero > /var/lib/evenkeel/disks/big")
	w.ok("state-disk", "a", "ok")
	w.ok(fill...)
}

func TestConsoleListenerEndsWithTheMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := strings.TrimPrefix(w.status().Nodes[0].Console, "https://")
	conn, err := net.DialTimeout("tcp", at, time.Second)
	if err != nil {
		t.Fatalf("nobody listens for a's console: %v", err)
	}
	conn.Close()
	w.ok("kill", "a")
	if conn, err := net.DialTimeout("tcp", at, time.Second); err == nil {
		conn.Close()
		t.Error("a machine that is off accepts connections to its console")
	}
	w.ok("start", "a")
	if now := w.status().Nodes[0].Console; now != "https://"+at {
		t.Errorf("the console moved from %s to %s", at, now)
	}
}
