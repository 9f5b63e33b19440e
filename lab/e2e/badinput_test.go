package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// complains runs a command that must fail: the exit code, and exactly one line on stderr with these words; nothing else is printed.
func (l *lab) complains(t *testing.T, code int, words string, input string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(os.Environ(), "EVENKEEL_LAB="+l.dir)
	cmd.Stdin = strings.NewReader(input)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	_ = cmd.Run()
	said := complaint.String()
	switch line := strings.TrimSuffix(said, "\n"); {
	case cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code:
		t.Errorf("%q ends with %v, want %d: %s", args, cmd.ProcessState, code, said)
	case line == "" || strings.Contains(line, "\n"):
		t.Errorf("%q says not one line: %q", args, said)
	case !strings.Contains(strings.ToLower(line), strings.ToLower(words)):
		t.Errorf("%q says %q, want words like %q", args, line, words)
	case out.Len() > 0:
		t.Errorf("%q prints %q beside its complaint", args, out.String())
	default:
		t.Log(line)
	}
}

// onNode puts a command's words behind `lab exec NODE -- evenkeel`.
func onNode(node string, words ...string) []string {
	return append([]string{"lab", "exec", node, "--", "evenkeel"}, words...)
}

// standing is what bad input must not change.
type standing struct {
	States [2]string
	Epochs [2]ha.Epoch
	PIDs   map[string]int
}

func (l *lab) standing(t *testing.T) (s standing) {
	t.Helper()
	s.PIDs = map[string]int{}
	for i, n := range []string{"a", "b"} {
		status, ok := l.status(n)
		if !ok {
			t.Fatalf("%s does not answer", n)
		}
		s.States[i], s.Epochs[i] = status.State, status.Epoch
		for _, p := range status.Processes {
			s.PIDs[n+" "+p.Name] = p.PID
		}
	}
	return s
}

// unmoved fails if a role, an epoch, or a process other than the named ones changed.
func (l *lab) unmoved(t *testing.T, before standing, but ...string) {
	t.Helper()
	after := l.standing(t)
	if after.States != before.States || after.Epochs != before.Epochs {
		t.Errorf("the nodes are not what they were: %v %v, before %v %v", after.States, after.Epochs, before.States, before.Epochs)
	}
	for name, pid := range before.PIDs {
		if after.PIDs[name] != pid && !strings.Contains(strings.Join(but, ","), name) {
			t.Errorf("%s was restarted: %d, before %d", name, after.PIDs[name], pid)
		}
	}
}

// TestBadInput gives the nodes and the command line what is wrong in every way; each answers in one clear sentence and stays what it was.
func TestBadInput(t *testing.T) {
	newer := buildVersion(t)
	l := upLab(t)
	l.calm(t, "a")
	for _, sub := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"settings", l.testWrongSettings},
		{"command line", l.testWrongCommands},
		{"backing devices", l.testWrongBacking},
		{"second processes", l.testSecondProcesses},
		{"settings database", l.testCorruptDatabase},
		{"state file", l.testCorruptState},
		{"state folder full", l.testStateFull},
		{"version", func(t *testing.T) { l.testOtherVersion(t, newer) }},
		{"serial port", l.testWrongSerial},
		{"cluster id", l.testOtherCluster},
	} {
		t.Run(sub.name, func(t *testing.T) {
			before := l.standing(t)
			sub.run(t)
			l.calm(t, "a")
			if after := l.standing(t); after.States != before.States || after.Epochs != before.Epochs {
				t.Errorf("the nodes are not what they were: %v %v, before %v %v", after.States, after.Epochs, before.States, before.Epochs)
			}
		})
	}
}

