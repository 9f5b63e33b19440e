package ha

import (
	"strings"
	"testing"
)

// TestMissingDiskIsNamed: a disk that is gone is critical on both nodes, also while the volume is not connected, and the remedy fits: one that failed is taken
// back at a word only. What a dead node said last of its disk is no news of it.
func TestMissingDiskIsNamed(t *testing.T) {
	for _, c := range []struct {
		name        string
		own, peers  Disk
		dead        bool
		side, words string // empty = no condition
		word        bool   // `volume connect` is part of the remedy
	}{
		{"both are well", UpToDate, UpToDate, false, "", "", false},
		{"the other's failed", UpToDate, DiskFailed, false, "peer", "on the other node failed", true},
		{"the other has none", UpToDate, Diskless, false, "peer", "no disk on the other node", false},
		{"the other is dead", UpToDate, DiskFailed, true, "", "", false},
		{"the own failed", DiskFailed, UpToDate, false, "local", "no working disk on this node", true},
		{"no own", Diskless, UpToDate, false, "local", "no working disk on this node", false},
	} {
		m, f := NewMachine(pair().Durable), pair()
		m.Step(f)
		beat := *f.Other.Beat
		beat.Volumes = []VolumeSaying{{Name: "data", Generation: "g", Disk: c.peers}}
		f.Other.Beat = &beat
		f.Volumes[0].Disk, f.Volumes[0].PeerDisk, f.Volumes[0].Connected = c.own, Outdated, false
		if c.dead {
			f = silent(f)
		}
		var found []Condition
		for _, k := range m.Step(f).Conditions {
			if k.Code == "volume.detached" {
				found = append(found, k)
			}
		}
		switch {
		case c.side == "" && len(found) == 0:
		case c.side == "" || len(found) != 1:
			t.Errorf("%s: %+v", c.name, found)
		case found[0].Severity != Critical || found[0].Side != c.side || !strings.Contains(found[0].Text, c.words) ||
			strings.Contains(found[0].Remedy, "volume connect data") != c.word:
			t.Errorf("%s: %+v", c.name, found[0])
		}
	}
}
