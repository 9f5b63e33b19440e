package ha

import (
	"slices"
	"testing"
	"time"
)

// TestAddressesComeBackAfterRivalry: a master that takes its addresses off while both serve and nobody knows whose data stay has them again when the
// other one has yielded (seed 2855).
func TestAddressesComeBackAfterRivalry(t *testing.T) {
	m, f := masterWithoutConnection(t)
	f.Volumes = slices.Clone(f.Volumes)
	f.Volumes[0].Loner, f.Volumes[0].Permission = true, string(ReasonForced)
	rival := *f.Other.Beat
	rival.Role, rival.Epoch = Master, Epoch{5, "b"}
	f.Other.Beat = &rival
	if p := m.Step(f); p.Role != Master || p.Addresses {
		t.Fatalf("%s, addresses %v: want a master that waits for the comparison without addresses", p.Role, p.Addresses)
	}
	yielded := rival
	yielded.Role = Slave
	f.Other.Beat = &yielded
	f.Now = f.Now.Add(50 * time.Millisecond)
	if p := m.Step(f); p.Role != Master || !p.Addresses {
		t.Errorf("%s, addresses %v: want a master with its addresses", p.Role, p.Addresses)
	}
}

// TestSleeperDoesNotRecover: the volume of a master died, came back and was in sync; then the master slept past D. Its copy may be the older one by now, so
// the volume is not put into use again before the other node is heard (seed 16817).
func TestSleeperDoesNotRecover(t *testing.T) {
	for _, slept := range []bool{false, true} {
		m, f := masterWithoutConnection(t)
		f.Volumes = slices.Clone(f.Volumes)
		v := &f.Volumes[0]
		v.Role, v.Disk = Secondary, UpToDate
		m.Step(f)
		f.Other.Beat, f.Heart.Links = nil, nil
		f.Now = f.Now.Add(5 * time.Second)
		f.Heart.Since = f.Now.Add(-time.Hour)
		f.Heart.EverHeard = true
		f.References = []ReferenceFact{{Name: "gateway", State: ReferenceGood, AskedAt: f.Now}}
		if slept {
			f.Heart.Late, f.Heart.WokeAt = 4*time.Second, f.Now
		}
		p := m.Step(f)
		for range 100 { // until it has waited long enough for a handshake
			if p.Procedure != nil {
				break
			}
			f.Now = f.Now.Add(50 * time.Millisecond)
			f.References[0].AskedAt = f.Now
			p = m.Step(f)
		}
		if got := p.Procedure != nil && p.Procedure.Kind == ProcedureRecover; got == slept {
			t.Errorf("slept %v: procedure %+v, role %s, why %v", slept, p.Procedure, p.Role, p.Why)
		}
	}
}
