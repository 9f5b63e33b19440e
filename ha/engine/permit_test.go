package engine

import (
	"testing"

	"evenkeel/ha"
)

// A permission names the loss that was decided on, not the one that the volume tells of since: the volume can refuse a late one.
func TestAPermissionNamesTheLossThatWasDecidedOn(t *testing.T) {
	fake := newComputer().addVolume("data", false)
	decided := ha.VolumeFact{Name: "data", Running: true, Role: ha.Primary, Disk: ha.UpToDate, Session: 3}
	v := &volume{setting: ha.VolumeSetting{Name: "data"}, handle: fake}
	v.state.Fact = decided
	v.state.Fact.Session = 4 // connected and lost again since
	_, call := (&engine{}).nextCall(ha.Facts{Volumes: []ha.VolumeFact{decided}}, v, ha.VolumeWish{Name: "data", Permit: "peer_outdated"})
	if call == nil {
		t.Fatal("no call")
	}
	if err := call(t.Context()); err != nil || fake.permitted != 3 {
		t.Fatalf("permitted for session %d: %v", fake.permitted, err)
	}
}
