package ha

import (
	"testing"
	"time"
)

// parted is a node that has just said a parting word: it heard its peer last a second ago, and nobody has confirmed it for as long as it takes to be revoked.
func parted(confirmed Instant) *turn {
	now := pair().Now
	t := &turn{Machine: NewMachine(Durable{Armed: true}), d: 3 * time.Second}
	t.f = Facts{Now: now, Settings: pair().Settings, Other: PeerFacts{FreshAt: now.Add(-time.Second)}}
	t.peer.confirmed = confirmed
	t.f.Other.Confirmed = confirmed
	t.own, t.role, t.hand = Epoch{3, "a"}, Slave, hand{release: true, noLone: true, passing: true}
	t.giveAway()
	if t.parted != nil {
		t.parted.saidAt = now
	}
	return t
}

// TestPartingWordIsRecalled: it is said for D to a peer that is not heard, no longer to one that confirms again, and forgotten when that one surely did not act on it.
func TestPartingWordIsRecalled(t *testing.T) {
	now := pair().Now
	long := now.Add(-2500 * time.Millisecond)
	t.Run("nobody is heard", func(t *testing.T) {
		m := parted(long)
		for _, c := range []struct {
			after      time.Duration
			said, kept bool
		}{{0, true, true}, {1900 * time.Millisecond, true, true}, {2 * time.Second, false, true}, {4900 * time.Millisecond, false, true}, {5 * time.Second, false, false}} {
			m.f.Now = now.Add(c.after)
			m.endParting()
			if said, kept := m.saysRelease(), m.release != nil; said != c.said || kept != c.kept {
				t.Errorf("after %v: said %v, kept %v", c.after, said, kept)
			}
		}
	})
	t.Run("it is confirmed again before the word is out", func(t *testing.T) {
		if m := parted(now.Add(-time.Second)); m.release != nil || m.durable.Released != (Epoch{}) {
			t.Errorf("says %+v", m.release)
		}
	})
	t.Run("the peer confirms", func(t *testing.T) {
		for _, c := range []struct {
			name      string
			confirmed time.Duration
			role      Role
			age       time.Duration
			kept      bool
		}{
			{"a beat that bore the word", 100 * time.Millisecond, Slave, 0, true},
			{"a later one", time.Second, Slave, 0, false},
			{"a later one, but its engine has said nothing since", time.Second, Slave, 500 * time.Millisecond, true},
			{"a later one, and acts on the word", time.Second, Promoting, 0, true},
		} {
			m := parted(long)
			m.f.Now = now.Add(c.confirmed + 50*time.Millisecond)
			m.f.Other.FreshAt, m.f.Other.Confirmed = m.f.Now, now.Add(c.confirmed)
			m.beat = &Beat{EngineAge: c.age, Saying: Saying{Role: c.role}}
			m.endParting()
			if m.saysRelease() || (m.release != nil) != c.kept {
				t.Errorf("%s: said %v, kept %v", c.name, m.saysRelease(), m.release != nil)
			}
		}
	})
}

// TestPartingWordNeedsAPeerThatListened: without a volume, or with copies that are still connected, the word counts for the same peers only; one that has not heard
// the other's engine at all takes nothing, and hands nothing back for that.
func TestPartingWordNeedsAPeerThatListened(t *testing.T) {
	for name, change := range map[string]func(*Facts){
		"a volume that is connected": func(f *Facts) { f.Volumes[0].PeerRole = Secondary },
		"no volume":                  func(f *Facts) { f.Volumes, f.NoVolumes = nil, true },
		"an engine that is silent":   func(f *Facts) { f.Volumes[0].PeerRole, f.Other.Beat.EngineAge = Secondary, 5*time.Second },
	} {
		f := pair()
		beat := *f.Other.Beat
		beat.Role, beat.Release = Slave, &Release{Epoch: beat.Epoch, NoLone: true}
		f.Other.Beat = &beat
		change(&f)
		m := NewMachine(f.Durable)
		steps := 8
		if name == "an engine that is silent" {
			steps = 16 // beyond what would be handed back
		}
		for range steps {
			if p := m.Step(f); p.Role == Promoting || p.Say.HandedBack != nil {
				t.Fatalf("%s: %s (%v), handed back %v", name, p.Role, p.Why, p.Say.HandedBack)
			}
			f.Now = f.Now.Add(300 * time.Millisecond)
			f.References[0].AskedAt, f.Other.FreshAt, f.Other.Confirmed, f.Other.EchoedSent = f.Now, f.Now, f.Now, f.Now
		}
		if name == "an engine that is silent" {
			continue
		}
		f.Now = f.Now.Add(time.Second)
		f.References[0].AskedAt, f.Other.FreshAt, f.Other.Confirmed, f.Other.EchoedSent = f.Now, f.Now, f.Now, f.Now
		if p := m.Step(f); p.Role != Promoting {
			t.Errorf("%s: heard for D, and %s (%v)", name, p.Role, p.Why)
		}
	}
}

// TestLinksThatFailAreAGap: while only the volume tells that the peer lives, its engine is not heard.
func TestLinksThatFailAreAGap(t *testing.T) {
	m, f := NewMachine(pair().Durable), pair()
	m.Step(f)
	if m.peer.engineAt == 0 {
		t.Fatal("the engine is not heard over good links")
	}
	f = silent(f)
	f.Other.VolumeAckAt = f.Now
	if p := m.Step(f); p.Verdict != PeerAlive || m.peer.engineAt != 0 {
		t.Errorf("%s, heard since %v", p.Verdict, m.peer.engineAt)
	}
}
