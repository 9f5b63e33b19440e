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
	"evenkeel/ha/heart"
)

// computer is the machine below an engine, in memory: it survives the engine, as a kernel does.
type computer struct {
	mu       sync.Mutex
	held     map[netip.Prefix]wish
	changed  func()
	stranger map[netip.Prefix]string
	mounts   map[string]string // point to device
	mountErr error
	twice    bool // something was mounted that was mounted already
	services map[string]string
	volumes  map[string]*fakeVolume
	log      []string // what was done, in order
	applied  []VolumeConfig
}

func newComputer() *computer {
	return &computer{held: map[netip.Prefix]wish{}, mounts: map[string]string{}, services: map[string]string{}, volumes: map[string]*fakeVolume{}}
}

func (c *computer) did(what string) { c.log = append(c.log, what) }

func (c *computer) history() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.log, ", ")
}

// fakeAddresses is the kernel's set of addresses.
type fakeAddresses struct{ *computer }

func (a fakeAddresses) Converge(_ context.Context, wishes []wish) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = map[netip.Prefix]wish{}
	for _, w := range wishes {
		a.held[w.Address] = w
		a.did("address " + w.Address.String())
	}
	return nil
}

func (a fakeAddresses) DropAll() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.held) > 0 {
		a.did("addresses off")
	}
	a.held = map[netip.Prefix]wish{}
	return nil
}

func (a fakeAddresses) Held() ([]wish, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []wish
	for _, w := range a.held {
		list = append(list, w)
	}
	return list, nil
}

func (a fakeAddresses) Conflict(context.Context, []wish) (map[netip.Prefix]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stranger, nil
}

func (a fakeAddresses) Announce([]wish) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.did("announce")
}

func (fakeAddresses) Label(device string) string { return device + ":ek" }

func (a fakeAddresses) Run(ctx context.Context, changed func()) {
	a.mu.Lock()
	a.changed = changed
	a.mu.Unlock()
	<-ctx.Done()
}

// fakeServices are processes that start and stop at once.
type fakeServices struct {
	*computer
	notify callback
}

func (s *fakeServices) Adopt() {}

func (s *fakeServices) set(name, state string) {
	s.mu.Lock()
	s.did(name + " " + state)
	s.services[name] = state
	s.mu.Unlock()
	s.notify.call()
}

func (s *fakeServices) Start(_ context.Context, name string) error {
	s.mu.Lock()
	running := s.services[name] == "running"
	s.mu.Unlock()
	if !running {
		s.set(name, "running")
	}
	return nil
}

func (s *fakeServices) Stop(_ context.Context, name string) error {
	s.mu.Lock()
	running := s.services[name] == "running"
	s.mu.Unlock()
	if running {
		s.set(name, "stopped")
	}
	return nil
}

func (s *fakeServices) Kill(names ...string) {
	for _, name := range names {
		_ = s.Stop(context.Background(), name) // never fails
	}
}

func (s *fakeServices) States() []serviceState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []serviceState
	for name, state := range s.services {
		list = append(list, serviceState{Name: name, State: state})
	}
	return list
}

func (s *fakeServices) Run(ctx context.Context, changed func()) {
	s.notify.set(changed)
	<-ctx.Done()
}

// fakeMounts is a mount table.
type fakeMounts struct{ *computer }

func (m fakeMounts) Mount(_ context.Context, device, point, _ string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mountErr != nil {
		return m.mountErr
	}
	if m.mounts[point] != "" {
		m.twice = true
	}
	for _, v := range m.volumes {
		if v.shell {
			return errors.New("the device is an empty shell")
		}
	}
	m.mounts[point] = device
	m.did("mount " + point)
	return nil
}

func (m fakeMounts) Unmount(_ context.Context, point string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.volumes {
		v.shell = m.mounts[point] != "" // a loop device with autoclear
	}
	delete(m.mounts, point)
	m.did("unmount " + point)
	return nil
}

func (m fakeMounts) Lazy(point string) error { return m.Unmount(context.Background(), point) }

func (m fakeMounts) Mounted(point string) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	device, mounted := m.mounts[point]
	return device, mounted
}

func (m fakeMounts) KillHolders(string) error { return nil }

// fakeChecks has reference points that always answer and a peer whose kernel never does.
type fakeChecks struct {
	mu     sync.Mutex
	points []ha.Reference
}

func (c *fakeChecks) SetReferences(points []ha.Reference) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.points = points
}

func (c *fakeChecks) Every(time.Duration) {}

