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

// TestWakingSlaveTrustsNoStaleConnection: a slave that slept, while the master went on alone and started its machine anew, sees the new boot before its
// volume notices that the connection is dead. Its copy may be older, so it may not be promoted for that (found in the lab).
func TestWakingSlaveTrustsNoStaleConnection(t *testing.T) {
	f := pair()
	f.Durable = Durable{Armed: true, Epoch: Epoch{4, "b"}}
	beat := *f.Other.Beat
	beat.Role, beat.Epoch, beat.Boot = Master, Epoch{4, "b"}, BootName{9}
	beat.Volumes = []VolumeSaying{{Name: "data", Generation: f.Volumes[0].Generation, Role: Primary, Disk: UpToDate, Connected: true, Promise: 4500 * time.Millisecond}}
	f.Other.Beat = &beat
	m := NewMachine(f.Durable)
	if p := m.Step(f); p.Role != Slave {
		t.Fatalf("%s, want a slave", p.Role)
	}
	f.Now = f.Now.Add(8 * time.Second)
	again := beat
	again.Boot, again.Role = BootName{10}, Starting
	again.Volumes = []VolumeSaying{{Name: "data", Generation: "newer", Role: Secondary, Disk: Consistent, Promise: 4500 * time.Millisecond}}
	f.Other.Beat, f.Other.FreshAt, f.Other.Confirmed, f.Other.EchoedSent = &again, f.Now, f.Now, f.Now
	for i := range f.Heart.Links {
		f.Heart.Links[i].FreshAt, f.Heart.Links[i].HeardAt = f.Now, f.Now
	}
	if p := m.Step(f); p.Role != Slave && p.Role != Blocked {
		t.Fatalf("%s (%s): promoted on a connection that only this side believes in", p.Role, p.Reason)
	}
	f.Now = f.Now.Add(time.Second) // the volume has noticed
	f.Volumes = slices.Clone(f.Volumes)
	f.Volumes[0].Connected, f.Volumes[0].Licence, f.Volumes[0].PeerDisk = false, true, DUnknown
	f.Other.FreshAt, f.Other.Confirmed, f.Other.EchoedSent = f.Now, f.Now, f.Now
	if p := m.Step(f); p.Procedure != nil && p.Procedure.Kind == ProcedurePromote || p.Volumes[0].EndLicence == "" {
		t.Errorf("%s, end of licence %q: its licence has ended with the promise", p.Role, p.Volumes[0].EndLicence)
	}
}
