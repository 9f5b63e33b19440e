package web_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"

	"evenkeel/ha"
	"evenkeel/ha/config"
	"evenkeel/ha/control"
	"evenkeel/store"
	"evenkeel/web"
)

// engine is a made-up engine: it says what a test tells it to, and notes what it is told.
type engine struct {
	mu      sync.Mutex
	status  control.Status
	peer    *control.Status // nil: the peer does not answer
	silent  bool            // the stream says nothing
	orders  []string
	outcome control.Outcome
	refuse  error           // of settings and orders
	waits   []time.Duration // how long each question for the peer's events may take
	wake    chan struct{}
}

func newEngine(s control.Status) *engine {
	return &engine{status: s, wake: make(chan struct{}, 1), outcome: control.Outcome{Done: true, Text: "a is the running master.", Digest: "d1"}}
}

// set changes what the engine says and sends it out at once.
func (e *engine) set(change func(*engine)) {
	e.mu.Lock()
	change(e)
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *engine) note(order string) (control.Outcome, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.orders = append(e.orders, order)
	return e.outcome, e.refuse
}

func (e *engine) told() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.orders...)
}

func (e *engine) StreamStatus(ctx context.Context, each func(control.Status)) error {
	for {
		e.mu.Lock()
		s, silent := e.status, e.silent
		e.mu.Unlock()
		if !silent {
			each(s)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.wake:
		case <-time.After(time.Second):
		}
	}
}

func (e *engine) Status(_ context.Context, node string) (control.Status, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if node == "" || node == e.status.Node {
		return e.status, nil
	}
	if e.peer == nil {
		return control.Status{}, &control.Error{Exit: control.ExitFailed, Text: "the other node does not answer"}
	}
	return *e.peer, nil
}

func (e *engine) Explain(context.Context) (control.Explanation, error) {
	return control.Explanation{Sentence: "a is master because it was promoted at epoch 7/a and hears b over three links.",
		Reasons: []control.Reason{{Code: "peer_slave", Text: "b says that it is the slave."}},
		Rungs:   []string{"Three separate links", "A good reference point", "The volume's permission"}, Remains: []string{"All links and the reference point failing in the same moment."}}, nil
}

func (e *engine) Events(ctx context.Context, f control.EventFilter) ([]control.Event, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	until, _ := ctx.Deadline()
	e.waits = append(e.waits, time.Until(until))
	if e.peer == nil {
		return nil, &control.Error{Exit: control.ExitFailed, Text: "the other node does not answer"}
	}
	return []control.Event{{ID: 1, At: time.Now().Add(-time.Minute), Node: f.Node, Log: f.Log, Code: "role", Severity: ha.Info, Text: "b: Starting to Slave: the peer is master.", Epoch: "7/a"}}, nil
}

func (e *engine) Takeover(_ context.Context, o control.Order) (control.Outcome, error) {
	return e.order("takeover", o)
}

func (e *engine) Release(_ context.Context, o control.Order) (control.Outcome, error) {
	return e.order("release", o)
}

func (e *engine) order(name string, o control.Order) (control.Outcome, error) {
	if o.DryRun {
		e.mu.Lock()
		defer e.mu.Unlock()
		preview := e.outcome
		if preview.Code == "" && len(preview.Blockers) == 0 {
			preview.Code = "possible" // as the engine says it
		}
		return preview, nil
	}
	return e.note(name + " digest=" + o.Digest + " confirm=" + o.Confirm + " by=" + o.By)
}

func (e *engine) Standby(_ context.Context, s control.Switch) (control.Outcome, error) {
	return e.note("standby " + onOff(s.On))
}

func (e *engine) Armed(_ context.Context, s control.Switch) (control.Outcome, error) {
	return e.note("armed " + onOff(s.On))
}

func (e *engine) Volume(_ context.Context, name, verb string, o control.VolumeOrder) (control.Outcome, error) {
	return e.note(verb + " " + name + " discard=" + o.Discard + " confirm=" + o.Confirm)
}

func (e *engine) Settings(_ context.Context, r control.Revision) error {
	_, err := e.note("settings " + time.Duration(r.Revision).String())
	return err
}

