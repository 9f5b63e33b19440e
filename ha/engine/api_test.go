package engine

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/ha/heart"
)

var rewrite = flag.Bool("rewrite", false, "write testdata anew")

// The status of a fixed view is the contract, byte for byte (60-lab, status --json).
func TestStatusGolden(t *testing.T) {
	at := ha.Instant(100 * time.Second)
	second := func(n int) ha.Instant { return ha.Instant(time.Duration(n) * time.Second) }
	yes := true
	v := &view{at: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), settings: testSettings(true), peer: "b", since: second(90),
		facts: ha.Facts{Now: at, Settings: testSettings(true).Effective("a"),
			Heart: ha.HeartFacts{Running: true, RealTime: true, Links: []ha.LinkFact{
				{Name: "/dev/ttyS0", Kind: ha.LinkSerial, State: ha.LinkNeverHeard, Interval: 200 * time.Millisecond, Problem: "no such port"},
				{Name: "lan", Kind: ha.LinkUDP, State: ha.LinkUp, Interval: 50 * time.Millisecond, FreshAt: at - ha.Instant(30*time.Millisecond), HeardByPeer: &yes, Carrier: &yes, Lost: 3}}},
			Other:     ha.PeerFacts{Beat: &ha.Beat{Saying: ha.Saying{Role: ha.Slave, Revision: 1}}, FreshAt: at - ha.Instant(30*time.Millisecond), Confirmed: second(99)},
			Addresses: []ha.AddressFact{{Address: "10.88.1.100/24", Device: "lan", Held: false}},
			Services:  []ha.ServiceFact{{Name: "guestbook", Placement: ha.MasterSide, State: "running"}}},
		plan: ha.Plan{Role: ha.Master, Reason: ha.ReasonPromoted, Verdict: ha.PeerAlive,
			Takeover: ha.Takeover{Blockers: []ha.Blocker{{Code: "already_master", Text: "This node is the master."}}}},
		heart: heart.Report{Counters: map[string]heart.Counters{"lan": {Refused: map[string]uint64{"ttl": 1}, LongestGap: 70 * time.Millisecond}}},
		volumes: []VolumeState{{Size: 1 << 20, Resync: &control.Resync{Percent: 50, RateBytes: 1000}, Fact: ha.VolumeFact{Name: "data", Running: true,
			Role: ha.Primary, Disk: ha.UpToDate, PeerDisk: ha.Inconsistent, Connection: "SyncSource", OutOfSync: 4096, Generation: "00112233445566778899aabbccddeeff", Device: "/dev/loop0"}},
			{Fact: ha.VolumeFact{Name: "gone", Role: ha.Primary}}},
		points:     map[string]string{"data": "/srv/data"},
		conditions: []control.Condition{{Condition: ha.Condition{Code: "link.single", Severity: ha.Warning, Side: "pair", Text: "One link is left.", Remedy: "Look at the others."}, Since: time.Date(2026, 11, 21, 11, 0, 0, 0, time.UTC)}},
		references: []ha.ReferenceFact{{Name: "gateway", State: ha.ReferenceGood, AskedAt: second(99)}, {Name: "new", State: ha.ReferenceUnknown}},
		epoch:      ha.Epoch{Counter: 7, Node: "a"}, armed: true,
	}
	e := &engine{node: "a", o: Options{Version: "1.0"}}
	s := e.status(v)
	s.Hostname, s.StateSince = "evenkeel-master.lab", time.Time{}
	got, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "status.golden.json")
	if *rewrite {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(want)) != string(got) {
		t.Errorf("the status is not the contract's any more (go test -rewrite if that is meant):\n%s", got)
	}
}

