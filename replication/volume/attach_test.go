package volume

import (
	"errors"
	"log/slog"
	"os"
	"testing"

	"evenkeel/replication"
	"evenkeel/replication/activity"
	"evenkeel/replication/control"
	"evenkeel/replication/disk/disktest"
	"evenkeel/replication/meta"
)

// What was hot when a primary died is out of sync afterwards, also if the first try to write that down fails, at whichever change.
func TestHotExtentsOutliveAFailedAttach(t *testing.T) {
	base := disktest.New(testSize)
	a, err := meta.Create(base, meta.Options{Volume: [16]byte{1}, Node: "a", First: true})
	must(t, err)
	s, err := a.State().Promote(replication.Epoch{Counter: 1, Node: "a"}, false)
	must(t, err)
	must(t, a.Save(s.Connect(1)))
	hot := activity.New(activity.Slots)
	tr, ok := hot.Activate([]activity.Extent{2})
	if !ok {
		t.Fatal("no slot")
	}
	must(t, a.LogTransaction(tr))
	for failing := 0; ; failing++ {
		d := base.Clone()
		area, err := meta.Open(d)
		must(t, err)
		first := d.Changes()
		d.Fail(func(change int) error {
			if change == first+failing {
				return errors.New("injected")
			}
			return nil
		})
		one := &attached{disk: d, area: area}
		if err := one.recover("a", [16]byte{}, slog.Default()); err == nil {
			if failing == 0 {
				t.Fatal("nothing failed")
			}
			return
		}
		d.Fail(nil)
		again := d.Crash(1) // a flush that failed is for good
		area, err = meta.Open(again)
		must(t, err)
		two := &attached{disk: again, area: area}
		must(t, two.recover("a", [16]byte{}, slog.Default()))
		if !two.bits.Any(2*activity.ExtentSize, 4096) {
			t.Errorf("change %d failed: after the next attach the hot extent is in sync", failing)
		}
	}
}

// TestPeersDiskIsNoProblemOfOurs: the peer's word that it has no disk is shown as long as it holds, and is not taken for the own disk: that one is in use,
// and stays so.
func TestPeersDiskIsNoProblemOfOurs(t *testing.T) {
	p := newPair(t, testSize)
	away := p.a.config.Backing + ".away"
	must(t, os.Rename(p.a.config.Backing, away))
	p.a.start()
	p.b.start()
	s := p.b.until("told that the peer has no disk", func(s control.Status) bool { return s.ProblemCode == "no_disk" })
	if s.Disk == "Diskless" {
		t.Errorf("its own disk is taken for lost: %+v", s)
	}
	must(t, os.Rename(away, p.a.config.Backing))
	p.b.until("connected, and nothing is wrong", func(s control.Status) bool { return s.Mirrors && s.ProblemCode == "" })
}