func (e *engine) Catalogue(context.Context) ([]control.CatalogueEntry, error) {
	return []control.CatalogueEntry{{Name: "guestbook", Description: "a small web service"}, {Name: "echo", Description: "UDP and TCP echo"}}, nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func ptr[T any](v T) *T { return &v }

// healthy is a pair in order, seen from its master a.
func healthy() control.Status {
	since := time.Now().Add(-3 * time.Hour)
	link := func(name, kind string, ms int64) control.Link {
		return control.Link{Name: name, Kind: kind, State: "up", IntervalMS: 200, LastHeardMS: ptr(ms), HeardByPeer: ptr(true), Sync: name == "sync", LongestGapMS: ptr(int64(231)), Refused: map[string]uint64{}}
	}
	return control.Status{
		Node: "a", ConfiguredRole: "master", RunningRole: "master", State: "master", StateSince: since, Epoch: ha.Epoch{Counter: 7, Node: "a"}, Armed: true,
		Hostname: "evenkeel-master.lab", Version: "0.1", At: time.Now(),
		Peer:       control.Peer{Node: "b", Alive: true, Verdict: "alive", RunningRole: ptr("slave"), State: ptr("slave"), LastHeardMS: ptr(int64(84)), Revision: ptr(uint64(1))},
		Links:      []control.Link{link("/dev/ttyS0", "serial", 140), link("lan", "udp", 84), link("wan", "udp", 120), link("sync", "udp", 61)},
		Volumes:    []control.Volume{{Name: "data", Role: "Primary", Disk: "UpToDate", PeerDisk: "UpToDate", Connection: "Connected", Generation: "3f2a90c17be04455aa61b2c3d4e5f607", Size: 256 << 20, Device: ptr("/dev/loop0"), Mount: ptr("/srv/data")}},
		Addresses:  []control.Address{{Address: "10.88.1.100/24", Device: "lan", Held: true, Since: ptr("2026-11-21T19:00:00Z")}, {Address: "10.88.2.100/24", Device: "wan", Held: true}},
		Services:   []control.Service{{Name: "guestbook", Placement: "master", State: "running"}, {Name: "echo", Placement: "both", State: "running"}},
		Takeover:   control.Takeover{Blockers: []ha.Blocker{{Code: "already_master", Text: "This node is the running master."}}},
		References: []control.Reference{{Name: "gateway", State: "good", AgeMS: ptr(int64(420))}},
		Settings:   control.SettingsState{Revision: 1, Digest: "9a1c"},
		Processes:  []control.Process{{Name: "heart", PID: 12, RSSBytes: 9 << 20}, {Name: "engine", PID: 13, RSSBytes: 21 << 20}, {Name: "volume/data", PID: 15, RSSBytes: 17 << 20}, {Name: "web", PID: 14, RSSBytes: 24 << 20}},
		Heartbeat:  control.HeartbeatState{Profile: "standard", IntervalMS: 200, DeadTimeMS: 3000, PromiseMS: 4500},
	}
}

// healthyPeer is the same pair, seen from its slave b.
func healthyPeer() *control.Status {
	s := healthy()
	s.Node, s.ConfiguredRole, s.RunningRole, s.State, s.Hostname = "b", "slave", "slave", "slave", "evenkeel-slave.lab"
	s.Peer.Node, s.Peer.RunningRole, s.Peer.State = "a", ptr("master"), ptr("master")
	s.Volumes = []control.Volume{{Name: "data", Role: "Secondary", Disk: "UpToDate", PeerDisk: "UpToDate", Connection: "Connected", Generation: s.Volumes[0].Generation}}
	s.Takeover = control.Takeover{Possible: true}
	return &s
}

// labSettings is what the lab's pair is set up with.
func labSettings() ha.Settings {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	return ha.Settings{
		General: ha.General{Active: true, MasterNode: "a", SlaveNode: "b", MasterAddress: addr("10.88.1.1"), SlaveAddress: addr("10.88.1.2"), Mode: ha.Evidence,
			References: []ha.Reference{{Name: "gateway", Address: addr("10.88.1.254")}}},
		Heartbeat: ha.Heartbeat{ClusterID: 7, Profile: ha.ProfileStandard, Interval: 200 * time.Millisecond, DeadTime: 3 * time.Second, BootWait: 5 * time.Second,
			Serial: true, MasterSerial: "/dev/ttyS0", SlaveSerial: "/dev/ttyS0", Baud: 115200, Port: 999, SyncDevice: "sync",
			Devices: []ha.BeatDevice{{Device: "lan", Send: true}, {Device: "wan", Send: true}, {Device: "sync", Send: true}}},
		Replication: ha.ReplicationSettings{MasterAddress: addr("10.88.3.1"), SlaveAddress: addr("10.88.3.2"),
			Volumes: []ha.VolumeSetting{{Name: "data", MasterBacking: "/var/lib/evenkeel/disks/data.img", SlaveBacking: "/var/lib/evenkeel/disks/data.img", Filesystem: "ext4", MountPoint: "/srv/data"}}},
		Addresses: []ha.VirtualAddress{
			{Enabled: true, Device: "lan", Address: prefix("10.88.1.100/24"), MasterAddress: addr("10.88.1.1"), SlaveAddress: addr("10.88.1.2")},
			{Enabled: true, Device: "wan", Address: prefix("10.88.2.100/24"), MasterAddress: addr("10.88.2.1"), SlaveAddress: addr("10.88.2.2")}},
		Services: []ha.ServiceSetting{{Name: "guestbook", Placement: ha.MasterSide}, {Name: "echo", Placement: ha.Both}},
	}
}

const password = "a good password"

// console is a running console with the real store and a made-up engine, and a browser that is signed in.
type console struct {
	t      *testing.T
	base   string
	engine *engine
	db     *store.DB
	events *store.Events
	client *http.Client
	host   string
	dir    string // the state folder
}

func start(t *testing.T, e *engine) *console {
	t.Helper()
	return startWith(t, e, func(db *store.DB) web.DB { return db })
}

// startWith is start with a database that misbehaves.
func startWith(t *testing.T, e *engine, as func(*store.DB) web.DB) *console {
	t.Helper()
	t.Parallel() // most of a test is waiting
	dir, ctx := t.TempDir(), context.Background()
	db, err := store.Open(dir, store.Options{Limits: ha.Limits{BackingPrefixes: []string{"/var/lib/evenkeel/disks"}, MountPrefixes: []string{"/srv"}, Catalogue: []string{"guestbook", "echo"}}})
	must(t, err)
	must(t, db.AddUser(ctx, "admin", password))
	_, err = db.Save(ctx, labSettings(), 0, "lab")
	must(t, err)
	events, err := store.OpenEvents(dir, false)
	must(t, err)
	must(t, events.Append(ctx, someEvents()))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	run, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- web.Run(run, web.Options{Config: config.Node{Node: "a", StateDir: dir, Console: config.Console{PeerURL: "https://127.0.0.1:8444"}},
			Engine: e, DB: as(db), Events: events, Listeners: []net.Listener{l}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run does not end")
		}
		db.Close()
		events.Close()
	})
	c := &console{t: t, base: "https://" + l.Addr().String(), host: l.Addr().String(), engine: e, db: db, events: events, dir: dir}
	c.client = c.browser()
	return c
}

