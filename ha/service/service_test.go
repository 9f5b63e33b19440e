package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"evenkeel/ha/config"
	"evenkeel/ha/service/servicetest"
)

func TestMain(m *testing.M) {
	servicetest.Main()
	os.Exit(m.Run())
}

// deadline bounds every wait of these tests.
const deadline = 15 * time.Second

// bench is a manager with its loops running, and the stream of its changes.
type bench struct {
	*Manager
	dir     string
	changes chan struct{}
	end     context.CancelFunc // ends the loops, as the death of an engine does
}

// newBench starts a manager below dir; the test's end kills what it started.
func newBench(t *testing.T, dir string, catalogue ...config.Service) *bench {
	t.Helper()
	b := &bench{dir: dir, changes: make(chan struct{}, 1)}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	b.Manager = NewManager(dir, catalogue, log, func() {
		select {
		case b.changes <- struct{}{}:
		default:
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { b.Run(ctx); close(ended) }()
	b.end = func() { cancel(); <-ended }
	t.Cleanup(func() { b.Kill(); b.end() })
	return b
}

// pid is the process of a service.
func (b *bench) pid(name string) int {
	p, _ := b.units[name].current()
	if p == nil {
		return 0
	}
	return p.PID
}

// await waits until the service's state satisfies ok.
func (b *bench) await(t *testing.T, name string, ok func(State) bool) State {
	t.Helper()
	timeout := time.After(deadline)
	for {
		for _, s := range b.States() {
			if s.Name == name && ok(s) {
				return s
			}
		}
		select {
		case <-b.changes:
		case <-timeout:
			t.Fatalf("the state did not come: %+v", b.States())
		}
	}
}

func is(state string) func(State) bool { return func(s State) bool { return s.State == state } }

func start(t *testing.T, b *bench, name string) {
	t.Helper()
	if err := b.Start(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

func TestStartAndStop(t *testing.T) {
	b := newBench(t, t.TempDir(), servicetest.Sleeper("one"))
	start(t, b, "one")
	pid := b.pid("one")
	start(t, b, "one")
	if b.pid("one") != pid {
		t.Fatal("a second start began a second process")
	}
	if s, ok := readStat(pid); !ok || s.session != pid {
		t.Fatalf("process %d does not lead a session of its own: %+v", pid, s)
	}
	began := time.Now()
	if err := b.Stop(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped after %v", time.Since(began))
	b.await(t, "one", is(Stopped))
	if s, ok := readStat(pid); ok && !s.dead() {
		t.Fatal("it runs after Stop")
	}
	if err := b.Start(t.Context(), "two"); err == nil || !strings.Contains(err.Error(), "two.toml") {
		t.Fatalf("an unknown service: %v", err)
	}
}

func TestStopKillsTheStubbornAndChildren(t *testing.T) {
	dir := t.TempDir()
	note := filepath.Join(dir, "child")
	parent := servicetest.Shell("parent", fmt.Sprintf(`(trap "" TERM; while :; do sleep 1; done) & echo $! > %s.new; mv %s.new %s; wait`, note, note, note))
	parent.Monitor.Kind, parent.Monitor.Command = "command", []string{"/usr/bin/test", "-s", note}
	b := newBench(t, dir, servicetest.Stubborn("stubborn"), parent)
	for _, name := range []string{"stubborn", "parent"} {
		start(t, b, name)
		if err := b.Stop(t.Context(), name); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	text, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	child, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	if s, ok := readStat(child); ok && !s.dead() {
		t.Fatalf("child %d outlived its service", child)
	}
}

func TestStartReportsWhatWentWrong(t *testing.T) {
	ends := servicetest.Shell("ends", "echo the port is taken; exit 7")
	mute := servicetest.Listener("mute", freePort(t))
	mute.Command, mute.StartTimeout = []string{"/bin/sleep", "1000"}, 300*time.Millisecond
	none := servicetest.Shell("none", "")
	none.Command = []string{"/does/not/exist"}
	b := newBench(t, t.TempDir(), ends, mute, none)
	for name, want := range map[string]string{"ends": "the port is taken", "mute": "start_timeout", "none": "catalogue file"} {
		if err := b.Start(t.Context(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not say %q", name, err, want)
		}
		if s := b.await(t, name, is(Failed)); !strings.Contains(s.Error, want) {
			t.Errorf("%s: the state does not say %q: %+v", name, want, s)
		}
	}
}

// freePort is an address on the loopback that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestDeadServiceIsRestartedThenFails(t *testing.T) {
	b := newBench(t, t.TempDir(), servicetest.Listener("web", freePort(t)))
	start(t, b, "web")
	for range 2 {
		pid := b.pid("web")
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		b.await(t, "web", func(s State) bool { return s.State == Running && b.pid("web") != pid })
	}
	_ = syscall.Kill(b.pid("web"), syscall.SIGKILL)
	if s := b.await(t, "web", is(Failed)); !strings.Contains(s.Error, "restarted 2 times") {
		t.Fatalf("it does not say why: %+v", s)
	}
	start(t, b, "web")
}

func TestBadAnswersRestart(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if err := os.WriteFile(good, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sick := servicetest.Shell("sick", "touch "+good+"; exec sleep 1000")
	sick.Monitor.Kind, sick.Monitor.Command = "command", []string{"/usr/bin/test", "-e", good}
	b := newBench(t, dir, sick)
	start(t, b, "sick")
	pid := b.pid("sick")
	if err := os.Remove(good); err != nil {
		t.Fatal(err)
	}
	b.await(t, "sick", func(s State) bool { return s.State == Running && b.pid("sick") != pid })
}

func TestAdopt(t *testing.T) {
	dir := t.TempDir()
	catalogue := []config.Service{servicetest.Sleeper("kept"), servicetest.Sleeper("unwritten"), servicetest.Sleeper("never")}
	first := newBench(t, dir, catalogue...)
	start(t, first, "kept")
	start(t, first, "unwritten")
	first.end()
	// Killed between the start of a process and the writing of its file:
	if err := os.Remove(first.path("unwritten", "json")); err != nil {
		t.Fatal(err)
	}

	second := newBench(t, dir, catalogue...)
	if got := fmt.Sprint(second.Adopt()); got != "[kept unwritten]" {
		t.Fatalf("adopted %s", got)
	}
	for _, name := range []string{"kept", "unwritten"} {
		if second.pid(name) != first.pid(name) {
			t.Fatalf("%s is another process", name)
		}
	}
	old := second.pid("kept")
	_ = syscall.Kill(old, syscall.SIGKILL) // its end is noticed though it is no child of the second's
	second.await(t, "kept", func(s State) bool { return s.State == Running && second.pid("kept") != old })
	if err := second.Stop(t.Context(), "unwritten"); err != nil {
		t.Fatal(err)
	}
}

func TestAdoptIgnoresStrangers(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, dir, servicetest.Sleeper("one"))
	if err := os.MkdirAll(b.Manager.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	self, _ := readStat(os.Getpid())
	for _, id := range []identity{{os.Getpid(), self.start + 1}, {1 << 22, 5}, {0, 0}, {-1, 0}} {
		if err := b.remember("one", id); err != nil {
			t.Fatal(err)
		}
		if got := b.Adopt(); len(got) != 0 {
			t.Fatalf("%+v was adopted", id)
		}
	}
	if err := os.WriteFile(b.path("one", "json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := b.Adopt(); len(got) != 0 {
		t.Fatal("a broken file was adopted")
	}
}

func TestKillEndsAStart(t *testing.T) {
	mute := servicetest.Listener("mute", freePort(t))
	mute.Command = []string{"/bin/sleep", "1000"}
	b := newBench(t, t.TempDir(), mute, servicetest.Sleeper("one"))
	start(t, b, "one")
	failed := make(chan error, 1)
	go func() { failed <- b.Start(context.Background(), "mute") }()
	b.await(t, "mute", is(Starting))
	began := time.Now()
	b.Kill()
	t.Logf("Kill took %v", time.Since(began))
	select {
	case err := <-failed:
		if err == nil || !strings.Contains(err.Error(), "given up") {
			t.Fatalf("the start ended with %v", err)
		}
	case <-time.After(deadline):
		t.Fatal("the start goes on after Kill")
	}
	b.await(t, "mute", is(Stopped))
	b.await(t, "one", is(Stopped))
}

func TestLogIsBounded(t *testing.T) {
	b := newBench(t, t.TempDir(), servicetest.Sleeper("one"))
	start(t, b, "one")
	path := b.path("one", "log")
	if err := os.WriteFile(path, make([]byte, logLimit+1), 0o600); err != nil {
		t.Fatal(err)
	}
	b.units["one"].trimLog()
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Fatalf("the log was not emptied: %v %v", info, err)
	}
}

func TestRunsAsItsUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("another user needs root")
	}
	one := servicetest.Sleeper("one")
	one.UID, one.GID, one.Dir, one.Env = 65534, 65534, "/", []string{"COLOUR=blue"}
	b := newBench(t, t.TempDir(), one)
	start(t, b, "one")
	proc := "/proc/" + strconv.Itoa(b.pid("one"))
	status, err := os.ReadFile(proc + "/status")
	if err != nil || !strings.Contains(string(status), "Uid:\t65534\t65534\t65534\t65534") || !strings.Contains(string(status), "Groups:\t \n") {
		t.Errorf("status: %v %s", err, status)
	}
	env, _ := os.ReadFile(proc + "/environ")
	if !hasLine(env, []byte("COLOUR=blue")) {
		t.Error("its environment has no COLOUR=blue")
	}
}

func TestAsk(t *testing.T) {
	code := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
	defer server.Close()
	mon := config.Monitor{Kind: "http", Target: server.URL, Timeout: time.Second}
	if err := ask(t.Context(), mon); err != nil {
		t.Error(err)
	}
	code = http.StatusServiceUnavailable
	if err := ask(t.Context(), mon); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("503: %v", err)
	}
	if err := ask(t.Context(), config.Monitor{Kind: "tcp", Target: freePort(t), Timeout: time.Second}); err == nil {
		t.Error("nobody listens, and that is good?")
	}
	slow := config.Monitor{Kind: "command", Command: []string{"/bin/sh", "-c", "sleep 100 & wait"}, Timeout: 50 * time.Millisecond}
	if err := ask(t.Context(), slow); err == nil || !strings.Contains(err.Error(), "in time") {
		t.Errorf("slow: %v", err)
	}
}
