package engine

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/config"
	"evenkeel/ha/control"
)

// memorySettings is a settings database.
type memorySettings struct {
	mu  sync.Mutex
	all []ha.Settings
	err error
}

func (m *memorySettings) Latest(context.Context) (ha.Settings, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return ha.Settings{}, m.err
	}
	if len(m.all) == 0 {
		return ha.Settings{}, ErrNoSettings
	}
	return m.all[len(m.all)-1], nil
}

func (m *memorySettings) Load(_ context.Context, revision uint64) (ha.Settings, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.all {
		if s.Revision == revision {
			return s, nil
		}
	}
	return ha.Settings{}, errors.New("no such revision")
}

func (m *memorySettings) Import(_ context.Context, s ha.Settings) (replaced ha.Settings, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.all) > 0 {
		replaced = m.all[len(m.all)-1]
	}
	m.all = append(m.all, s)
	return replaced, nil
}

// memoryEvents is an event log.
type memoryEvents struct {
	mu  sync.Mutex
	all []control.Event
}

func (m *memoryEvents) Append(_ context.Context, events []control.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, event := range events {
		event.ID = int64(len(m.all) + 1)
		m.all = append(m.all, event)
	}
	return nil
}

func (m *memoryEvents) List(_ context.Context, f control.EventFilter) ([]control.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []control.Event
	for _, event := range m.all {
		if event.ID > f.After {
			list = append(list, event)
		}
	}
	return list, nil
}

// text is what the newest event of this code says; empty if there is none.
func (m *memoryEvents) text(code string) (text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.all {
		if e.Code == code {
			text = e.Text
		}
	}
	return text
}

func (m *memoryEvents) has(code string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.all, func(e control.Event) bool { return e.Code == code })
}

// bench is one node: the computer that lasts, and engines that come and go on it.
type bench struct {
	t        *testing.T
	computer *computer
	services *fakeServices
	heart    *fakeHeart
	settings *memorySettings
	events   *memoryEvents
	options  Options
	client   *control.Client
	stop     context.CancelFunc
	done     chan error
	killAt   string // the engine dies once at this point of a procedure
	checks   *fakeChecks
	reached  func(point string) // called at each point of a procedure; nil = nothing
}

// newBench makes node a, the configured master, with or without the volume "data".
func newBench(t *testing.T, withVolume bool) *bench {
	t.Helper()
	c := newComputer()
	dir := t.TempDir()
	run, err := os.MkdirTemp("", "ek") // a socket's path is at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	key := filepath.Join(dir, "beat.key")
	if err := os.WriteFile(key, []byte(strings.Repeat("ab", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, computer: c, services: &fakeServices{computer: c}, heart: &fakeHeart{began: now().Add(-time.Minute)},
		checks: &fakeChecks{}, settings: &memorySettings{all: []ha.Settings{testSettings(withVolume)}}, events: &memoryEvents{}}
	b.options = Options{
		Config: config.Node{Node: "a", StateDir: filepath.Join(dir, "state"), RunDir: run, KeyFile: key,
			Allow: config.Allow{Backing: []string{"/disks"}, Mounts: []string{"/srv"}}},
		Catalogue: []config.Service{{Name: "echo", Kind: "command"}, {Name: "guestbook", Kind: "command", Order: "before-address"}},
		Settings:  b.settings, Events: b.events, Volumes: c, Version: "test", Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	b.client = control.NewClient(filepath.Join(run, control.SocketName))
	return b
}

// testWriter sends the log to the test, until that ends.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func testSettings(withVolume bool) ha.Settings {
	a := netip.MustParseAddr
	s := ha.Settings{
		Revision: 1, SavedBy: "test",
		General: ha.General{Active: true, MasterNode: "a", SlaveNode: "b", MasterAddress: a("10.88.1.1"), SlaveAddress: a("10.88.1.2"),
			Mode: ha.Evidence, References: []ha.Reference{{Name: "gateway", Address: a("10.88.1.254")}}},
		Heartbeat: ha.Heartbeat{Profile: ha.ProfileCustom, Interval: 50 * time.Millisecond, DeadTime: 600 * time.Millisecond, BootWait: 5 * time.Second,
			Devices: []ha.BeatDevice{{Device: "lan", Send: true}, {Device: "sync", Send: true}}, SyncDevice: "sync", Port: 999},
		Replication: ha.ReplicationSettings{MasterAddress: a("10.88.3.1"), SlaveAddress: a("10.88.3.2")},
		Addresses: []ha.VirtualAddress{{Enabled: true, Device: "lan", Address: netip.MustParsePrefix("10.88.1.100/24"),
			MasterAddress: a("10.88.1.1"), SlaveAddress: a("10.88.1.2")}},
		Services: []ha.ServiceSetting{{Name: "echo", Placement: ha.Both}, {Name: "guestbook", Placement: ha.MasterSide}},
	}
	if withVolume {
		s.Replication.Volumes = []ha.VolumeSetting{{Name: "data", MasterBacking: "/disks/data.img", SlaveBacking: "/disks/data.img", Filesystem: "ext4", MountPoint: "/srv/data"}}
	}
	return s
}

// start runs an engine on the bench.
func (b *bench) start() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	b.stop, b.done = cancel, make(chan error, 1)
	s := shells{addresses: fakeAddresses{b.computer}, services: b.services, mounts: fakeMounts{b.computer}, checks: b.checks, dialHeart: b.heart.dial}
	done := b.done
	s.reached = func(point string) {
		if b.reached != nil {
			b.reached(point)
		}
		if point == b.killAt {
			b.killAt = ""
			cancel()
			runtime.Goexit() // as after SIGKILL, nothing follows in this goroutine; the loop ends with the context
		}
	}
	go func() { done <- runWith(ctx, b.options, s, func(d ha.Durable) machine { return ha.NewMachine(d) }) }()
	b.t.Cleanup(func() { b.end() })
}

// end stops the engine, orderly or as a kill would: it does nothing on its way out.
func (b *bench) end() {
	if b.stop == nil {
		return
	}
	b.stop()
	select {
	case err := <-b.done:
		if err != nil && !errors.Is(err, context.Canceled) {
			b.t.Errorf("engine: %v", err)
		}
	case <-time.After(20 * time.Second):
		b.t.Error("the engine does not end")
	}
	b.stop = nil
}

// await returns the first status that fits, within 10 s.
func (b *bench) await(what string, fits func(control.Status) bool) control.Status {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	var last control.Status
	found := false
	for !found && ctx.Err() == nil {
		inner, stop := context.WithCancel(ctx)
		_ = b.client.StreamStatus(inner, func(s control.Status) {
			last = s
			if !found && fits(s) {
				found = true
				stop()
			}
		})
		stop()
		wait(ctx, 5*time.Millisecond) // the socket is not there yet
	}
	if !found {
		b.t.Fatalf("never %s; last: state %s (%v), procedure %+v, conditions %+v; done: %s", what, last.State, deref(last.StateReason), last.Procedure, last.Conditions, b.computer.history())
	}
	return last
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func isState(role ha.Role) func(control.Status) bool {
	return func(s control.Status) bool { return s.State == string(role) }
}
