package ha

import (
	"slices"
	"testing"
	"time"
)

// lone is a node that has booted alone: it was primary last, and its record says that the other copy is outdated.
func lone() Facts {
	f := pair()
	f.Heart.EverHeard = false
	for i := range f.Heart.Links {
		f.Heart.Links[i].State = LinkNeverHeard
	}
	f.Other = PeerFacts{}
	v := &f.Volumes[0]
	v.Connected, v.Disk, v.PeerDisk, v.PeerRole = false, Consistent, DUnknown, ""
	v.LastPrimary, v.PeerRecord = true, "outdated"
	f.Durable.Epoch = Epoch{3, "b"}
	return f
}

// TestLoneStart: a node that hears nobody starts only if its own record proves that nobody can be newer (30-decisions, "Starting").
func TestLoneStart(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Facts)
		role   Role
		reason Reason
	}{
		{"last primary, the other outdated", func(*Facts) {}, Promoting, ReasonRecordProves},
		{"last primary, the other left in sync", func(f *Facts) { f.Volumes[0].PeerRecord = "left_in_sync" }, Promoting, ReasonRecordProves},
		{"not the last primary", func(f *Facts) { f.Volumes[0].LastPrimary = false }, Blocked, ReasonDataUnproven},
		{"no record of the other", func(f *Facts) { f.Volumes[0].PeerRecord = "" }, Blocked, ReasonDataUnproven},
		{"released since", func(f *Facts) { f.Durable.Released = Epoch{3, "b"} }, Blocked, ReasonDataUnproven},
		{"left in sync, but heard since", func(f *Facts) {
			f.Volumes[0].PeerRecord, f.Other.Beat = "left_in_sync", pair().Other.Beat
		}, Blocked, ReasonDataUnproven},
		{"without a heart", func(f *Facts) { f.Heart.Running = false }, Blocked, ReasonHeartSilent},
		{"its own leaving entitles to nothing", func(f *Facts) {
			f.Volumes[0].PeerRecord, f.Volumes[0].LastPrimary = "", false
			f.Durable.LeftInSync = map[string]Generation{"data": "g"}
		}, Blocked, ReasonDataUnproven},
		{"overtaken since", func(f *Facts) { f.Durable.Epoch = Epoch{4, "a"} }, Blocked, ReasonDataUnproven},
		{"split-brain", func(f *Facts) { f.Volumes[0].SplitBrain = true }, Blocked, ReasonSplitBrain},
		{"outdated itself", func(f *Facts) { f.Volumes[0].Disk = Outdated }, Blocked, ReasonDiskOutdated},
		{"in the boot wait", func(f *Facts) { f.EngineStarted = f.Now - Instant(time.Second) }, Starting, ReasonBootWait},
		{"disarmed", func(f *Facts) { f.Durable.Armed = false }, Blocked, ReasonDisarmed},
		{"on standby", func(f *Facts) { f.Durable.Standby = true }, Standby, ReasonStandby},
		{"never had a peer", func(f *Facts) {
			f.Volumes[0].NeverHadPeer, f.Volumes[0].Disk, f.Volumes[0].LastPrimary = true, UpToDate, false
		}, Promoting, ReasonNeverHadPeer},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := lone()
			tt.change(&f)
			p := NewMachine(f.Durable).Step(f)
			if p.Role != tt.role || p.Reason != tt.reason {
				t.Fatalf("%s (%s), want %s (%s); why %v", p.Role, p.Reason, tt.role, tt.reason, p.Why)
			}
			proven := tt.reason == ReasonRecordProves
			if p.Role == Promoting && (p.Procedure.Force != proven || (p.Procedure.Permit != "") != proven) {
				t.Errorf("the proof must carry its permission and the force that a Consistent disk needs: %+v", p.Procedure)
			}
		})
	}
}

