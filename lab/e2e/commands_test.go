package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// tour goes through the commands and remembers which were run.
type tour struct {
	*lab
	used map[string]bool
}

// ends runs a command that must end with code and say want, and returns all that it said.
func (c *tour) ends(t *testing.T, code int, want string, args ...string) string {
	t.Helper()
	c.note(args)
	got, out := c.exitCode(t, args...)
	if got != code || !strings.Contains(out, want) {
		t.Errorf("%q ends with %d, want %d and %q:\n%s", args, got, code, want, out)
	}
	return out
}

// says is ends for a command that must succeed.
func (c *tour) says(t *testing.T, want string, args ...string) string {
	t.Helper()
	return c.ends(t, control.ExitDone, want, args...)
}

// note remembers the command in args: what stands behind `lab exec NODE -- evenkeel` too. Every beginning counts: what follows are arguments.
func (c *tour) note(args []string) {
	for _, from := range []int{0, slices.Index(args, "evenkeel") + 1} {
		path := ""
		for i, a := range args[from:] {
			if strings.HasPrefix(a, "--") || from+i > 0 && args[from+i-1] == "--node" {
				continue
			}
			path = strings.TrimSpace(path + " " + a)
			c.used[path] = true
		}
	}
}

// feed runs a command inside a node with something on its standard input.
func (c *tour) feed(t *testing.T, input, node string, words ...string) string {
	t.Helper()
	args := onNode(node, words...)
	c.note(args)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(os.Environ(), "EVENKEEL_LAB="+c.dir)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%q: %v\n%s", words, err, out)
	}
	return string(out)
}

// TestHelp walks the whole tree: every command can be asked for help, says what it does, and writes nothing to stderr.
func TestHelp(t *testing.T) {
	leaves := helpLeaves(t)
	if len(leaves) < 40 {
		t.Errorf("only %d commands were found: %q", len(leaves), leaves)
	}
	for _, absent := range []string{"join", "join-code", "backup", "restore", "replay", "simulate", "support-bundle", "volume grow", "volume verify"} {
		if slices.Contains(leaves, absent) {
			continue // its issue has come
		}
		cmd := exec.Command(bin, strings.Fields(absent)...)
		if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != control.ExitUsage {
			t.Errorf("%s is absent from the help and ends with %d: %s", absent, cmd.ProcessState.ExitCode(), out)
		}
	}
}

// helpLeaves are the commands of the help tree that have none below them, such as "volume list".
func helpLeaves(t *testing.T, path ...string) (leaves []string) {
	t.Helper()
	cmd := exec.Command(bin, append(slices.Clone(path), "--help")...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil || complaint.Len() > 0 {
		t.Errorf("%q --help: %v %s", path, err, complaint.String())
	}
	text := out.String()
	if !strings.Contains(text, "Usage:") || !regexp.MustCompile(`^[A-Z][^\n]{8,}`).MatchString(text) {
		t.Errorf("%q --help does not say what it does:\n%s", path, text)
	}
	_, list, group := strings.Cut(text, "Available Commands:\n")
	if !group {
		return []string{strings.Join(path, " ")}
	}
	list, _, _ = strings.Cut(list, "\n\n")
	for _, line := range strings.Split(list, "\n") {
		name := strings.Fields(line)
		if len(name) < 2 {
			t.Errorf("%q lists %q without a word about it", path, line)
			continue
		}
		if name[0] == "help" {
			continue
		}
		leaves = append(leaves, helpLeaves(t, append(slices.Clone(path), name[0])...)...)
	}
	return leaves
}

// TestEveryCommand runs each command of the help in one lab and looks at its effect. The last step proves that none was left out.
func TestEveryCommand(t *testing.T) {
	c := &tour{lab: upLab(t), used: map[string]bool{"lab up": true}}
	c.calm(t, "a")
	for _, sub := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"looking", c.looking}, {"events", c.eventsCommand}, {"moving", c.moving}, {"standby and arm", c.standbyAndArm},
		{"volume", c.volumeCommands}, {"volume refusals", c.volumeRefusals}, {"config", c.configCommands}, {"user", c.userCommands},
		{"check", c.checkCodes}, {"exec and probe", c.execAndProbe}, {"machines", c.machines},
		{"lines", c.lines}, // late: a lossy network makes the reference point doubtful for a while
		{"run and down", c.runAndDown},
	} {
		t.Run(sub.name, sub.run)
	}
	for _, leaf := range helpLeaves(t) {
		if !c.used[leaf] {
			t.Errorf("%q is in the help and was not run", leaf)
		}
	}
}

