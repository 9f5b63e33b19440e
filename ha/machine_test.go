package ha

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"
)

// pair is the facts of node b, a slave in sync beside a serving a, in the Standard profile.
func pair() Facts {
	now := Instant(time.Hour)
	beat := &Beat{Node: "a", Boot: BootName{1}, Seq: 9, Saying: Saying{
		Epoch: Epoch{3, "a"}, Role: Master, Armed: true, Healthy: true, Mode: Evidence, DeadTime: 3 * time.Second,
		Volumes: []VolumeSaying{{Name: "data", Generation: "g", Role: Primary, Disk: UpToDate, Connected: true, Promise: 4500 * time.Millisecond}},
	}}
	e := Effective{Configured: SlaveSide, Active: true, Interval: 200 * time.Millisecond, DeadTime: 3 * time.Second, BootWait: 5 * time.Second,
		Hold: 11500 * time.Millisecond, Mode: Evidence, OwnMode: Evidence, OwnDeadTime: 3 * time.Second}
	return Facts{
		Now: now, Node: "b", Peer: "a", Boot: BootName{2}, Settings: e, EngineStarted: now - Instant(time.Minute),
		Heart: HeartFacts{Running: true, Heartbeats: true, RealTime: true, EverHeard: true, Since: 1,
			Links: []LinkFact{{Name: "serial", State: LinkUp, FreshAt: now}, {Name: "lan", State: LinkUp, FreshAt: now}}},
		Other:      PeerFacts{Beat: beat, FreshAt: now, Confirmed: now, EchoedSent: now, VolumeAckAt: now},
		References: []ReferenceFact{{Name: "gateway", State: ReferenceGood, AskedAt: now}},
		Volumes: []VolumeFact{{Name: "data", Running: true, Role: Secondary, Disk: UpToDate, PeerDisk: UpToDate, PeerRole: Primary,
			Connected: true, Generation: "g", Session: 4}},
		Durable: Durable{Armed: true, Epoch: Epoch{3, "a"}},
	}
}

// silent turns the facts into those of 3.1 s after the last sign of the peer: links quiet, a probe round unanswered.
func silent(f Facts) Facts {
	f.Now = f.Now.Add(3100 * time.Millisecond)
	f.Heart.Links = slices.Clone(f.Heart.Links)
	for i := range f.Heart.Links {
		f.Heart.Links[i].State = LinkQuiet
	}
	f.Other.ProbeBegan, f.Other.ProbeEnded = f.Now-Instant(300*time.Millisecond), f.Now-Instant(100*time.Millisecond)
	f.References = []ReferenceFact{{Name: "gateway", State: ReferenceGood, AskedAt: f.Now - Instant(50*time.Millisecond)}}
	f.Volumes = slices.Clone(f.Volumes)
	for i := range f.Volumes {
		v := &f.Volumes[i]
		v.Connected, v.PeerDisk, v.Licence, v.LostAt = false, DUnknown, true, f.Now-Instant(2*time.Second)
	}
	return f
}

// slaveMachine is b's machine after it has seen its master, and then 2.3 s of its silence with a reference point that answers.
func slaveMachine(t *testing.T) *Machine {
	t.Helper()
	m := NewMachine(pair().Durable)
	if p := m.Step(pair()); p.Role != Slave || !p.Takeover.Possible {
		t.Fatalf("beside a serving master: role %s, takeover %+v", p.Role, p.Takeover)
	}
	f := silent(pair())
	f.Now = pair().Now.Add(500 * time.Millisecond)
	f.Other.ProbeBegan, f.Other.ProbeEnded = 0, 0
	f.References = []ReferenceFact{{Name: "gateway", State: ReferenceGood, AskedAt: pair().Now}}
	if p := m.Step(f); p.Verdict != PeerSuspect || p.Probe == 0 {
		t.Fatalf("after half a second of silence: verdict %s, probe %d", p.Verdict, p.Probe)
	}
	f.Now = pair().Now.Add(2300 * time.Millisecond)
	f.References = []ReferenceFact{{Name: "gateway", State: ReferenceGood, AskedAt: f.Now - Instant(50*time.Millisecond)}}
	if p := m.Step(f); p.Verdict != PeerSuspect || p.AskReferences != 300*time.Millisecond {
		t.Fatalf("after 2.3 s of silence: verdict %s, reference points asked every %v", p.Verdict, p.AskReferences)
	}
	return m
}