// An engine without settings says so, with every list there.
func TestStatusWithoutSettings(t *testing.T) {
	e := &engine{node: "a"}
	data, err := json.Marshal(e.status(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"links":[]`, `"volumes":[]`, `"state":"starting"`, `"state_reason":"no_settings"`, `"code":"settings.none"`, `"last_heard_ms":null`} {
		if !strings.Contains(string(data), part) {
			t.Errorf("%s is missing in %s", part, data)
		}
	}
	// never set up or damaged: the line of check fits both
	if c := e.status(nil).Conditions[0]; c.Severity != ha.Critical || !strings.Contains(c.Text, "ever saved") || !strings.Contains(c.Text, "log says why") {
		t.Errorf("the condition of a node without settings is %+v", c)
	}
}

func exitOf(err error) int {
	var e *control.Error
	if errors.As(err, &e) {
		return e.Exit
	}
	return -1
}

// The preview changes nothing, quotes the steps, and its digest must still hold when the order is posted.
func TestPreview(t *testing.T) {
	b := newPair(t)
	b.start()
	b.await("whole", whole)
	before := b.computer.history()
	preview, err := b.client.Release(t.Context(), control.Order{DryRun: true})
	if err != nil || preview.Done || preview.Digest == "" || len(preview.Steps) == 0 {
		t.Fatalf("%+v, %v", preview, err)
	}
	if _, err := b.client.Release(t.Context(), control.Order{Digest: "00000000"}); exitOf(err) != control.ExitRefused {
		t.Errorf("a stale preview was carried out: %v", err)
	}
	if b.computer.history() != before {
		t.Errorf("a preview did something: %s", b.computer.history()[len(before):])
	}
	if _, err := b.client.Release(t.Context(), control.Order{Digest: preview.Digest}); err != nil {
		t.Errorf("the preview holds, and the order was refused: %v", err)
	}
}

// What is refused says so with its exit code.
func TestRefusals(t *testing.T) {
	b := newPair(t)
	b.start()
	b.await("whole", whole)
	ctx := t.Context()
	cases := map[string]struct {
		call func() error
		exit int
	}{
		"force without the name": {func() error { _, err := b.client.Takeover(ctx, control.Order{Force: true}); return err }, control.ExitUsage},
		"no such volume":         {func() error { _, err := b.client.Volume(ctx, "nope", "pause", control.VolumeOrder{}); return err }, control.ExitUsage},
		"no such verb":           {func() error { _, err := b.client.Volume(ctx, "data", "shred", control.VolumeOrder{}); return err }, control.ExitUsage},
		"continue unconfirmed":   {func() error { _, err := b.client.Volume(ctx, "data", "continue", control.VolumeOrder{}); return err }, control.ExitUsage},
		"resolve once named": {func() error {
			_, err := b.client.Volume(ctx, "data", "resolve", control.VolumeOrder{Discard: "b"})
			return err
		},
			control.ExitUsage},
		"resolve the one that serves": {func() error {
			_, err := b.client.Volume(ctx, "data", "resolve", control.VolumeOrder{Discard: "a", Confirm: "a"})
			return err
		}, control.ExitRefused},
		"another node": {func() error { _, err := b.client.Status(ctx, "z"); return err }, control.ExitUsage},
		"no revision":  {func() error { return b.client.Settings(ctx, control.Revision{Revision: 99}) }, control.ExitFailed},
		"nobody there": {func() error { _, err := control.NewClient("/nonexistent/engine.sock").Status(ctx, ""); return err }, control.ExitNotRunning},
	}
	for name, c := range cases {
		if err := c.call(); exitOf(err) != c.exit {
			t.Errorf("%s: exit %d, want %d: %v", name, exitOf(err), c.exit, err)
		}
	}
}

// A saved revision is in force at once: links, addresses and status follow, with the same engine.
func TestSettingsApplyLive(t *testing.T) {
	b := newBench(t, false)
	b.heart.peer = peerSlave
	b.start()
	b.await("master", func(s control.Status) bool { return s.State == string(ha.Master) && held(s) })
	next := testSettings(false)
	next.Revision, next.Heartbeat.Interval, next.Heartbeat.DeadTime = 2, 100*time.Millisecond, 800*time.Millisecond
	next.Addresses[0].Aliases = append(next.Addresses[0].Aliases, netip.MustParsePrefix("10.88.1.101/24"))
	if _, err := b.settings.Import(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if err := b.client.Settings(t.Context(), control.Revision{Revision: 2}); err != nil {
		t.Fatal(err)
	}
	b.await("both addresses", func(s control.Status) bool {
		return s.Settings.Revision == 2 && len(s.Addresses) == 2 && held(s) && s.Heartbeat.IntervalMS == 100 && s.Heartbeat.DeadTimeMS == 800
	})
	b.heart.mu.Lock()
	interval := b.heart.setup.Links[0].Interval
	b.heart.mu.Unlock()
	if interval != 100*time.Millisecond {
		t.Errorf("heart was told %v", interval)
	}
	bad := next
	bad.Revision, bad.Heartbeat.DeadTime = 3, time.Millisecond
	if _, err := b.settings.Import(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	err := b.client.Settings(t.Context(), control.Revision{Revision: 3})
	var refused *control.Error
	if !errors.As(err, &refused) || refused.Exit != control.ExitRefused || len(refused.Fields) == 0 {
		t.Errorf("a bad revision: %v", err)
	}
	if s, err := b.client.Status(t.Context(), ""); err != nil || s.Settings.Revision != 2 {
		t.Errorf("revision %d in force, %v", s.Settings.Revision, err)
	}
}

// A database that cannot be read leaves the node what it was.
func TestUnreadableSettings(t *testing.T) {
	b := newBench(t, false)
	b.heart.peer = peerSlave
	b.start()
	b.await("master", func(s control.Status) bool { return s.State == string(ha.Master) && held(s) })
	awaitFile(t, filepath.Join(b.options.Config.StateDir, "engine", settingsFile))
	b.end()
	b.settings.err = errors.New("database disk image is malformed")
	b.start()
	s := b.await("master again", isState(ha.Master))
	if s.Settings.Revision != 1 || !hasCondition(s, "settings.refused") {
		t.Errorf("revision %d, conditions %+v", s.Settings.Revision, s.Conditions)
	}
	for _, c := range s.Conditions {
		if c.Code == "settings.refused" && !strings.Contains(c.Remedy, "Mend the settings database") {
			t.Errorf("nothing can be saved in a console without a database, but the remedy is: %s", c.Remedy)
		}
	}
}

func hasCondition(s control.Status, code string) bool {
	for _, c := range s.Conditions {
		if c.Code == code {
			return true
		}
	}
	return false
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if _, err := os.Stat(path); err == nil {
			return
		}
		wait(ctx, 2*time.Millisecond)
	}
	t.Fatalf("%s never appeared", path)
}

// A damaged record, and its copy, are named and moved aside; a node that serves goes on serving under the epoch that its volume holds.
func TestDamagedRecordWhileServing(t *testing.T) {
	b := newPair(t)
	b.start()
	first := b.await("whole", whole)
	b.end()
	path := filepath.Join(b.options.Config.StateDir, "engine", durableFile)
	for _, file := range []string{path, filepath.Join(filepath.Dir(path), durableCopy)} {
		if err := os.WriteFile(file, []byte("not a record"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.start()
	s := b.await("master again", isState(ha.Master))
	if s.Epoch != first.Epoch || !hasCondition(s, "state.unreadable") {
		t.Errorf("epoch %v, conditions %+v", s.Epoch, s.Conditions)
	}
	if _, err := os.Stat(path + ".corrupt"); err != nil {
		t.Errorf("the damaged file is gone: %v", err)
	}
}

// A settings database that was lost is filled again from the engine's copy, and nothing else happens.
func TestLostDatabaseIsRefilled(t *testing.T) {
	b := newPair(t)
	b.start()
	first := b.await("whole", whole)
	b.end()
	b.settings.all = nil
	b.start()
	s := b.await("master again", isState(ha.Master))
	if s.Settings.Revision != first.Settings.Revision || hasCondition(s, "settings.refused") {
		t.Errorf("revision %d, conditions %+v", s.Settings.Revision, s.Conditions)
	}
	if len(b.settings.all) != 1 || b.settings.all[0].Revision != first.Settings.Revision {
		t.Errorf("the database holds %+v", b.settings.all)
	}
}

// A database that went back in time, as one whose -wal is damaged does without an error, takes back no revision that was in force.
func TestOlderDatabaseIsRefilled(t *testing.T) {
	b := newPair(t)
	b.settings.all = append(b.settings.all, b.settings.all[0])
	b.settings.all[1].Revision = 2
	b.start()
	b.await("whole", func(s control.Status) bool { return whole(s) && s.Settings.Revision == 2 })
	awaitFile(t, filepath.Join(b.options.Config.StateDir, "engine", settingsFile))
	b.end()
	b.settings.all = b.settings.all[:1]
	b.start()
	b.await("revision 2 again", func(s control.Status) bool { return s.State == string(ha.Master) && s.Settings.Revision == 2 })
	b.end()
	if text := b.events.text("settings.refilled"); !strings.Contains(text, "held revision 1 as its newest") || b.settings.all[len(b.settings.all)-1].Revision != 2 {
		t.Errorf("told %q, stored %d revisions", text, len(b.settings.all))
	}
}

// A record that is lost while the node serves is as one that is damaged.
func TestLostRecordWhileServing(t *testing.T) {
	b := newPair(t)
	b.start()
	first := b.await("whole", whole)
	b.end()
	for _, name := range []string{durableFile, durableCopy} {
		if err := os.Remove(filepath.Join(b.options.Config.StateDir, "engine", name)); err != nil {
			t.Fatal(err)
		}
	}
	b.start()
	s := b.await("master again", isState(ha.Master))
	if s.Epoch != first.Epoch || !hasCondition(s, "state.unreadable") {
		t.Errorf("epoch %v, conditions %+v", s.Epoch, s.Conditions)
	}
}

// Damaged vows are named too.
func TestDamagedVows(t *testing.T) {
	b := newPair(t)
	path := filepath.Join(b.options.Config.StateDir, "engine", vowsFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.await("condition", func(s control.Status) bool {
		return slices.ContainsFunc(s.Conditions, func(c control.Condition) bool {
			return c.Code == "state.unreadable" && strings.Contains(c.Text, vowsFile) && !strings.Contains(c.Text, ": ;")
		})
	})
}

// A record that cannot be stored: nothing that rests on it happens.
func TestRecordThatCannotBeStored(t *testing.T) {
	b := newPair(t)
	dir := filepath.Join(b.options.Config.StateDir, "engine")
	if err := os.MkdirAll(filepath.Join(dir, durableFile), 0o700); err != nil { // a folder in its place: rename fails, for root too
		t.Fatal(err)
	}
	b.start()
	s := b.await("condition", func(s control.Status) bool { return hasCondition(s, "state.not_stored") })
	if s.RunningRole == "master" || b.computer.history() != "" {
		t.Errorf("role %s, done: %s", s.RunningRole, b.computer.history())
	}
}

// The event stream brings what is written, and goes on after the number that it is given.
func TestEventStream(t *testing.T) {
	b := newBench(t, false)
	b.heart.peer = peerSlave
	b.start()
	b.await("master", isState(ha.Master))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var got []int64
	_ = b.client.StreamEvents(ctx, control.EventFilter{After: 1}, func(e control.Event) {
		got = append(got, e.ID)
		if len(got) == 2 {
			cancel()
		}
	})
	if !reflect.DeepEqual(got[:min(2, len(got))], []int64{2, 3}) {
		t.Errorf("events %v", got)
	}
	x, err := b.client.Explain(t.Context())
	if err != nil || x.Sentence == "" || !json.Valid([]byte(x.Decision)) {
		t.Errorf("explanation %+v, %v", x, err)
	}
}