// settings are a node's newest settings as a tree that can be spoilt.
func (l *lab) settings(t *testing.T, node string) map[string]any {
	t.Helper()
	var s map[string]any
	if err := json.Unmarshal([]byte(l.run(t, onNode(node, "config", "export")...)), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// setAt puts a value at a path such as "heartbeat.interval" or "addresses.0.address".
func setAt(tree any, path string, value any) {
	head, rest, more := strings.Cut(path, ".")
	switch x := tree.(type) {
	case map[string]any:
		if !more {
			x[head] = value
			return
		}
		setAt(x[head], rest, value)
	case []any:
		i := int(head[0] - '0')
		if !more {
			x[i] = value
			return
		}
		setAt(x[i], rest, value)
	}
}

func text(t *testing.T, tree any) string {
	t.Helper()
	b, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (l *lab) testWrongSettings(t *testing.T) {
	before := l.standing(t)
	history := l.run(t, onNode("a", "config", "history")...)
	for _, c := range []struct {
		path  string
		value any
		words string
	}{
		{"heartbeat.dead_time", 1, "heartbeat.dead_time: "},
		{"heartbeat.interval", "soon", "heartbeat.interval: \"soon\" is not a number of nanoseconds"},
		{"heartbeat.cluster_id", 64, "heartbeat.cluster_id: "},
		{"heartbeat.profile", "zoom", "heartbeat.profile: "},
		{"heartbeat.master_serial", "../etc/passwd", "heartbeat.master_serial: "},
		{"general.master_address", "nowhere", "general.master_address: \"nowhere\" is not an IP address"},
		{"general.referees", 3, "general.referees: there is no such setting"},
		{"replication.volumes.0.master_backing", "/etc/passwd", "replication.volumes[0].master_backing: "},
		{"replication.volumes.0.mount_point", "/", "replication.volumes[0].mount_point: "},
		{"services.0.name", "rm -rf", "services[0].name: "},
		{"addresses.0.address", "10.88.1.300/24", "addresses[0].address: \"10.88.1.300/24\" is not an IP address"},
		{"addresses.0.address", "10.88.1.1/24", "addresses[0].address: 10.88.1.1 is an address of one of the nodes"},
	} {
		s := l.settings(t, "a")
		setAt(s, c.path, c.value)
		l.complains(t, control.ExitFailed, c.words, text(t, s), onNode("a", "config", "import", "-")...)
	}
	s := l.settings(t, "a")
	setAt(s, "heartbeat.port", 0)
	setAt(s, "heartbeat.baud", 12)
	setAt(s, "general.mode", "luck")
	for _, field := range []string{"heartbeat.port: ", "heartbeat.baud: ", "general.mode: "} {
		l.complains(t, control.ExitFailed, field, text(t, s), onNode("a", "config", "import", "-")...)
	}
	for _, part := range []string{"addresses", "services", "replication", "general.references", "replication.volumes", "heartbeat.devices"} {
		s := l.settings(t, "a")
		head, rest, inner := strings.Cut(part, ".")
		if inner {
			delete(s[head].(map[string]any), rest)
		} else {
			delete(s, head)
		}
		l.complains(t, control.ExitFailed, part+": is missing", text(t, s), onNode("a", "config", "import", "-")...)
	}
	for _, input := range []string{"", "{", "[]", text(t, l.settings(t, "a")) + "x"} {
		l.complains(t, control.ExitFailed, "standard input is not one JSON object", input, onNode("a", "config", "import", "-")...)
	}
	l.complains(t, control.ExitFailed, "no such file", "", onNode("a", "config", "import", "/nowhere")...)
	if after := l.run(t, onNode("a", "config", "history")...); after != history {
		t.Errorf("something was saved:\n%s", after)
	}
	l.unmoved(t, before)
}

func (l *lab) testWrongCommands(t *testing.T) {
	before := l.standing(t)
	for _, c := range [][2]string{
		{"bogus", "unknown command"}, {"--bogus", "unknown flag"}, {"status --bogus", "unknown flag: --bogus"}, {"status extra", "\"extra\""},
		{"volume bogus", "unknown command"}, {"config bogus", "unknown command"}, {"user bogus", "unknown command"}, {"lab bogus", "no command"},
		{"lab cut", "lab cut WHAT"}, {"lab cut moon", "names no cable"}, {"lab loss a:lan much", "no percentage"}, {"lab noise lan 3", "serial"},
		{"lab baud serial 7", "no rate"}, {"lab kill c", "no node"}, {"lab disk a broken", "ok, error, slow"}, {"lab exec z -- true", "no place"},
		{"volume create", "volume create NAME"}, {"volume create x", "backing"}, {"volume continue data", "confirm"},
		{"volume resolve data --discard a --confirm b", "differ"}, {"volume pause nope", "no volume"}, {"takeover --force", "--confirm"},
		{"standby maybe", "on or off"}, {"config revert x", "not a revision"}, {"events --limit x", "--limit"}, {"events --log x", "heartbeat or failover"},
		{"lab probe 10.88.1.100", "ADDRESS:PORT"}, {"lab probe 10.88.1.100:0", "ADDRESS:PORT"}, {"lab probe --for 0s 10.88.1.100:7007", "--for"},
		{"lab probe --http foo", "no URL"}, {"lab kill a bogus", "no process"}, {"help bogus", "no command \"bogus\""}, {"help volume bogus", "no command"},
		{"completion fish-and-chips", "unknown command"}, {"volume create X --backing /dev/null", "a-z, 0-9"},
		{"volume create ../x --backing /dev/null", "a-z, 0-9"}, {"--node b config export", "run this on node b"}, {"--node b user list", "run this on node b"},
		{"--node b volume inspect /dev/null", "run it on node b"}, {"--node b volume create x --backing /dev/null", "run it on node b"},
		{"verify", "unknown command"}, {"join-code", "unknown command"}, {"replay f", "unknown command"},
	} {
		l.complains(t, control.ExitUsage, c[1], "", onNode("a", strings.Fields(c[0])...)...)
	}
	l.complains(t, control.ExitNotRunning, "no node is configured", "", "status")
	l.complains(t, control.ExitNotRunning, "no lab with a node", "", "--node", "z", "status")
	l.complains(t, control.ExitNotRunning, "no lab with a node", "", "--lab", "/nowhere", "--node", "a", "status")
	l.complains(t, control.ExitUsage, "exec a -- evenkeel config export", "", "--lab", l.dir, "--node", "a", "config", "export")
	l.complains(t, control.ExitFailed, "no lab runs in /nowhere", "", "lab", "--dir", "/nowhere", "status")
	l.complains(t, control.ExitFailed, "already", "", "lab", "up", "--detach", "--console-port", "0")
	l.unmoved(t, before)
}

func (l *lab) testWrongBacking(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, size int64) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign := file("foreign", 64<<20)
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", foreign).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	head, _ := os.ReadFile(foreign)
	used := file("used", 64<<20)
	l.run(t, "volume", "create", "x", "--backing", used, "--first")
	create := func(words, backing string, more ...string) {
		t.Helper()
		l.complains(t, control.ExitFailed, words, "", append([]string{"volume", "create", "x", "--backing", backing}, more...)...)
	}
	create("are needed", file("small", 64<<10))
	create("ext2/3/4 filesystem", foreign)
	create("enlarge it, or shrink the filesystem", foreign, "--adopt")
	create("already belongs to a volume", used)
	create("no such file", filepath.Join(dir, "missing"))
	create("neither a block device nor a file", dir)
	create("neither a block device nor a file", "/dev/null")
	create("another program", l.dataFile("a"))
	looped := file("looped", 64<<20)
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", looped, "32M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	device := l.attach(t, looped)
	create("the loop device "+device, looped, "--adopt")
	create("not known: enter ext4", file("fresh", 64<<20), "--first", "--filesystem", "xfs")
	if after, _ := os.ReadFile(foreign); !bytes.Equal(head, after) {
		t.Error("a refused disk was written to")
	}
	l.complains(t, control.ExitFailed, "ext2/3/4 filesystem", "", "volume", "inspect", foreign)
	l.complains(t, control.ExitFailed, "blank or another disk", "", "volume", "inspect", file("blank", 64<<20))
}

// attach puts a file under a loop device until the test ends.
func (l *lab) attach(t *testing.T, file string) string {
	t.Helper()
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.Command("losetup", "-d", device).Run() })
	return device
}

func (l *lab) testSecondProcesses(t *testing.T) {
	before := l.standing(t)
	for _, node := range []string{"a", "b"} {
		for _, words := range []string{"run", "serve heart", "serve engine", "serve volume data"} {
			name := words[strings.LastIndex(words, " ")+1:]
			out, err := l.try(20*time.Second, onNode(node, strings.Fields(words)...)...)
			if err == nil || !strings.Contains(out, "runs already on this node") || !strings.Contains(out, name) {
				t.Errorf("a second %s on %s: %v: %s", words, node, err, out)
			}
		}
	}
	l.unmoved(t, before)
}