func (c *fakeChecks) References() []ha.ReferenceFact {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []ha.ReferenceFact
	for _, p := range c.points {
		list = append(list, ha.ReferenceFact{Name: p.Name, State: ha.ReferenceGood, AskedAt: now()})
	}
	return list
}

func (c *fakeChecks) Run(ctx context.Context, _ func()) { <-ctx.Done() }

func (c *fakeChecks) Probe(ctx context.Context, _ probeTarget, d time.Duration) (kernel, address ha.Instant) {
	wait(ctx, d)
	return 0, 0
}

// fakeHeart reports every 20 ms what the test set, and keeps the last order.
type fakeHeart struct {
	mu      sync.Mutex
	began   ha.Instant
	peer    func(at ha.Instant, say ha.Saying) *ha.Beat // what the peer says; nil function = nobody there
	said    ha.Saying
	renew   []heart.Renewal
	setup   *heart.Setup
	freshAt ha.Instant
}

type fakeLink struct {
	*fakeHeart
	reports chan heart.Report
	stop    context.CancelFunc
}

func (h *fakeHeart) dial(ctx context.Context) (heartLink, error) {
	ctx, cancel := context.WithCancel(ctx)
	link := &fakeLink{fakeHeart: h, reports: make(chan heart.Report, 1), stop: cancel}
	go func() {
		defer close(link.reports)
		for ctx.Err() == nil {
			select {
			case link.reports <- h.report():
			case <-ctx.Done():
			}
			wait(ctx, 20*time.Millisecond)
		}
	}()
	return link, nil
}

func (h *fakeHeart) report() heart.Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := now()
	link := ha.LinkFact{Name: "lan", Kind: ha.LinkUDP, Interval: 50 * time.Millisecond, State: ha.LinkNeverHeard}
	r := heart.Report{Now: at, Facts: ha.HeartFacts{Running: true, Since: h.began, Heartbeats: true, RealTime: true}}
	if h.peer != nil {
		if b := h.peer(at, h.said); b != nil {
			h.freshAt = at
			r.Beat, r.FreshAt, r.Confirmed, r.EchoedSent = b, at, at, at.Add(-10*time.Millisecond)
		}
	}
	if h.freshAt != 0 {
		link.State, link.FreshAt, r.Facts.EverHeard = ha.LinkQuiet, h.freshAt, true
		if at.Sub(h.freshAt) < 125*time.Millisecond {
			link.State = ha.LinkUp
		}
	}
	r.Facts.Links = []ha.LinkFact{link}
	return r
}

func (l *fakeLink) Send(o heart.Order) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said, l.renew = o.Say, o.Renew
	if o.Setup != nil {
		l.setup = o.Setup
	}
	return nil
}

func (l *fakeLink) Reports() <-chan heart.Report { return l.reports }
func (l *fakeLink) Close() error                 { l.stop(); return nil }

// fakeVolume behaves as a volume process that never had a peer, or whose peer is connected.
type fakeVolume struct {
	*computer
	fact    ha.VolumeFact
	pid     int
	follows []func(VolumeState)
	problem string // and its code
	code    string
	refuse  map[string]error
	shell   bool // the kernel let go of the device

	permitted uint64 // the session that the permission was for
}

func (c *computer) addVolume(name string, connected bool) *fakeVolume {
	v := &fakeVolume{computer: c, pid: 100, refuse: map[string]error{}, fact: ha.VolumeFact{Name: name, Running: true, Role: ha.Secondary, Disk: ha.UpToDate,
		PeerDisk: ha.DUnknown, Connection: "Connecting", Generation: "00112233445566778899aabbccddeeff", NeverHadPeer: true}}
	if connected {
		v.fact.Connection, v.fact.Connected, v.fact.PeerDisk, v.fact.NeverHadPeer, v.fact.PeerRole = "Connected", true, ha.UpToDate, false, ha.Secondary
	}
	c.volumes[name] = v
	return v
}

func (c *computer) Apply(configs []VolumeConfig) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applied = configs
	return nil
}

func (c *computer) Open(name string) Volume { return c.volumes[name] }

func (v *fakeVolume) Follow(ctx context.Context, each func(VolumeState)) {
	v.mu.Lock()
	v.follows = append(v.follows, each)
	v.mu.Unlock()
	for ctx.Err() == nil {
		v.mu.Lock()
		state := v.state()
		v.mu.Unlock()
		each(state)
		wait(ctx, 20*time.Millisecond)
	}
}