// TestTakeoverDecision: one changed fact each turns the takeover of a dead peer into a "no" with its reason.
func TestTakeoverDecision(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Facts)
		role   Role
		reason Reason
	}{
		{"all well", func(*Facts) {}, Promoting, ReasonPeerDead},
		{"reference bad", func(f *Facts) { f.References[0].State = ReferenceBad }, Blocked, ReasonReferenceLost},
		{"reference none", func(f *Facts) { f.References = nil }, Blocked, ReasonNoReference},
		{"answer asked before the silence", func(f *Facts) { f.References[0].AskedAt = pair().Now }, Slave, ReasonPeerMaster},
		{"disk outdated", func(f *Facts) { f.Volumes[0].Disk = Outdated }, Blocked, ReasonDiskOutdated},
		{"sync target", func(f *Facts) { f.Volumes[0].Disk = Inconsistent }, Blocked, ReasonDiskInconsistent},
		{"no licence", func(f *Facts) { f.Volumes[0].Licence = false }, Blocked, ReasonNoLicence},
		{"split-brain", func(f *Facts) { f.Volumes[0].SplitBrain = true }, Blocked, ReasonSplitBrain},
		{"volume process away", func(f *Facts) { f.Volumes[0].Running = false }, Blocked, ReasonVolumeGone},
		{"not active", func(f *Facts) { f.Settings.Active = false }, Blocked, ReasonInactive},
		{"kernel answers", func(f *Facts) { f.Other.KernelAt, f.Other.AddressAt = f.Now, f.Now }, Slave, ReasonPeerMaster},
		{"volume answers", func(f *Facts) { f.Other.VolumeAckAt = f.Now }, Slave, ReasonPeerMaster},
		{"probe still runs", func(f *Facts) { f.Other.ProbeEnded = 0 }, Slave, ReasonPeerMaster},
		{"silence shorter than D", func(f *Facts) { f.Other.FreshAt += Instant(200 * time.Millisecond) }, Slave, ReasonPeerMaster},
		{"heart young", func(f *Facts) { f.Heart.Since = f.Now - Instant(time.Second) }, Slave, ReasonPeerMaster},
		{"slept meanwhile", func(f *Facts) { f.Heart.WokeAt, f.Heart.Late = f.Now, 4*time.Second }, Slave, ReasonPeerMaster},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, f := slaveMachine(t), silent(pair())
			tt.change(&f)
			p := m.Step(f)
			if p.Role != tt.role || p.Reason != tt.reason {
				t.Fatalf("role %s (%s), want %s (%s); why %v", p.Role, p.Reason, tt.role, tt.reason, p.Why)
			}
			if p.Role == Promoting && (p.Store == nil || p.Store.Epoch != (Epoch{4, "b"}) || p.Procedure == nil || p.Procedure.Permit == "") {
				t.Errorf("a takeover must raise and store the epoch and carry its permission: %+v %+v", p.Store, p.Procedure)
			}
			if p.Role == Blocked && p.Volumes[0].EndLicence == "" && f.Volumes[0].Licence {
				t.Error("the first no must end the licence")
			}
		})
	}
}

// TestSickPeerIsOpen: while only the peer's kernel answers, the decision is open; without an address it counts as dead at D.
func TestSickPeerIsOpen(t *testing.T) {
	m, f := slaveMachine(t), silent(pair())
	f.Other.KernelAt, f.Other.AddressAt = f.Now, f.Now
	if p := m.Step(f); p.Verdict != PeerSick || p.Role != Slave || p.Volumes[0].EndLicence != "" {
		t.Fatalf("with its address answering: %s %s %q", p.Verdict, p.Role, p.Volumes[0].EndLicence)
	}
	f.Other.AddressAt = 0
	if p := m.Step(f); p.Role != Promoting {
		t.Fatalf("without its address: %s (%v)", p.Role, p.Why)
	}
}