// TestPromotionClearsReleased: who serves again has taken its "released" back, or it would never start alone again.
func TestPromotionClearsReleased(t *testing.T) {
	f := pair()
	f.Durable = Durable{Armed: true, Epoch: Epoch{3, "b"}, Released: Epoch{3, "b"}, ReleasedTo: 8}
	beat := *f.Other.Beat
	beat.Role, beat.Epoch, beat.HandedBack = Slave, Epoch{3, "b"}, &Epoch{3, "b"}
	f.Other.Beat = &beat
	f.Volumes[0].PeerRole = Secondary
	p := NewMachine(f.Durable).Step(f)
	if p.Role != Promoting || p.Reason != ReasonHandedBack || p.Store == nil || p.Store.Released != (Epoch{}) || p.Store.ReleasedTo != 0 || p.Say.Release != nil {
		t.Errorf("%s (%s), stored %+v, said %+v", p.Role, p.Reason, p.Store, p.Say.Release)
	}
}

// TestOwnSleepEndsTheLicence: a node that slept D or more since it knew its copy to be the newest may have missed what the other one
// acknowledged alone.
func TestOwnSleepEndsTheLicence(t *testing.T) {
	sure := pair().Now
	tests := []struct {
		name string
		woke Instant
		late time.Duration
		want Reason
	}{
		{"slept D since", sure + 1, 3 * time.Second, ReasonLicenceLate},
		{"slept less than D", sure + 1, 3*time.Second - 1, ""},
		{"slept before it was sure", sure, 9 * time.Second, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := NewMachine(pair().Durable)
			m.Step(pair())
			f := silent(pair())
			f.Now, f.References = sure.Add(500*time.Millisecond), nil
			f.Heart.WokeAt, f.Heart.Late = tt.woke, tt.late
			p := m.Step(f)
			if got := p.Volumes[0].EndLicence; got != tt.want {
				t.Errorf("licence ended for %q, want %q", got, tt.want)
			}
			if blocked := slices.ContainsFunc(p.Takeover.Blockers, func(b Blocker) bool { return b.Code == string(ReasonLicenceLate) }); blocked != (tt.want != "") {
				t.Errorf("blockers %v", p.Takeover.Blockers)
			}
		})
	}
}

// TestReleasedWithoutLoneWrites: "released, no lone acknowledgement since G" is enough for a side that is not Connected only if it has G.
func TestReleasedWithoutLoneWrites(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Beat, *VolumeFact)
		role   Role
		permit string
	}{
		{"same generation", func(*Beat, *VolumeFact) {}, Promoting, string(ReasonReleasedNoLone)},
		{"another generation", func(b *Beat, _ *VolumeFact) {
			b.Volumes = []VolumeSaying{{Name: "data", Generation: "newer", Disk: UpToDate, Promise: 4500 * time.Millisecond}}
		}, Slave, ""},
		{"nothing said of the volume", func(b *Beat, _ *VolumeFact) { b.Volumes = nil }, Slave, ""},
		{"ordinary released", func(b *Beat, _ *VolumeFact) { b.Release = &Release{Epoch: Epoch{3, "a"}} }, Promoting, ""},
		{"outdated here", func(_ *Beat, v *VolumeFact) { v.Disk = Outdated }, Slave, ""},
		{"connected, the other still Primary", func(_ *Beat, v *VolumeFact) { v.Connected, v.PeerRole = true, Primary }, Slave, ""},
		{"both were deaf before", func(*Beat, *VolumeFact) {}, Slave, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, heard := NewMachine(pair().Durable), pair()
			heard.Now = heard.Now.Add(-3 * time.Second)
			if tt.name == "both were deaf before" {
				heard.Now = heard.Now.Add(2 * time.Second)
			}
			m.Step(heard)
			f := pair()
			beat := *f.Other.Beat
			beat.Role, beat.Release = Slave, &Release{Epoch: Epoch{3, "a"}, NoLone: true}
			v := &f.Volumes[0]
			v.Connected, v.PeerDisk, v.PeerRole, v.Licence, v.LostAt = false, DUnknown, "", true, f.Now
			tt.change(&beat, v)
			f.Other.Beat = &beat
			p := m.Step(f)
			if p.Role != tt.role || p.Role == Promoting && p.Procedure.Permit != tt.permit {
				t.Errorf("%s (%v), procedure %+v; want %s with permit %q", p.Role, p.Why, p.Procedure, tt.role, tt.permit)
			}
		})
	}
}

