package supervise

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeNode is a shell script in the place of the binary: each process writes its own name and sleeps.
const fakeNode = `#!/bin/sh
shift 3
echo "$@" >> "$STARTED"
trap 'echo "term $@" >> "$STARTED"; exit 0' TERM
while :; do sleep 0.05; done
`

type node struct {
	dir     string
	started string
	cancel  context.CancelFunc
	ended   chan error
	left    chan struct{}
}

func startNode(t *testing.T) *node {
	t.Helper()
	n := &node{dir: t.TempDir(), ended: make(chan error, 1), left: make(chan struct{}, 1)}
	n.started = filepath.Join(n.dir, "started")
	t.Setenv("STARTED", n.started)
	exe := filepath.Join(n.dir, "evenkeel")
	if err := os.WriteFile(exe, []byte(fakeNode), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	o := Options{Executable: exe, Config: "none", RunDir: filepath.Join(n.dir, "run"), Log: slog.Default(),
		Leave: func(context.Context) error { n.left <- struct{}{}; return nil }}
	go func() { n.ended <- Run(ctx, o) }()
	t.Cleanup(func() { cancel() })
	return n
}

// processes waits until processes.json satisfies a condition.
func (n *node) processes(t *testing.T, what string, ok func(map[string]Process) bool) map[string]Process {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var file struct{ Processes []Process }
		b, _ := os.ReadFile(filepath.Join(n.dir, "run", ProcessesFile))
		_ = json.Unmarshal(b, &file)
		m := map[string]Process{}
		for _, p := range file.Processes {
			m[p.Name] = p
		}
		if ok(m) {
			return m
		}
	}
	t.Fatalf("not within 10 s: %s", what)
	return nil
}

func running(m map[string]Process, names ...string) bool {
	for _, n := range names {
		if m[n].PID == 0 {
			return false
		}
	}
	return true
}

// TestRun starts a node, kills a process, adds and removes a volume, and leaves in order.
func TestRun(t *testing.T) {
	n := startNode(t)
	first := n.processes(t, "heart, engine and web run", func(m map[string]Process) bool { return running(m, "heart", "engine", "web") })
	if err := unix.Kill(first["heart"].PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.processes(t, "heart is back under another pid", func(m map[string]Process) bool {
		return m["heart"].Restarts == 1 && running(m, "heart") && m["heart"].PID != first["heart"].PID
	})
	file := filepath.Join(n.dir, "run", "volumes", "data.json")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.processes(t, "the volume runs", func(m map[string]Process) bool { return running(m, "volume/data") })
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	n.processes(t, "the volume is gone", func(m map[string]Process) bool { _, there := m["volume/data"]; return !there })
	n.cancel()
	select {
	case err := <-n.ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run did not end")
	}
	select {
	case <-n.left:
	default:
		t.Error("the engine was not asked to leave")
	}
	for name, p := range n.processes(t, "all ended", func(m map[string]Process) bool { return len(m) > 0 && !anyRunning(m) }) {
		if p.PID != 0 {
			t.Errorf("%s still runs", name)
		}
	}
}

func anyRunning(m map[string]Process) bool {
	for _, p := range m {
		if p.PID != 0 {
			return true
		}
	}
	return false
}