// TestOutdateAnswerMustBeCurrent: an answer to another request, boot, session or generation permits nothing (safety.md 11 C).
func TestOutdateAnswerMustBeCurrent(t *testing.T) {
	good := func(r Request) Answer {
		return Answer{Number: r.Number, Boot: BootName{2}, Kind: AskOutdate, Volume: "data", Result: AnsweredOutdated, Generation: r.Generation, Session: r.Session}
	}
	tests := []struct {
		name   string
		change func(*Answer)
		permit string
	}{
		{"current", func(*Answer) {}, string(ReasonPeerOutdated)},
		{"number", func(a *Answer) { a.Number-- }, ""},
		{"boot", func(a *Answer) { a.Boot = BootName{7} }, ""},
		{"session", func(a *Answer) { a.Session-- }, ""},
		{"generation", func(a *Answer) { a.Generation = "old" }, ""},
		{"refused", func(a *Answer) { a.Result = AnsweredRefused }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, f := masterWithoutConnection(t)
			p := m.Step(f)
			if len(p.Say.Requests) != 1 || p.Say.Requests[0].Number == 0 || p.Store != nil {
				t.Fatalf("the request must be numbered and said, and needs nothing stored: %+v", p.Say.Requests)
			}
			a := good(p.Say.Requests[0])
			tt.change(&a)
			beat := *f.Other.Beat
			beat.Answers = []Answer{a}
			f.Other.Beat = &beat
			if got := m.Step(f).Volumes[0].Permit; got != tt.permit {
				t.Errorf("permit %q, want %q", got, tt.permit)
			}
		})
	}
}

// masterWithoutConnection is a master whose peer lives and whose volume has just lost its connection.
func masterWithoutConnection(t *testing.T) (*Machine, Facts) {
	t.Helper()
	f := pair()
	f.Durable = Durable{Armed: true, Epoch: Epoch{4, "b"}, Serving: true, ServingBoot: f.Boot}
	f.Found = &Found{Primary: true, Mounted: true, Addresses: true, SameBoot: true}
	beat := *f.Other.Beat
	beat.Role, beat.Epoch = Slave, Epoch{4, "b"}
	f.Other.Beat = &beat
	f.Volumes = slices.Clone(f.Volumes)
	v := &f.Volumes[0]
	v.Role, v.PeerRole, v.Connected, v.LostAt = Primary, Secondary, false, f.Now
	m := NewMachine(f.Durable)
	if p := m.Step(f); p.Role != Master || p.Procedure != nil {
		t.Fatalf("not adopted: %s (%v)", p.Role, p.Why)
	}
	f.Found = nil
	return m, f
}

// TestPromiseCountsDown: P while Connected, counting down from the loss, zero with a permission.
func TestPromiseCountsDown(t *testing.T) {
	m, f := masterWithoutConnection(t)
	f.Now, f.Other.FreshAt, f.Other.Confirmed = f.Now.Add(time.Second), f.Now.Add(time.Second), f.Now.Add(time.Second)
	if got := m.Step(f).Say.Volumes[0].Promise; got != 3500*time.Millisecond {
		t.Errorf("a second after the loss: %v, want 3.5 s", got)
	}
	f.Volumes[0].Permission = "peer_outdated"
	if got := m.Step(f).Say.Volumes[0].Promise; got != 0 {
		t.Errorf("with a permission: %v, want 0", got)
	}
}