// TestRevokeEndsTheLicence: also of a volume whose promotion had not come so far; permission 1 keeps it (30-decisions, "Permissions").
func TestRevokeEndsTheLicence(t *testing.T) {
	for permission, want := range map[string]Reason{"": ReasonHigherEpoch, "peer_dead": ReasonHigherEpoch, "peer_outdated": "", "peer_inconsistent": ""} {
		m, f := masterWithoutConnection(t)
		f.Volumes[0].Permission = permission
		m.Step(f)
		beat := *f.Other.Beat
		beat.Role, beat.Epoch = Master, Epoch{9, "a"}
		f.Other.Beat = &beat
		f.Volumes = slices.Clone(f.Volumes)
		f.Volumes[0].Role, f.Volumes[0].Licence = Secondary, true
		if p := m.Step(f); p.Role != Demoting || p.Volumes[0].EndLicence != want {
			t.Errorf("with permission %q: %s, licence ended for %q, want %q", permission, p.Role, p.Volumes[0].EndLicence, want)
		}
	}
}

// TestUnsteadyReference: a takeover needs answers without a gap; one that is good just now is waited upon for D/4, then it is a "no".
func TestUnsteadyReference(t *testing.T) {
	m, f := slaveMachine(t), silent(pair())
	at := f.Now
	for i, state := range []ReferenceState{ReferenceBad, ReferenceGood, ReferenceBad} {
		f.Now = at.Add(time.Duration(i) * 100 * time.Millisecond)
		f.References = []ReferenceFact{{Name: "gateway", State: state, AskedAt: f.Now - Instant(700*time.Millisecond)}}
		if p := m.Step(f); i > 0 && p.Role == Promoting {
			t.Fatalf("took over on an answer that was good for a moment (%v)", p.Why)
		}
	}
	f.Now = at.Add(800 * time.Millisecond)
	if p := m.Step(f); p.Role != Blocked || p.Reason != ReasonReferenceLost || p.Volumes[0].EndLicence != ReasonReferenceLost {
		t.Errorf("after D/4: %s (%s), licence ended for %q", p.Role, p.Reason, p.Volumes[0].EndLicence)
	}
}

// TestHearingGapKeepsTheSilence: heart that does not report for a moment makes the peer unknown, not the silence new; nothing is decided in it.
func TestHearingGapKeepsTheSilence(t *testing.T) {
	m, f := slaveMachine(t), silent(pair())
	f.Other.KernelAt, f.Durable.Armed = f.Now, false // sick for so long that it counts as dead; a person's wish forbids to act
	m.durable.Armed = false
	if p := m.Step(f); p.Role != Blocked || p.Verdict != PeerSick || !m.peer.ripe {
		t.Fatalf("%s, %s (%v)", p.Role, p.Verdict, p.Why)
	}
	began := m.peer.suspectAt
	f.Heart.Heartbeats = false
	f.Now += Instant(100 * time.Millisecond)
	if p := m.Step(f); p.Verdict != PeerUnknown || p.Role != Blocked {
		t.Fatalf("while heart does not report: %s, %s", p.Verdict, p.Role)
	}
	if !m.peer.refused || m.peer.suspectAt != began || m.peer.ripe || m.peer.deadAt != 0 {
		t.Errorf("the silence was forgotten, or is decided upon: %+v", m.peer)
	}
}

// TestVouchedEndsWithTheSilence: a person's word for a pair without a volume is stored, and holds until the peer is heard.
func TestVouchedEndsWithTheSilence(t *testing.T) {
	f := silent(pair())
	f.Volumes, f.NoVolumes = nil, true
	f.References[0].State = ReferenceBad
	f.Requests = []AdminRequest{{Number: 1, Kind: WishTakeover, Force: true, By: "admin"}}
	m := NewMachine(f.Durable)
	p := m.Step(f)
	if p.Role != Promoting || p.Store == nil || !p.Store.Vouched {
		t.Fatalf("%s (%v), stored %+v", p.Role, p.Why, p.Store)
	}
	f.Durable, f.Requests, f.Now = *p.Store, nil, f.Now.Add(time.Second)
	if p = m.Step(f); p.Role != Promoting || p.Store != nil {
		t.Fatalf("a second later: %s (%v), stored %+v", p.Role, p.Why, p.Store)
	}
	heard := pair()
	f.Heart.Links, f.Other.Beat, f.Other.FreshAt, f.Other.Confirmed = heard.Heart.Links, heard.Other.Beat, f.Now, f.Now
	f.Other.Beat.Role = Slave
	if p = m.Step(f); p.Role != Promoting || p.Store == nil || p.Store.Vouched {
		t.Errorf("when the peer is heard: %s (%v), stored %+v", p.Role, p.Why, p.Store)
	}
}

