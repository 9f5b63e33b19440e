package heart

import (
	"bufio"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/beat"
	"evenkeel/ha/link/linktest"
)

// A heart for Ethernet tests is a process of its own in a network namespace of its own: this test binary, started anew.
const childEnv = "HEART_TEST_RUN_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(child(dir))
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // they wait, mostly
		panic(err)
	}
	os.Exit(m.Run())
}

// child runs heart once its network is there, until its stdin ends.
func child(dir string) int {
	if err := Prepare(); err != nil { // the real thing: the process executes itself again
		slog.Warn("not prepared", "why", err)
	}
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return 1
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() { in.ReadString('\n'); stop() }()
	if err := Run(ctx, Options{RunDir: dir}); err != nil {
		slog.Error("heart ended", "why", err)
		return 1
	}
	return 0
}

// isolate starts a child in its namespace; goOn lets it run.
func isolate(t *testing.T, dir string) (cmd *exec.Cmd, goOn func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("network namespaces need root")
	}
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGCONT)
		in.Close()
		cmd.Wait()
	})
	return cmd, func() {
		if _, err := in.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
	}
}

func (n *node) dial() {
	n.t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := Dial(n.t.Context(), filepath.Join(n.dir, SocketName))
		if err == nil {
			n.c = c
			n.t.Cleanup(func() { c.Close() })
			return
		}
		if time.Now().After(end) {
			n.t.Fatal(err)
		}
	}
}

func lan(every time.Duration) LinkSetup {
	return LinkSetup{Name: linktest.Device, Kind: ha.LinkUDP, Interval: every}
}

// ethernetPair starts two hearts in two namespaces with a cable between them.
func ethernetPair(t *testing.T, every time.Duration) (*linktest.EthernetCable, *node, *node, *exec.Cmd) {
	t.Helper()
	a, b := newNode(t, "a", "b", lan(every)), newNode(t, "b", "a", lan(every))
	ca, goA := isolate(t, a.dir)
	cb, goB := isolate(t, b.dir)
	cable := linktest.Ethernet(t, ca.Process.Pid, cb.Process.Pid)
	goA()
	goB()
	a.dial()
	b.dial()
	a.order(Order{Setup: &a.setup})
	b.order(Order{Setup: &b.setup})
	a.until("b", linkUp)
	b.until("a", linkUp)
	return cable, a, b, ca
}

func TestTwoHeartsOverEthernet(t *testing.T) {
	t.Parallel()
	cable, a, b, _ := ethernetPair(t, 50*time.Millisecond)
	r := a.until("the peer's hardware address", func(r Report) bool { return r.PeerMACs[linktest.Device] != "" })
	if l := r.Facts.Links[0]; l.Carrier == nil || !*l.Carrier || l.Problem != "" || l.HeardByPeer == nil || !*l.HeardByPeer {
		t.Errorf("%+v", l)
	}
	if r.Counters[linktest.Device].Refused["own"] != 0 && r.Counters[linktest.Device].Refused["ttl"] != 0 {
		t.Errorf("own beats are refused as %v", r.Counters[linktest.Device].Refused)
	}

	cable.CutToB(true)
	began := time.Now()
	b.until("quiet link", linkIs(ha.LinkQuiet))
	t.Logf("quiet %v after a silent cut, at 50 ms", time.Since(began).Round(time.Millisecond))
	a.until("own beats not heard", func(r Report) bool { h := r.Facts.Links[0].HeardByPeer; return h != nil && !*h })
	cable.CutToB(false)
	b.until("link up again", linkIs(ha.LinkUp))

	cable.Carrier(false)
	a.until("carrier lost", func(r Report) bool { c := r.Facts.Links[0].Carrier; return c != nil && !*c })
	cable.Carrier(true)
	a.until("carrier and link back", func(r Report) bool {
		c := r.Facts.Links[0].Carrier
		return c != nil && *c && linkUp(r)
	})
}