// TestHigherEpoch: only a peer that serves revokes by a higher epoch; from a slave it is stored, and the master raises itself (ten more, 8).
func TestHigherEpoch(t *testing.T) {
	for _, tt := range []struct {
		role Role
		want Role
		own  Epoch
	}{{Slave, Master, Epoch{10, "b"}}, {Promoting, Demoting, Epoch{4, "b"}}, {Master, Demoting, Epoch{4, "b"}}} {
		m, f := masterWithoutConnection(t)
		beat := *f.Other.Beat
		beat.Role, beat.Epoch = tt.role, Epoch{9, "a"}
		f.Other.Beat = &beat
		p := m.Step(f)
		if p.Role != tt.want || p.Say.Epoch != tt.own {
			t.Errorf("peer %s: %s under %v, want %s under %v", tt.role, p.Role, p.Say.Epoch, tt.want, tt.own)
		}
		if p.Role == Demoting && (p.Addresses || !p.Volumes[0].Revoke || p.Store == nil || p.Store.Serving) {
			t.Errorf("peer %s: a revoke takes volume and addresses at once: %+v", tt.role, p)
		}
	}
}

// TestDryRunChangesNothing: a dry run answers, and the machine is what it was.
func TestDryRunChangesNothing(t *testing.T) {
	m := NewMachine(pair().Durable)
	m.Step(pair())
	before := m.Clone()
	out := m.DryRun(pair(), AdminRequest{Kind: WishTakeover})
	if !out.Possible || !reflect.DeepEqual(out.Steps, []ProcedureKind{ProcedureDemote, ProcedurePromote}) {
		t.Errorf("switch-over: %+v", out)
	}
	f := pair()
	f.Volumes[0].Disk = Outdated
	if out := m.DryRun(f, AdminRequest{Kind: WishTakeover}); out.Possible || out.Blockers[0].Code != string(ReasonDiskOutdated) {
		t.Errorf("outdated: %+v", out)
	}
	if !reflect.DeepEqual(before, m) {
		t.Error("the dry run changed the machine")
	}
}

// TestReplay: facts survive JSON, and the same facts give the same plan.
func TestReplay(t *testing.T) {
	text, err := json.Marshal(silent(pair()))
	if err != nil {
		t.Fatal(err)
	}
	var f Facts
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	a, b := slaveMachine(t), slaveMachine(t)
	if p, q := a.Step(silent(pair())), b.Step(f); !reflect.DeepEqual(p, q) {
		t.Errorf("the replay differs:\n%+v\n%+v", p, q)
	}
}

// TestFlapLimit: three automatic moves within an hour, then no more until the first is an hour old.
func TestFlapLimit(t *testing.T) {
	step := &turn{Machine: NewMachine(Durable{Armed: true})}
	for i, want := range []bool{true, true, true, false} {
		step.f.Wall = 10000 + int64(i)
		if got := step.mayMove(); got != want {
			t.Errorf("move %d: %v", i+1, got)
		}
	}
	f := pair()
	f.Durable, f.Wall = step.durable, step.f.Wall
	if p := NewMachine(f.Durable).Step(f); !slices.Contains(p.Conditions, FlapLimitCondition()) {
		t.Errorf("the limit is not named: %v", p.Conditions)
	}
	step.f.Wall = 10000 + 3601
	if !step.mayMove() {
		t.Error("an hour after the first move the next is refused")
	}
}

// TestReasonsAreDeclared: every reason constant has a sentence, and every sentence a constant.
func TestReasonsAreDeclared(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reasons.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		code, _ := strconv.Unquote(lit.Value)
		declared++
		if Reason(code).Text() == code {
			t.Errorf("reason %q has no sentence", code)
		}
		return true
	})
	if declared != len(reasonTexts) {
		t.Errorf("%d reasons, %d sentences", declared, len(reasonTexts))
	}
}

// TestLegalWays: every way leads to a role of the table, and none from a role to itself.
func TestLegalWays(t *testing.T) {
	for from, ways := range legal {
		for _, to := range ways {
			if _, known := legal[to]; !known || to == from {
				t.Errorf("%s -> %s", from, to)
			}
		}
	}
	step := &turn{Machine: NewMachine(Durable{})}
	step.role = Slave
	step.become(Master, ReasonPromoted)
	if step.role != Slave || len(step.p.Notes) != 1 || step.p.Notes[0].Code != "role.illegal" {
		t.Errorf("an illegal way was taken: %s %+v", step.role, step.p.Notes)
	}
}

