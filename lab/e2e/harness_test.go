package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// bin is the binary under test, built once.
var bin string

func TestMain(m *testing.M) {
	if role := os.Getenv("E2E_HELPER"); role != "" {
		os.Exit(helper(role, os.Args[1:]))
	}
	code, err := prepare(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
	os.Exit(code)
}

func prepare(m *testing.M) (int, error) {
	if os.Geteuid() != 0 {
		return 1, fmt.Errorf("the lab needs root")
	}
	dir, err := os.MkdirTemp("", "evenkeel-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	bin = filepath.Join(dir, "evenkeel")
	cmd := exec.Command("go", "build", "-tags", "sqlite_omit_load_extension,osusergo,netgo", "-o", bin, "../..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("cannot build: %v\n%s", err, out)
	}
	return m.Run(), nil
}

// lab is one running lab.
type lab struct {
	dir      string
	password string
}

// upLab brings a lab up for one test (or one group of subtests) and takes it down at its end; the nodes' logs are shown if the test failed.
func upLab(t *testing.T, args ...string) *lab {
	t.Helper()
	dir, err := os.MkdirTemp("", "evenkeel-lab-")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{dir: filepath.Join(dir, "lab")}
	t.Cleanup(func() {
		if t.Failed() {
			l.showLogs(t)
		}
		if out, err := l.try(time.Minute, "lab", "down", "--dir", l.dir); err != nil {
			t.Errorf("lab down: %v\n%s", err, out)
		}
		_ = os.RemoveAll(dir)
	})
	began := time.Now()
	out := l.run(t, append([]string{"lab", "up", "--detach", "--dir", l.dir, "--console-port", "0"}, args...)...)
	t.Logf("lab up took %.1f s", time.Since(began).Seconds())
	for _, line := range strings.Split(out, "\n") {
		if _, after, ok := strings.Cut(strings.ToLower(line), "password"); ok {
			_ = after
			f := strings.Fields(line)
			l.password = f[len(f)-1]
		}
	}
	return l
}

func (l *lab) showLogs(t *testing.T) {
	for _, node := range []string{"a", "b"} {
		for _, f := range []string{"log", "run/services/guestbook.log"} {
			if b, err := os.ReadFile(filepath.Join(l.dir, node, f)); err == nil {
				lines := strings.Split(string(b), "\n")
				t.Logf("last lines of %s/%s:\n%s", node, f, strings.Join(lines[max(0, len(lines)-120):], "\n"))
			}
		}
	}
}

// try runs the binary with a deadline.
func (l *lab) try(d time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(os.Environ(), "EVENKEEL_LAB="+l.dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 2 * time.Second
	err := cmd.Run()
	return out.String(), err
}

// run is try that must succeed within two minutes.
func (l *lab) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := l.try(2*time.Minute, args...)
	if err != nil {
		t.Fatalf("evenkeel %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// do runs a lab command: l.do(t, "kill", "a").
func (l *lab) do(t *testing.T, args ...string) string {
	t.Helper()
	return l.run(t, append([]string{"lab"}, args...)...)
}

// exitCode runs the binary and returns its exit code and output.
func (l *lab) exitCode(t *testing.T, args ...string) (int, string) {
	t.Helper()
	out, err := l.try(2*time.Minute, args...)
	if err == nil {
		return 0, out
	}
	if e, ok := err.(*exec.ExitError); ok {
		return e.ExitCode(), out
	}
	t.Fatalf("evenkeel %s: %v", strings.Join(args, " "), err)
	return 0, ""
}

// in runs a command inside a node or the client.
func (l *lab) in(t *testing.T, where string, args ...string) string {
	t.Helper()
	return l.do(t, append([]string{"exec", where, "--"}, args...)...)
}

// client speaks to a node's engine.
func (l *lab) client(node string) *control.Client {
	return control.NewClient(filepath.Join(l.dir, node, "run", control.SocketName))
}

// status asks one node; ok is false if its engine does not answer.
func (l *lab) status(node string) (s control.Status, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s, err := l.client(node).Status(ctx, "")
	return s, err == nil
}

// pollEvery is how often a condition is looked at while waiting.
const pollEvery = 25 * time.Millisecond

// await waits until ok, or fails with what was awaited and the last status of both nodes.
func (l *lab) await(t *testing.T, d time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for time.Since(began) < d {
		if ok() {
			return time.Since(began)
		}
		time.Sleep(pollEvery)
	}
	for _, n := range []string{"a", "b"} {
		s, up := l.status(n)
		b, _ := json.Marshal(s)
		t.Logf("%s answers=%v: %s", n, up, b)
	}
	t.Fatalf("not within %v: %s", d, what)
	return 0
}

// is waits until a node's status satisfies a condition.
func (l *lab) is(t *testing.T, d time.Duration, node, what string, ok func(control.Status) bool) time.Duration {
	t.Helper()
	return l.await(t, d, node+": "+what, func() bool {
		s, up := l.status(node)
		return up && ok(s)
	})
}

func isMaster(s control.Status) bool { return s.State == "master" }
func isSlave(s control.Status) bool  { return s.State == "slave" }

// inSync says whether every volume is Connected and UpToDate on both sides.
func inSync(s control.Status) bool {
	for _, v := range s.Volumes {
		if v.Connection != "Connected" || v.Disk != "UpToDate" || v.PeerDisk != "UpToDate" || v.OutOfSyncBytes != 0 {
			return false
		}
	}
	return s.Peer.Alive
}

// serving says whether a node serves everything that belongs to the master.
func serving(s control.Status) bool {
	if s.State != "master" {
		return false
	}
	for _, a := range s.Addresses {
		if !a.Held {
			return false
		}
	}
	for _, v := range s.Services {
		if v.State != "running" {
			return false
		}
	}
	return true
}

// settle waits until master serves, the other stands by, and both are in sync.
func (l *lab) settle(t *testing.T, master string) {
	t.Helper()
	l.await(t, 60*time.Second, master+" serves, the other stands by in sync", func() bool {
		m, up1 := l.status(master)
		s, up2 := l.status(other(master))
		return up1 && up2 && serving(m) && s.State == "slave" && inSync(m) && inSync(s)
	})
}

func other(node string) string {
	if node == "a" {
		return "b"
	}
	return "a"
}

// condition finds a condition by its code.
func condition(s control.Status, code string) *control.Condition {
	for i := range s.Conditions {
		if s.Conditions[i].Code == code {
			return &s.Conditions[i]
		}
	}
	return nil
}

// probeResult is what lab probe prints.
type probeResult struct {
	Sent       int   `json:"sent"`
	Lost       int   `json:"lost"`
	SilenceMS  int64 `json:"longest_silence_ms"`
	AnsweredBy []struct {
		Node   string `json:"node"`
		FromMS int64  `json:"from_ms"`
		ToMS   int64  `json:"to_ms"`
	} `json:"answered_by"`
}

// probe starts a probe in the background; wait ends it and returns its figures.
func (l *lab) probe(t *testing.T, d time.Duration, args ...string) (wait func() probeResult) {
	t.Helper()
	out := make(chan string, 1)
	all := append([]string{"lab", "probe", "--json", "--for", d.String()}, args...)
	go func() {
		s, err := l.try(d+30*time.Second, all...)
		if err != nil {
			s = "error: " + err.Error() + "\n" + s
		}
		out <- s
	}()
	return func() (p probeResult) {
		t.Helper()
		s := <-out
		figures := strings.NewReader(s[max(0, strings.Index(s, "{")):]) // behind them stands the complaint if nobody answered
		if err := json.NewDecoder(figures).Decode(&p); err != nil {
			t.Fatalf("probe %v: %v\n%s", args, err, s)
		}
		return p
	}
}