// TestDeafAskerIsNotAnswered: Outdated is stored only for an asker that has confirmed a beat sent after its request was heard.
func TestDeafAskerIsNotAnswered(t *testing.T) {
	f := pair()
	m := NewMachine(f.Durable)
	m.Step(f)
	beat := *f.Other.Beat
	beat.Requests = []Request{{Number: 1, Kind: AskOutdate, Volume: "data", Generation: "g", Session: 4, Epoch: Epoch{3, "a"}}}
	f.Other.Beat, f.Volumes[0].Connected = &beat, false
	for _, confirmed := range []bool{false, false, true} {
		f.Now = f.Now.Add(200 * time.Millisecond)
		if confirmed {
			f.Other.Confirmed = f.Now
		}
		p := m.Step(f)
		if asked := p.Volumes[0].Outdate != nil; asked != confirmed {
			t.Fatalf("confirmed %v: the volume is asked: %v", confirmed, asked)
		}
	}
}

// TestPromiseIsTheFurthest: a count-down that a deaf peer says takes nothing back from what it promised before; "for 0 ms" does.
func TestPromiseIsTheFurthest(t *testing.T) {
	for _, last := range []time.Duration{time.Second, 0} {
		f := pair()
		m := NewMachine(f.Durable)
		m.Step(f)
		beat := *f.Other.Beat
		beat.Volumes = []VolumeSaying{{Name: "data", Generation: "g", Role: Primary, Disk: UpToDate, Promise: last}}
		f = silent(f)
		f.Other.Beat = &beat
		p := m.Step(f)
		if ended := p.Volumes[0].EndLicence != ""; ended != (last == 0) {
			t.Errorf("promised for %v at last, 3.1 s after 4.5 s: licence ended %q", last, p.Volumes[0].EndLicence)
		}
	}
}