func (c *tour) looking(t *testing.T) {
	c.says(t, "This node serves; the other node is alive as slave.", onNode("a", "status")...)
	c.says(t, "This node stands by and could take over", "--node", "b", "status")
	c.says(t, "This node stands by and could take over", onNode("a", "--node", "b", "status")...)
	var s control.Status
	if out := c.says(t, `"running_role": "master"`, onNode("a", "status", "--json")...); json.Unmarshal([]byte(out), &s) != nil || s.Node != "a" {
		t.Errorf("status --json: %s", out)
	}
	c.says(t, "Node a is master: ", onNode("a", "explain")...)
	var e control.Explanation
	if out := c.says(t, "decision", onNode("b", "explain", "--json")...); json.Unmarshal([]byte(out), &e) != nil || e.Sentence == "" || len(e.Rungs) == 0 {
		t.Errorf("explain --json: %s", out)
	}
}

func (c *tour) eventsCommand(t *testing.T) {
	all := c.says(t, "role.master", onNode("a", "events")...)
	if strings.Count(all, "\n") < 3 {
		t.Errorf("few events: %s", all)
	}
	for _, line := range strings.Split(strings.TrimSpace(c.says(t, "role.master", onNode("a", "events", "--json")...)), "\n") {
		var e control.Event
		if json.Unmarshal([]byte(line), &e) != nil || e.Code == "" || e.Text == "" {
			t.Errorf("events --json: %q", line)
		}
	}
	if one := c.says(t, "", onNode("a", "events", "--limit", "1")...); strings.Count(one, "\n") != 1 {
		t.Errorf("--limit 1: %s", one)
	}
	if some := c.says(t, "role.master", onNode("a", "events", "--log", "failover")...); strings.Contains(some, "link.up") {
		t.Errorf("--log failover shows the heartbeat's: %s", some)
	}
	if none := c.says(t, "", onNode("a", "events", "--severity", "critical")...); none != "" {
		t.Errorf("critical events in a good start: %s", none)
	}
	c.follow(t)
}

// follow sees an event that comes after `events --follow` was started.
func (c *tour) follow(t *testing.T) {
	cmd := exec.Command(bin, onNode("a", "events", "--follow", "--limit", "1")...)
	cmd.Env = append(os.Environ(), "EVENKEEL_LAB="+c.dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for found := false; lines.Scan() && !found; {
			if found = strings.Contains(lines.Text(), "volume.pause"); found {
				seen <- true
			}
		}
	}()
	defer func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() }()
	c.await(t, 20*time.Second, "events --follow shows what happens now", func() bool {
		c.run(t, "--node", "a", "volume", "pause", "data")
		select {
		case <-seen:
			return true
		default:
			return false
		}
	})
	c.run(t, "--node", "a", "volume", "resume", "data")
}

func (c *tour) moving(t *testing.T) {
	c.says(t, "Nothing speaks against it.", "--node", "b", "takeover", "--dry-run")
	c.says(t, "Nothing speaks against it.", "--node", "a", "release", "--dry-run")
	c.says(t, "already", "--node", "a", "takeover", "--dry-run")
	if b, _ := c.status("b"); !isSlave(b) {
		t.Error("a dry run moved something")
	}
	c.says(t, "addresses", "--node", "b", "takeover")
	c.settle(t, "b")
	c.ends(t, control.ExitUsage, "confirm", "--node", "a", "takeover", "--force", "--confirm", "b")
	c.ends(t, control.ExitUsage, "goes with --force", "--node", "a", "takeover", "--confirm", "a")
	c.says(t, "unmount", "--node", "b", "release")
	c.settle(t, "a")
}

