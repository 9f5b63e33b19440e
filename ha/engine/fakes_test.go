package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/heart"
)

// computer is the machine below an engine, in memory: it survives the engine, as a kernel does.
type computer struct {
	mu       sync.Mutex
	held     map[netip.Prefix]wish
	changed  func()
	gone     string // a network device that is missing
	stranger map[netip.Prefix]string
	late     map[netip.Prefix]string // strangers who come when the address is held
	askFails map[string]error        // devices on which nobody can be asked
	askHangs chan struct{}           // an answer waits for it to be closed
	asking   int                     // how often it was asked
	asked    int                     // and answered
	mounts   map[string]string       // point to device
	mountErr error
	twice    bool // a device was mounted that was mounted already
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
		if w.Device == a.gone {
			return fmt.Errorf("%s: no such device", w.Device)
		}
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

func (a fakeAddresses) Devices() ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc([]string{"lo", "lan", "wan", "sync"}, func(name string) bool { return name == a.gone }), nil
}

func (a fakeAddresses) Conflict(context.Context, []wish) (map[netip.Prefix]string, map[string]error) {
	a.mu.Lock()
	hang := a.askHangs
	a.asking++
	a.mu.Unlock()
	if hang != nil {
		<-hang
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	found := maps.Clone(a.stranger)
	for address, mac := range a.late {
		if _, held := a.held[address]; held {
			found = map[netip.Prefix]string{address: mac}
			a.stranger = found // and stay
		}
	}
	return found, maps.Clone(a.askFails)
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
	for _, other := range m.mounts {
		m.twice = m.twice || other == device
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
	orders  int // that came
	macs    map[string]string
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
	r := heart.Report{Now: at, PeerMACs: h.macs, Facts: ha.HeartFacts{Running: true, Since: h.began, Heartbeats: true, RealTime: true}}
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
	l.orders++
	if o.Setup != nil {
		l.setup = o.Setup
	}
	return nil
}

func (l *fakeLink) Reports() <-chan heart.Report { return l.reports }
func (l *fakeLink) Close() error                 { l.stop(); return nil }