func someEvents() []control.Event {
	at := func(s int) time.Time { return time.Now().Add(-time.Duration(s) * time.Second) }
	return []control.Event{
		{At: at(900), Node: "a", Log: "heartbeat", Code: "link.quiet", Severity: ha.Warning, Text: "Link wan is quiet for 500 ms.", Epoch: "6/b"},
		{At: at(890), Node: "a", Log: "heartbeat", Code: "link.up", Severity: ha.Info, Text: "Link wan is up again.", Epoch: "6/b"},
		{At: at(300), Node: "a", Log: "failover", Code: "peer.dead", Severity: ha.Critical, Text: "b is dead: no fresh beat for 3 s, a whole probe round went unanswered.", Epoch: "6/b"},
		{At: at(299), Node: "a", Log: "failover", Code: "role", Severity: ha.Info, Text: "slave -> promoting: the peer is dead and the gateway answers.", Epoch: "7/a", Cause: 3},
		{At: at(298), Node: "a", Log: "failover", Code: "role", Severity: ha.Info, Text: "promoting -> master: every step is done in 640 ms.", Epoch: "7/a", Cause: 4},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// browser is a new one without a session; it does not follow redirects.
func (c *console) browser() *http.Client {
	jar, _ := cookiejar.New(nil)
	return &http.Client{Jar: jar, Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (c *console) signIn() *console {
	c.t.Helper()
	r, _ := c.post("/signin", url.Values{"name": {"admin"}, "password": {password}})
	if r.StatusCode != http.StatusSeeOther {
		c.t.Fatalf("sign-in answers %d", r.StatusCode)
	}
	return c
}

func (c *console) get(path string) (*http.Response, *goquery.Document) {
	c.t.Helper()
	r, err := c.client.Get(c.base + path)
	must(c.t, err)
	return r, c.read(r)
}

func (c *console) post(path string, form url.Values) (*http.Response, *goquery.Document) {
	c.t.Helper()
	request, err := http.NewRequest(http.MethodPost, c.base+path, strings.NewReader(form.Encode()))
	must(c.t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", c.base)
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	r, err := c.client.Do(request)
	must(c.t, err)
	return r, c.read(r)
}

func (c *console) read(r *http.Response) *goquery.Document {
	c.t.Helper()
	defer r.Body.Close()
	d, err := goquery.NewDocumentFromReader(r.Body)
	must(c.t, err)
	return d
}

// form reads a page's form as a browser would post it.
func (c *console) form(path string) url.Values {
	c.t.Helper()
	_, page := c.get(path)
	return fields(page.Find("form#settings, form#confirm").First())
}

func fields(form *goquery.Selection) url.Values {
	v := url.Values{}
	form.Find("input, select, textarea").Each(func(_ int, s *goquery.Selection) {
		name, _ := s.Attr("name")
		switch goquery.NodeName(s) {
		case "select":
			v.Set(name, s.Find("option[selected]").AttrOr("value", s.Find("option").First().AttrOr("value", "")))
		case "textarea":
			v.Set(name, s.Text())
		default:
			if _, on := s.Attr("checked"); s.AttrOr("type", "") != "checkbox" || on {
				v.Set(name, s.AttrOr("value", ""))
			}
		}
	})
	return v
}

// until waits until a page has an element that matches.
func (c *console) until(path, selector string) {
	c.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, page := c.get(path); page.Find(selector).Length() > 0 {
			return
		}
	}
	c.t.Fatalf("%s never shows %s", path, selector)
}

// settled waits until the console has heard from the engine.
func (c *console) settled() *console {
	c.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		_, page := c.get("/ha/status")
		if page.Find("#links tr").Length() > 0 && !strings.Contains(page.Find("#takeover").Text(), "does not answer the question") {
			return c
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Fatal("the console never showed the engine's status")
	return c
}