func (c *tour) standbyAndArm(t *testing.T) {
	c.says(t, "", "--node", "b", "standby", "on")
	c.is(t, 10*time.Second, "b", "is on standby", func(s control.Status) bool { return s.State == "standby" && condition(s, "standby.on") != nil })
	c.ends(t, control.ExitRefused, "tandby", "--node", "b", "takeover")
	if out := c.says(t, "", "--node", "b", "standby", "off"); out != "Done.\n" {
		t.Errorf("standby off tells of an earlier move: %s", out)
	}
	c.is(t, 10*time.Second, "b", "stands by again", isSlave)
	if out := c.says(t, "", "--node", "a", "disarm"); out != "Done.\n" {
		t.Errorf("disarm tells of an earlier move: %s", out)
	}
	c.is(t, 10*time.Second, "a", "is disarmed", func(s control.Status) bool { return !s.Armed && condition(s, "armed.off") != nil })
	c.ends(t, 1, "WARNING", "--node", "a", "check")
	c.says(t, "", "--node", "a", "arm")
	c.is(t, 10*time.Second, "a", "is armed", func(s control.Status) bool { return s.Armed && condition(s, "armed.off") == nil })
	c.settle(t, "a")
}

func (c *tour) volumeCommands(t *testing.T) {
	c.says(t, "UpToDate", "--node", "a", "volume", "list")
	var list []control.Volume
	if out := c.says(t, "", "--node", "b", "volume", "list", "--json"); json.Unmarshal([]byte(out), &list) != nil || len(list) != 1 || list[0].Role != "Secondary" {
		t.Errorf("volume list --json: %s", out)
	}
	c.says(t, "Primary", "volume", "inspect", c.dataFile("a"))
	c.says(t, "pause is done", "--node", "a", "volume", "pause", "data")
	c.says(t, "resume is done", "--node", "a", "volume", "resume", "data")
	c.says(t, "disconnect is done", "--node", "b", "volume", "disconnect", "data")
	c.is(t, 10*time.Second, "b", "is not connected", func(s control.Status) bool { return s.Volumes[0].Connection == "StandAlone" })
	c.says(t, "connect is done", "--node", "b", "volume", "connect", "data")
	c.calm(t, "a")
	c.says(t, "detach is done", "--node", "b", "volume", "detach", "data")
	c.is(t, 10*time.Second, "b", "has no disk", func(s control.Status) bool {
		return (s.Volumes[0].Disk == "Failed" || s.Volumes[0].Disk == "Diskless") && condition(s, "volume.detached") != nil && !s.Takeover.Possible
	})
	c.is(t, 10*time.Second, "a", "names b's disk", func(s control.Status) bool {
		return s.Volumes[0].PeerDisk != "Outdated" && anyText(s, "volume.detached", "other node")
	})
	c.says(t, "starts anew", "--node", "b", "volume", "connect", "data")
	c.calm(t, "a")
	spare := filepath.Join(t.TempDir(), "spare")
	if err := os.WriteFile(spare, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(spare, 64<<20); err != nil {
		t.Fatal(err)
	}
	c.says(t, "UpToDate at generation", "volume", "create", "spare", "--backing", spare, "--first", "--filesystem", "ext4")
	c.says(t, "UpToDate", "volume", "inspect", spare)
}

func (c *tour) volumeRefusals(t *testing.T) {
	c.ends(t, control.ExitRefused, "onnected", "--node", "a", "volume", "continue", "data", "--confirm", "b")
	c.ends(t, control.ExitRefused, "", "--node", "a", "volume", "resolve", "data", "--discard", "b", "--confirm", "b")
	c.ends(t, control.ExitRefused, "force", "--node", "a", "volume", "detach", "data")
	c.ends(t, control.ExitUsage, "no volume", "--node", "a", "volume", "connect", "other")
	c.calm(t, "a")
}

func (c *tour) configCommands(t *testing.T) {
	good := c.says(t, `"cluster_id": 1`, onNode("a", "config", "export")...)
	rows := func() int { return strings.Count(c.says(t, "lab", onNode("a", "config", "history")...), "\n") }
	before := rows()
	c.feed(t, strings.Replace(good, `"boot_wait": 5000000000`, `"boot_wait": 6000000000`, 1), "a", "config", "import", "-")
	if out := c.says(t, "", onNode("a", "config", "export")...); !strings.Contains(out, `"boot_wait": 6000000000`) {
		t.Errorf("the import is not there: %s", out)
	}
	c.await(t, 20*time.Second, "b has the settings", func() bool {
		_, out := c.exitCode(t, onNode("b", "config", "export")...)
		return strings.Contains(out, `"boot_wait": 6000000000`)
	})
	mistyped := regexp.MustCompile(`"slave_backing": "[^"]*/data.img"`).ReplaceAllString(good, `"slave_backing": "/var/lib/evenkeel/disks/mistyped.img"`)
	c.feed(t, mistyped, "a", "config", "import", "-")
	c.is(t, 20*time.Second, "b", "names the backing device and keeps its copy", func(s control.Status) bool {
		return anyText(s, "volume.backing", "mistyped.img") && inSync(s) && s.Takeover.Possible
	})
	c.says(t, "is saved and in force", onNode("a", "config", "revert", "1")...)
	c.is(t, 20*time.Second, "b", "has nothing to say of it", func(s control.Status) bool { return condition(s, "volume.backing") == nil && inSync(s) })
	if out := c.says(t, "", onNode("a", "config", "export")...); !strings.Contains(out, `"boot_wait": 5000000000`) {
		t.Errorf("the revert is not there: %s", out)
	}
	if after := rows(); after != before+3 {
		t.Errorf("the history has %d lines, had %d", after, before)
	}
}

func (c *tour) userCommands(t *testing.T) {
	c.feed(t, "correct horse battery\n", "a", "user", "add", "eve")
	c.says(t, "eve", onNode("a", "user", "list")...)
	c.feed(t, "staple the battery horse\n", "a", "user", "passwd", "eve")
	c.complains(t, control.ExitFailed, "eve", "correct horse battery\n", onNode("a", "user", "add", "eve")...)
	c.complains(t, control.ExitFailed, "mallory", "correct horse battery\n", onNode("a", "user", "passwd", "mallory")...)
	c.complains(t, control.ExitFailed, "characters", "short\n", onNode("a", "user", "add", "bob")...)
}

func (c *tour) lines(t *testing.T) {
	c.says(t, "sync is cut", "lab", "cut", "sync")
	c.says(t, "a:sync cut", "lab", "status")
	c.is(t, 20*time.Second, "a", "misses the link", func(s control.Status) bool { return condition(s, "link.quiet") != nil })
	c.says(t, "sync is joined", "lab", "join", "sync")
	c.says(t, "loses 60%", "lab", "loss", "a:lan", "60%")
	before, _ := c.status("a")
	lost := func(s control.Status, link string) uint64 {
		for _, x := range s.Links {
			if x.Name == link {
				return x.Lost
			}
		}
		return 0
	}
	c.is(t, 20*time.Second, "a", "loses beats on lan", func(s control.Status) bool { return lost(s, "lan") > lost(before, "lan")+2 })
	c.says(t, "loses 0%", "lab", "loss", "a:lan", "0%")
	c.says(t, "wan loses 60%", "lab", "loss", "wan", "60%")
	c.is(t, 20*time.Second, "a", "loses beats on wan", func(s control.Status) bool { return lost(s, "wan") > lost(before, "wan")+2 })
	c.says(t, "wan loses 0%", "lab", "loss", "wan", "0%")
	c.says(t, "20%", "lab", "noise", "serial", "20%")
	c.is(t, 20*time.Second, "a", "refuses garbage or loses beats on the serial line", func(s control.Status) bool {
		return lost(s, "/dev/ttyS0") > lost(before, "/dev/ttyS0")+2 || refused(s, "/dev/ttyS0", "malformed") > 2
	})
	c.says(t, "0%", "lab", "noise", "serial", "0")
	c.says(t, "9600", "lab", "baud", "serial", "9600")
	c.says(t, "9600 baud", "lab", "status")
	c.says(t, "115200", "lab", "baud", "serial", "115200")
	c.calm(t, "a")
}

func (c *tour) machines(t *testing.T) {
	c.says(t, "is frozen", "lab", "freeze", "b")
	c.says(t, "frozen", "lab", "status")
	c.says(t, "goes on", "lab", "thaw", "b")
	c.calm(t, "a")
	c.says(t, "is off", "lab", "stop", "b")
	c.says(t, "is on", "lab", "start", "b")
	c.calm(t, "a")
	c.says(t, "killed", "lab", "kill", "b", "web")
	c.says(t, "slow", "lab", "disk", "b", "slow")
	c.says(t, "ok", "lab", "disk", "b", "ok")
	c.says(t, "full", "lab", "state-disk", "b", "full")
	c.says(t, "ok", "lab", "state-disk", "b", "ok")
	var s struct {
		Daemon int
		Nodes  []struct {
			Node string
			On   bool
		}
	}
	if out := c.says(t, "", "lab", "status", "--json"); json.Unmarshal([]byte(out), &s) != nil || s.Daemon == 0 || len(s.Nodes) != 2 || !s.Nodes[1].On {
		t.Errorf("lab status --json: %s", out)
	}
	c.calm(t, "a")
}

func (c *tour) execAndProbe(t *testing.T) {
	c.ends(t, 7, "", "lab", "exec", "a", "--", "sh", "-c", "exit 7")
	c.ends(t, 5, "", "lab", "exec", "client", "--", "sh", "-c", "exit 5")
	c.says(t, "evenkeel-slave.lab", "lab", "exec", "b", "--", "hostname")
	c.says(t, "", "lab", "probe", "--for", "1s", "10.88.1.100:7007")
	if p := c.probe(t, time.Second, "10.88.1.100:7007")(); p.Sent < 50 || p.Lost > p.Sent/10 || len(p.AnsweredBy) == 0 || p.AnsweredBy[0].Node != "a" {
		t.Errorf("probe: %+v", p)
	}
	if p := c.probe(t, time.Second, "--http", "http://10.88.1.100:8080/")(); p.Sent == 0 || p.Lost > p.Sent/2 {
		t.Errorf("probe --http: %+v", p)
	}
}

func (c *tour) checkCodes(t *testing.T) {
	c.ends(t, 0, "EVENKEEL OK - ", "--node", "a", "check")
	c.ends(t, 3, "EVENKEEL UNKNOWN - ", "--lab", "/nowhere", "--node", "a", "check")
	c.says(t, "power of node b is cut", "lab", "kill", "b")
	c.is(t, 20*time.Second, "a", "knows that b is dead", func(s control.Status) bool { return condition(s, "peer.dead") != nil })
	c.ends(t, 2, "EVENKEEL CRITICAL - ", "--node", "a", "check")
	c.ends(t, 3, "EVENKEEL UNKNOWN - ", "--node", "b", "check")
	c.ends(t, control.ExitNotRunning, "not running", "--node", "b", "status")
	c.do(t, "start", "b")
	c.calm(t, "a")
}

func (c *tour) runAndDown(t *testing.T) {
	c.ends(t, control.ExitFailed, "runs already", onNode("a", "run")...)
	c.ends(t, control.ExitFailed, "does not exist", "run", "--config", "/nowhere.toml")
	c.says(t, "is down", "lab", "down", "--dir", c.dir)
	c.says(t, "no lab runs", "lab", "down", "--dir", c.dir)
}