// TestLinksNamed: a link that was never heard is named once the other node lives and heart listens for long enough; one that is left, always.
func TestLinksNamed(t *testing.T) {
	up, never := LinkFact{Name: "lan", State: LinkUp}, LinkFact{Name: "serial", State: LinkNeverHeard}
	tests := []struct {
		name  string
		links []LinkFact
		since time.Duration
		want  []string
	}{
		{"two up", []LinkFact{up, {Name: "sync", State: LinkUp}}, time.Minute, nil},
		{"one there is", []LinkFact{up}, time.Minute, []string{"link.single"}},
		{"one never heard", []LinkFact{up, never}, time.Minute, []string{"link.quiet", "link.single"}},
		{"one not heard yet", []LinkFact{up, never}, time.Second, nil},
		{"two up, one never heard", []LinkFact{up, never, {Name: "sync", State: LinkUp}}, time.Minute, []string{"link.quiet"}},
	}
	for _, tt := range tests {
		f := pair()
		f.Heart.Links, f.Heart.Since = tt.links, f.Now.Add(-tt.since)
		var got []string
		for _, c := range NewMachine(f.Durable).Step(f).Conditions {
			got = append(got, c.Code)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: conditions %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestAdoptedSleepIsNotSettled: a master that slept while its engine was away yields to a higher epoch, also of a node that does not serve now.
func TestAdoptedSleepIsNotSettled(t *testing.T) {
	for late, want := range map[time.Duration]Role{4 * time.Second: Demoting, 0: Master} {
		_, f := masterWithoutConnection(t)
		f.Found = &Found{Primary: true, Mounted: true, Addresses: true, SameBoot: true}
		f.Heart.Late, f.Heart.WokeAt = late, f.Now
		f.Other.Confirmed = f.Now - Instant(late)
		beat := *f.Other.Beat
		f.Other.Beat = &beat
		m := NewMachine(f.Durable)
		if p := m.Step(f); p.Role != Master || p.Addresses != (late == 0) {
			t.Fatalf("slept %v: %s (%v), addresses %v", late, p.Role, p.Why, p.Addresses)
		}
		beat.Epoch, f.Found = Epoch{9, "a"}, nil
		if p := m.Step(f); p.Role != want {
			t.Errorf("slept %v, then a higher epoch: %s (%v), want %s", late, p.Role, p.Why, want)
		}
	}
}

// TestReturningPeerDoesNotIsolate: a master whose peer was dead hears the peer's volume before its first beat. What follows is a new silence, but
// the reference point has answered all the time: the service goes on.
func TestReturningPeerDoesNotIsolate(t *testing.T) {
	f := pair()
	f.Node, f.Peer, f.Boot, f.Settings.Configured = "a", "b", BootName{1}, MasterSide
	beat := *f.Other.Beat
	beat.Node, beat.Boot, beat.Role = "b", BootName{2}, Slave
	f.Other.Beat = &beat
	v := &f.Volumes[0]
	v.Role, v.PeerRole, v.Mounted, v.LastPrimary = Primary, Secondary, true, true
	f.Durable = Durable{Armed: true, Epoch: Epoch{3, "a"}, Serving: true, ServingBoot: f.Boot}
	f.Found = &Found{Mounted: true, Primary: true, SameBoot: true}
	m := NewMachine(f.Durable)
	if p := m.Step(f); p.Role != Master {
		t.Fatalf("adopted as %s (%s)", p.Role, p.Reason)
	}
	f.Found = nil
	dead := silent(f)
	for _, at := range []time.Duration{500 * time.Millisecond, 2300 * time.Millisecond, 3100 * time.Millisecond} {
		dead.Now = f.Now.Add(at)
		dead.References[0].AskedAt = dead.Now - Instant(50*time.Millisecond)
		if p := m.Step(dead); p.Role != Master {
			t.Fatalf("%v after the last beat: %s (%s)", at, p.Role, p.Reason)
		}
	}
	back := dead
	back.Volumes = slices.Clone(dead.Volumes)
	back.Volumes[0].Connected, back.Volumes[0].PeerDisk = true, UpToDate
	back.Now = dead.Now.Add(100 * time.Millisecond)
	back.Other.VolumeAckAt = back.Now
	m.Step(back)
	back.Now = back.Now.Add(20 * time.Millisecond)
	if p := m.Step(back); p.Role != Master {
		t.Errorf("the service ended (%s) because the peer came back; why %v", p.Reason, p.Why)
	}
}

// TestOwnPromiseCountsFromTheNewestBeat: our beats echo what is heard, fresh or not, and the peer counts our promise from there. So it has not ended
// while a deaf peer's beats still come.
func TestOwnPromiseCountsFromTheNewestBeat(t *testing.T) {
	f := pair()
	m := NewMachine(f.Durable)
	m.Step(f)
	heard := f.Now.Add(8 * time.Second)
	f.Other.FreshAt, f.Now = f.Now, heard.Add(time.Second)
	v := f.Volumes[0]
	v.Connected, v.LostAt = false, heard
	for _, heardAt := range []Instant{0, heard} {
		f.Heart.Links = []LinkFact{{Name: "lan", State: LinkQuiet, HeardAt: heardAt}}
		want := max(f.Other.FreshAt, heardAt).Add(f.Settings.Promise())
		if got := (&turn{Machine: m, f: f}).ownPromiseEnd(v); got != want {
			t.Errorf("heard at %v: ends at %v, want %v", heardAt, got, want)
		}
	}
}

// TestAnOlderReleaseIsNotTaken: of two that have both given the role away, the one whose word is the newer waits for the other.
func TestAnOlderReleaseIsNotTaken(t *testing.T) {
	for theirs, want := range map[uint64]Role{3: Slave, 4: Slave, 6: Promoting} {
		f := pair()
		f.Durable.Released = Epoch{5, "b"}
		beat := *f.Other.Beat
		beat.Role, beat.Release = Slave, &Release{Epoch: Epoch{theirs, "a"}}
		f.Other.Beat, f.Volumes[0].PeerRole = &beat, Secondary
		if p := NewMachine(f.Durable).Step(f); p.Role != want {
			t.Errorf("released under 5/b here and %d/a there: %s (%v), want %s", theirs, p.Role, p.Why, want)
		}
	}
}

// TestReleasedEndsTheEntitlement: what a takeover was entitled to is not used again after the role was given away in order.
func TestReleasedEndsTheEntitlement(t *testing.T) {
	f := pair()
	m := NewMachine(f.Durable)
	m.role, m.entitled, m.own = Demoting, true, Epoch{4, "b"}
	m.proc, m.hand, m.after = &Procedure{ID: 1, Kind: ProcedureDemote}, hand{release: true}, Slave
	beat := *f.Other.Beat
	beat.Role = Slave
	f.Other.Beat, f.Procedure = &beat, &ProcedureFact{ID: 1, State: ProcedureDone}
	if m.Step(f); m.release == nil || m.entitled {
		t.Errorf("released %v, still entitled %v", m.release, m.entitled)
	}
}

// TestTheRequestEndsWhenThePeerServes: a chosen node that was asking for Outdated asks no more once the other one serves: the request would
// be heard again when that one stops.
func TestTheRequestEndsWhenThePeerServes(t *testing.T) {
	f := pair()
	beat := *f.Other.Beat
	beat.Role = Slave
	f.Volumes[0].Connected = false
	f.Other.Beat, f.Other.Snapshots = &beat, map[string]Comparison{"data": CompareAhead}
	m := NewMachine(f.Durable)
	m.Step(f)
	step := func(role Role) int {
		beat.Role = role
		f.Now = f.Now.Add(settleTime + time.Millisecond)
		f.References[0].AskedAt, f.Other.FreshAt, f.Other.Confirmed, f.Other.EchoedSent = f.Now, f.Now, f.Now, f.Now
		return len(m.Step(f).Say.Requests)
	}
	if n := step(Slave); n != 1 {
		t.Fatalf("%d requests of the chosen node", n)
	}
	step(Master)
	if n := step(Master); n != 0 {
		t.Errorf("%d requests beside a peer that serves", n)
	}
}

// TestShorterTimeOutTakesNothingBack: what was promised under a longer time-out is kept until it has run out.
func TestShorterTimeOutTakesNothingBack(t *testing.T) {
	f := pair()
	f.Settings.DeadTime = 20 * time.Second
	long := f.Settings.Promise()
	m := NewMachine(f.Durable)
	m.Step(f)
	changed := f.Now
	f.Settings.DeadTime = 3 * time.Second
	for _, after := range []time.Duration{time.Second, long - time.Second, long} {
		f.Now = changed.Add(after)
		f.Other.FreshAt, f.Other.Confirmed, f.Other.EchoedSent = f.Now, f.Now, f.Now
		m.Step(f)
		want := max(f.Now.Add(f.Settings.Promise()), changed.Add(long))
		v := f.Volumes[0]
		v.Connected, v.LostAt = false, f.Now
		if got := (&turn{Machine: m, f: f}).ownPromiseEnd(v); got != want {
			t.Errorf("%v after the change it ends after %v, want %v", after, got.Sub(f.Now), want.Sub(f.Now))
		}
	}
}

// TestALoneCopyIsNotGivenUp: a copy with writes that were acknowledged here alone stores Outdated for no asker of another generation.
func TestALoneCopyIsNotGivenUp(t *testing.T) {
	for asked, refused := range map[Generation]bool{"older": true, "g": false} {
		f := pair()
		m := NewMachine(f.Durable)
		m.Step(f)
		beat := *f.Other.Beat
		beat.Requests = []Request{{Number: 1, Kind: AskOutdate, Volume: "data", Generation: asked, Session: 4, Epoch: Epoch{9, "a"}}}
		f.Other.Beat, f.Volumes[0].Connected, f.Volumes[0].Loner = &beat, false, true
		f.Now = f.Now.Add(time.Second)
		m.Step(f)
		f.Other.Confirmed, f.Other.FreshAt = f.Now.Add(time.Second), f.Now.Add(time.Second)
		f.Now = f.Now.Add(time.Second + time.Millisecond)
		p := m.Step(f)
		if got := len(p.Say.Answers) == 1 && p.Say.Answers[0].Result == AnsweredRefused; got != refused || (p.Volumes[0].Outdate != nil) == refused {
			t.Errorf("asked for generation %s: refused %v, the volume is asked %v", asked, got, p.Volumes[0].Outdate != nil)
		}
	}
}