func (v *fakeVolume) state() VolumeState {
	fact := v.fact
	fact.AnsweredNow = slices.Clone(fact.AnsweredNow)
	return VolumeState{Fact: fact, PID: v.pid, Size: 1 << 20, Lost: -1, LastAck: -1, Problem: v.problem, ProblemCode: v.code, Stuck: v.code == "stuck"}
}

// do is one call: refused if the test says so.
func (v *fakeVolume) do(what string, change func()) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.refuse[what]; err != nil {
		return err
	}
	if !v.fact.Running {
		return errors.New("nobody answers")
	}
	v.did(what)
	change()
	return nil
}

func (v *fakeVolume) Promote(_ context.Context, o PromoteOrder) error {
	return v.do("promote", func() { v.fact.Role, v.fact.Epoch, v.fact.LastPrimary = ha.Primary, o.Epoch, true })
}
func (v *fakeVolume) Demote(context.Context) error {
	return v.do("demote", func() { v.fact.Role = ha.Secondary })
}
func (v *fakeVolume) Revoke(context.Context, ha.Epoch, ha.Reason) error {
	return v.do("revoke", func() { v.fact.Role = ha.Secondary })
}
func (v *fakeVolume) Permit(_ context.Context, _ ha.Epoch, _ ha.Generation, session uint64, reason string) error {
	return v.do("permit", func() { v.fact.Permission, v.permitted = reason, session })
}
func (v *fakeVolume) Withdraw(context.Context) error {
	return v.do("withdraw", func() { v.fact.Permission = "" })
}
func (v *fakeVolume) Outdate(_ context.Context, boot ha.BootName, r ha.Request) (ha.Answer, error) {
	a := ha.Answer{Number: r.Number, Boot: boot, Kind: r.Kind, Volume: r.Volume, Result: ha.AnsweredOutdated, Generation: r.Generation, Session: r.Session, Epoch: r.Epoch}
	return a, v.do("outdate", func() { v.fact.Disk, v.fact.AnsweredNow = ha.Outdated, append(v.fact.AnsweredNow, a) })
}
func (v *fakeVolume) PeerOutdated(context.Context, ha.Answer) error {
	return v.do("peer outdated", func() { v.fact.PeerRecord = "outdated" })
}
func (v *fakeVolume) EndLicence(context.Context, ha.Reason) error {
	return v.do("end licence", func() { v.fact.Licence, v.fact.Disk = false, ha.Consistent })
}
func (v *fakeVolume) Leave(context.Context) error {
	return v.do("leave", func() { v.fact.Connection, v.fact.Connected = "StandAlone", false })
}
func (v *fakeVolume) Snapshot(context.Context) ([]byte, error) { return []byte(v.fact.Name), nil }
func (v *fakeVolume) Compare(_ context.Context, peer []byte) (ha.Comparison, error) {
	if string(peer) != v.fact.Name {
		return ha.CompareRefused, nil
	}
	return ha.CompareEqual, nil
}
func (v *fakeVolume) Connect(context.Context) error       { return v.do("connect", func() {}) }
func (v *fakeVolume) Disconnect(context.Context) error    { return v.do("disconnect", func() {}) }
func (v *fakeVolume) Resolve(context.Context, bool) error { return v.do("resolve", func() {}) }
func (v *fakeVolume) Pause(context.Context) error         { return v.do("pause", func() {}) }
func (v *fakeVolume) Resume(context.Context) error        { return v.do("resume", func() {}) }
func (v *fakeVolume) Kill(context.Context, int) error     { return v.do("kill", func() {}) }
func (v *fakeVolume) Detach(context.Context, bool) error  { return v.do("detach", func() {}) }
func (v *fakeVolume) OpenDevice(context.Context, bool) (string, error) {
	err := v.do("device", func() { v.fact.Device = "/dev/loop-" + v.fact.Name })
	return "/dev/loop-" + v.fact.Name, err
}
func (v *fakeVolume) CloseDevice(context.Context, bool) error {
	return v.do("device off", func() { v.fact.Device, v.shell = "", false })
}
func (v *fakeVolume) Alive(context.Context) error { return nil }

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

func (m *memorySettings) Import(_ context.Context, s ha.Settings) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, s)
	return nil
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
		settings: &memorySettings{all: []ha.Settings{testSettings(withVolume)}}, events: &memoryEvents{}}
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
	s := shells{addresses: fakeAddresses{b.computer}, services: b.services, mounts: fakeMounts{b.computer}, checks: &fakeChecks{}, dialHeart: b.heart.dial}
	done := b.done
	s.reached = func(point string) {
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