// TestEffective: own side, P + 7 s, the larger dead time, and a digest that only content changes (safety.md 19).
func TestEffective(t *testing.T) {
	s := Settings{Revision: 7, SavedBy: "admin", General: General{Active: true, MasterNode: "b", SlaveNode: "a"},
		Heartbeat: Heartbeat{Interval: 100 * time.Millisecond, DeadTime: 600 * time.Millisecond}}
	e := s.Effective("b")
	if e.Configured != MasterSide || s.Effective("a").Configured != SlaveSide || e.Mode != Evidence || e.Hold != 8600*time.Millisecond {
		t.Errorf("%+v", e)
	}
	x := e.Stricter(&Beat{Saying: Saying{DeadTime: 3 * time.Second, Mode: Evidence, Revision: 7, Digest: e.Digest}})
	if x.DeadTime != 3*time.Second || x.OwnDeadTime != 600*time.Millisecond || x.SettingsDiffer || x.Hold != x.Promise()+7*time.Second {
		t.Errorf("stricter: %+v", x)
	}
	if y := x.Stricter(&Beat{Saying: Saying{Revision: 8}}); !y.SettingsDiffer || y.DeadTime != 3*time.Second {
		t.Errorf("differ: %+v", y)
	}
	same := s
	same.Revision, same.SavedBy, same.SavedAt, same.Services = 9, "other", time.Unix(5, 0), []ServiceSetting{}
	if same.Digest() != s.Digest() {
		t.Error("the digest must not name revision, author and time")
	}
	same.Heartbeat.Interval++
	if same.Digest() == s.Digest() {
		t.Error("the digest must name the interval")
	}
}

// TestConditionsOfTheContract: the first condition codes of the lab page that the decision itself declares can all come up; testdata/conditions.txt
// has the rest, in their situations.
func TestConditionsOfTheContract(t *testing.T) {
	no := false
	f := silent(pair())
	f.References = nil
	f.Settings.SettingsDiffer = true
	f.Heart.RealTime = false
	f.Heart.Links = append(f.Heart.Links, LinkFact{Name: "sync", State: LinkUp, HeardAt: f.Now, HeardByPeer: &no})
	f.Durable = Durable{Standby: true}
	f.Addresses = []AddressFact{{Address: "10.88.1.100/24", Conflict: "02:00:00:00:00:09"}}
	for i, v := range []VolumeFact{
		{Name: "w", Running: true, Disk: Outdated, SplitBrain: true}, {Name: "x", Running: true, Disk: Inconsistent, Connected: true, OutOfSync: 9},
		{Name: "y", Running: true, Disk: Consistent, Holding: true, HoldingSince: 1}, {Name: "z"},
	} {
		v.Session = uint64(i)
		f.Volumes = append(f.Volumes, v)
	}
	f.Observed = []Condition{AddressConflictCondition("10.88.1.100/24", "02:00:00:00:00:09"), {"service.failed", Critical, "local", "t", "r", "echo"}}
	m := NewMachine(f.Durable)
	var codes []string
	once := map[[2]string]bool{}
	for _, c := range m.Step(f).Conditions {
		if once[[2]string{c.Code, c.Key}] {
			t.Errorf("%s %s is named twice", c.Code, c.Key)
		}
		once[[2]string{c.Code, c.Key}] = true
		codes = append(codes, c.Code)
		if c.Text == "" || c.Remedy == "" || c.Severity == "" || c.Side == "" {
			t.Errorf("%+v is not whole", c)
		}
	}
	for _, want := range []string{"link.quiet", "link.one_way", "link.single", "replication.disconnected", "replication.resyncing", "volume.outdated",
		"volume.inconsistent", "volume.consistent", "volume.holding", "volume.detached", "split_brain", "reference.none", "settings.differ",
		"address.conflict", "service.failed", "armed.off", "standby.on", "heart.not_realtime"} {
		if !slices.Contains(codes, want) {
			t.Errorf("condition %s does not come up in %v", want, codes)
		}
	}
}
