package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel/ha/control"
)

// buildVersion builds the program as version 9.9 while other tests run; the result waits for it.
func buildVersion(t *testing.T) func(*testing.T) string {
	path := filepath.Join(filepath.Dir(bin), "evenkeel-9.9")
	build := exec.Command("go", "build", "-tags", "sqlite_omit_load_extension,osusergo,netgo", "-ldflags", "-X main.version=9.9", "-o", path, "../..")
	var out bytes.Buffer
	build.Stdout, build.Stderr = &out, &out
	if err := build.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- build.Wait() }()
	t.Cleanup(func() { _ = build.Process.Kill() })
	return func(t *testing.T) string {
		if err := <-done; err != nil {
			t.Fatalf("cannot build: %v\n%s", err, &out)
		}
		return path
	}
}

// testOtherVersion runs b's engine from a binary of another version.
func (l *lab) testOtherVersion(t *testing.T, newer func(*testing.T) string) {
	l.in(t, "b", "mount", "--bind", newer(t), "/run/lab/evenkeel")
	l.do(t, "kill", "b", "engine")
	l.is(t, 20*time.Second, "a", "names the other version", func(s control.Status) bool { return isMaster(s) && anyText(s, "version.differ", "9.9") })
	l.is(t, 20*time.Second, "b", "names the other version", func(s control.Status) bool { return isSlave(s) && anyText(s, "version.differ", "9.9") })
	l.in(t, "b", "umount", "-l", "/run/lab/evenkeel")
	l.do(t, "kill", "b", "engine")
	l.is(t, 20*time.Second, "a", "has no complaint about versions", func(s control.Status) bool { return condition(s, "version.differ") == nil })
	if out := l.run(t, onNode("a", "events", "--text", "9.9")...); !strings.Contains(out, "version.differ") {
		t.Errorf("no event names the version: %s", out)
	}
}

// save imports settings on a node; the other follows.
func (l *lab) save(t *testing.T, node string, s map[string]any) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.json")
	if err := os.WriteFile(path, []byte(text(t, s)), 0o600); err != nil {
		t.Fatal(err)
	}
	l.in(t, node, "sh", "-c", fmt.Sprintf("evenkeel config import - < %s", path))
}

// testWrongSerial names serial ports that do not exist, are none, or echo: the link says so, nothing moves.
func (l *lab) testWrongSerial(t *testing.T) {
	before := l.standing(t)
	good := l.settings(t, "a")
	for _, c := range [][2]string{{"/dev/ttyS9", "ttyS9"}, {"/dev/null", "/dev/null"}} {
		s := l.settings(t, "a")
		setAt(s, "heartbeat.master_serial", c[0])
		l.save(t, "a", s)
		l.is(t, 20*time.Second, "a", "names the serial port", func(s control.Status) bool { return anyText(s, "link.quiet", c[1]) })
		l.unmoved(t, before)
	}
	l.echoingSerial(t)
	l.unmoved(t, before)
	l.save(t, "a", good)
}

// echoingSerial gives a a line with an echo plug.
func (l *lab) echoingSerial(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "name")
	cmd := exec.Command(bin, "lab", "exec", "a", "--", "env", "E2E_HELPER=echoing", self, name)
	cmd.Env = append(os.Environ(), "EVENKEEL_LAB="+l.dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() }()
	var device string
	l.await(t, 10*time.Second, "there is an echoing line", func() bool {
		b, _ := os.ReadFile(name)
		device = strings.TrimSpace(string(b))
		return device != ""
	})
	s := l.settings(t, "a")
	setAt(s, "heartbeat.master_serial", device)
	l.save(t, "a", s)
	l.is(t, 20*time.Second, "a", "says that the line echoes", func(s control.Status) bool { return anyText(s, "link.quiet", "sends our own beats back") })
}

// testOtherCluster gives b another cluster id while it is cut off, then joins the cables: each names the other's beats, nothing moves. With the id
// set right on b the pair finds itself again.
func (l *lab) testOtherCluster(t *testing.T) {
	good := l.settings(t, "a")
	l.do(t, "cut", "b:all")
	l.is(t, 20*time.Second, "b", "is alone", func(s control.Status) bool { return s.State == "blocked" })
	s := l.settings(t, "b")
	setAt(s, "heartbeat.cluster_id", 9)
	l.save(t, "b", s)
	l.await(t, 30*time.Second, "b has given up to send its settings", func() bool {
		b, _ := os.ReadFile(filepath.Join(l.dir, "b", "log"))
		return bytes.Contains(b, []byte("settings not sent"))
	})
	l.do(t, "join", "b:all")
	for _, n := range []string{"a", "b"} {
		l.is(t, 30*time.Second, n, "names the other cluster", func(s control.Status) bool { return anyText(s, "link.refused", "another cluster id") })
		l.await(t, 30*time.Second, "events on "+n+" name the other cluster on the links and on the volume", func() bool {
			out := l.run(t, onNode(n, "events", "--text", "cluster")...)
			return strings.Contains(out, "link.refused") && strings.Contains(out, "belongs to cluster")
		})
	}
	a, _ := l.status("a")
	b, _ := l.status("b")
	if !serving(a) || b.State != "blocked" || b.Volumes[0].Connection == "Connected" {
		t.Errorf("a is %s, b is %s, the volume %s", a.State, b.State, b.Volumes[0].Connection)
	}
	l.save(t, "b", good)
}

// echoing is a serial line with an echo plug: the far end of a pseudo-terminal that sends back what it hears. It writes the line's name to a file.
func echoing(ctx context.Context, file string) int {
	far, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer far.Close()
	number, err := unix.IoctlGetInt(int(far.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(far.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = os.WriteFile(file, fmt.Appendf(nil, "/dev/pts/%d", number), 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	stop := context.AfterFunc(ctx, func() { far.Close() })
	defer stop()
	_, _ = io.Copy(far, far) // an echo plug; it ends when the file is closed
	return 0
}