func TestADeviceComesAndGoes(t *testing.T) {
	t.Parallel()
	cable, a, b, _ := ethernetPair(t, 50*time.Millisecond)
	problem := func(part string) func(Report) bool {
		return func(r Report) bool { return strings.Contains(r.Facts.Links[0].Problem, part) }
	}
	cable.Address(false)
	a.until("missing address named", problem("has no IPv4 address"))
	b.until("quiet link", linkIs(ha.LinkQuiet))
	cable.Address(true)
	b.until("link up with the address", linkIs(ha.LinkUp))
	cable.Unplug()
	a.until("missing device named", problem("does not exist"))
	cable.Plug()
	a.until("link up on the new device", linkIs(ha.LinkUp))
	b.until("link up on the new device", linkIs(ha.LinkUp))
}

// Each kind of stranger has a counter of its own (N12, N18).
func TestStrangersAreRefusedByName(t *testing.T) {
	t.Parallel()
	cable, a, b, _ := ethernetPair(t, 100*time.Millisecond)
	forge := func(cluster uint8, key []byte, boot ha.BootName) []byte {
		c, err := beat.NewCodec(cluster, "b", "a", [][]byte{key})
		if err != nil {
			t.Fatal(err)
		}
		p, err := beat.Pages(boot, &ha.Saying{Role: ha.Master, Epoch: ha.Epoch{Counter: 99, Node: "b"}})
		if err != nil {
			t.Fatal(err)
		}
		h := beat.Head{Boot: boot, Seq: 1, Link: beat.TagOf(ha.LinkUDP, linktest.Device)}
		return c.AppendFull(nil, &h, &p[0])
	}
	var other ha.BootName
	rand.Read(other[:])
	good := forge(7, testKey, b.setup.Boot)
	cable.InjectAtB(999, 64, good)
	cable.InjectAtB(999, 255, good) // its number is below all that b sent: a recording
	cable.InjectAtB(999, 255, forge(7, testKey, other))
	cable.InjectAtB(999, 255, forge(8, testKey, b.setup.Boot))
	cable.InjectAtB(999, 255, forge(7, []byte("a key that nobody of us ever made"), b.setup.Boot))
	cable.InjectAtB(999, 255, []byte("no beat at all, but long enough to be looked at"))
	want := map[string]uint64{"ttl": 1, "replay": 2, "cluster": 1, "key": 1, "malformed": 1}
	r := a.until("refusals", func(r Report) bool {
		for why, n := range want {
			if r.Counters[linktest.Device].Refused[why] != n {
				return false
			}
		}
		return true
	})
	if r.Beat.Epoch.Counter == 99 {
		t.Error("a stranger was believed")
	}
}

func TestAHeartThatStoodStillSaysSo(t *testing.T) {
	t.Parallel()
	_, a, _, cmd := ethernetPair(t, 100*time.Millisecond)
	cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(400 * time.Millisecond) // the length of the standstill, not a wait for a state
	cmd.Process.Signal(syscall.SIGCONT)
	r := a.until("lateness", func(r Report) bool { return r.Facts.Late >= 250*time.Millisecond })
	if r.Facts.WokeAt < r.Facts.Since || r.Now.Sub(r.Facts.WokeAt) > 2*time.Second {
		t.Errorf("woke at %d, now %d", r.Facts.WokeAt, r.Now)
	}
}

// Spacing as b measures it by the beats' own clock, with every processor busy.
func TestBeatsAreEvenUnderLoad(t *testing.T) {
	_, a, b, cmd := ethernetPair(t, 50*time.Millisecond)
	var stop atomic.Bool
	for range 4 {
		go func() {
			for !stop.Load() {
			}
		}()
	}
	defer stop.Store(true)
	var gaps []time.Duration
	var last ha.Beat
	b.until("40 beats", func(r Report) bool {
		a.order(Order{})
		if r.Beat != nil && r.Beat.Seq != last.Seq {
			if r.Beat.Seq == last.Seq+1 { // reports may skip a beat, which is no gap
				gaps = append(gaps, r.Beat.SentAt.Sub(last.SentAt))
			}
			last = *r.Beat
		}
		return len(gaps) >= 40
	})
	slices.Sort(gaps)
	r := <-a.c.Reports()
	t.Logf("spacing at 50 ms with all processors busy: median %v, longest %v; real time %v, late %v",
		gaps[len(gaps)/2].Round(10*time.Microsecond), gaps[len(gaps)-1].Round(10*time.Microsecond), r.Facts.RealTime, r.Facts.Late)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "VmLck") {
			t.Log(strings.TrimSpace(line))
		}
	}
}
