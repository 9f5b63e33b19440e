package engine

import (
	"strings"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// TestVolumeEvents walks one volume through a return, its resync, a loss and a split-brain.
func TestVolumeEvents(t *testing.T) {
	state := func(connection string, disk ha.Disk, session uint64) VolumeState {
		return VolumeState{PID: 7, Fact: ha.VolumeFact{Running: true, Connection: connection, Disk: disk, Session: session}}
	}
	connecting := state("Connecting", ha.Outdated, 1)
	target := state("SyncTarget", ha.Inconsistent, 2)
	target.Verdict = "went_back: a disk went back in time"
	synced := state("Connected", ha.UpToDate, 2)
	lost := state("Connecting", ha.UpToDate, 2)
	split := state("StandAlone", ha.UpToDate, 2)
	split.Problem, split.Fact.SplitBrain = "split-brain: both sides wrote", true
	again := state("Connected", ha.UpToDate, 3)
	for _, c := range []struct {
		name     string
		old, now VolumeState
		want     []string // code and a part of the text
	}{
		{"an engine finds it in sync", VolumeState{}, synced, nil},
		{"an engine finds it diverged", VolumeState{}, split, []string{"volume.problem", "both sides wrote"}},
		{"nothing new", synced, synced, nil},
		{"connects", connecting, target, []string{"replication.connected", "gets from it what it misses: a disk went back in time.", "volume.disk", "Inconsistent on this node; it was Outdated"}},
		{"syncs", target, synced, []string{"replication.in_sync", "finished", "volume.disk", "UpToDate"}},
		{"loses", synced, lost, []string{"replication.disconnected", "lost"}},
		{"a new session between two looks", synced, again, []string{"replication.connected", "is connected"}},
		{"diverges", lost, split, []string{"volume.problem", "split-brain"}},
		{"still diverged", split, split, nil},
	} {
		got := volumeEvents("data", c.old, c.now)
		if len(got) != len(c.want)/2 {
			t.Errorf("%s: %d events: %+v", c.name, len(got), got)
			continue
		}
		for i, event := range got {
			if event.Log != "heartbeat" || event.Code != c.want[2*i] || !strings.Contains(event.Text, c.want[2*i+1]) {
				t.Errorf("%s: %+v, want %s %q", c.name, event, c.want[2*i], c.want[2*i+1])
			}
		}
	}
	if e := volumeEvents("data", lost, split)[0]; e.Severity != ha.Critical {
		t.Errorf("split-brain is %s", e.Severity)
	}
}

// TestDiskWentBackIsACondition: the volume's word becomes a condition, and an event.
func TestDiskWentBackIsACondition(t *testing.T) {
	b := newBench(t, true)
	v := b.computer.addVolume("data", true)
	b.start()
	b.await("running", func(s control.Status) bool { return len(s.Volumes) == 1 })
	_ = v.do("swap", func() { v.problem, v.code = "a disk went back in time", wentBack })
	b.await("the condition", func(s control.Status) bool {
		for _, c := range s.Conditions {
			if c.Code == "volume.went_back" && c.Severity == ha.Critical {
				return true
			}
		}
		return false
	})
	if !b.events.has("volume.problem") {
		wait(t.Context(), 200*time.Millisecond)
		if !b.events.has("volume.problem") {
			t.Error("no event about it")
		}
	}
}
