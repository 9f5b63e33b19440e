package replication

import (
	"errors"
	"testing"
)

// pair is two sides in sync, a primary under epoch 1.
func pair(t *testing.T) (a, b State) {
	t.Helper()
	a = New([16]byte{1}, "a", 1<<20, true, GenerationID{1}, 1)
	b = New([16]byte{2}, "b", 2<<20, false, GenerationID{}, 1)
	a, err := a.Promote(Epoch{1, "a"}, false)
	if err != nil {
		t.Fatal(err)
	}
	v := Compare(a.Snapshot(0), b.Snapshot(0))
	if v.Direction != Source || !v.Full {
		t.Fatalf("%+v", v)
	}
	sa, sb := a.Snapshot(0), b.Snapshot(0)
	a, b = a.StartSyncSource(sb, true).Connect(1), b.StartSyncTarget(sa, true).Connect(1)
	if b.Disk != Inconsistent || b.Volume != a.Volume || b.Size != a.Size || b.Current.ID != a.BitmapOf.ID {
		t.Fatalf("target %+v\nsource %+v", b, a)
	}
	a = a.PrepareFinish()
	b = b.FinishSyncTarget(a.Snapshot(0))
	a = a.FinishSyncSource()
	if a.Current != b.Current || a.Disk != UpToDate || b.Disk != UpToDate || a.Flags.Has(FullSync) || b.Flags.Has(FullSync) {
		t.Fatalf("source %+v\ntarget %+v", a, b)
	}
	return a, b
}

// TestLifeOfAPair: loss, permission, rotation, return, in DRBD's words.
func TestLifeOfAPair(t *testing.T) {
	a, b := pair(t)
	a, b = a.PeerGone(), b.PeerGone()
	if !b.HasLicence() || a.Permitted() || !a.NeedsRotation() {
		t.Fatal("after the loss: the secondary has a licence, the primary holds")
	}
	a, err := a.Permit(Epoch{1, "a"}, "dead", [16]byte{})
	if err != nil || !a.Permitted() {
		t.Fatal(err)
	}
	before := a.Current
	a = a.Rotate(GenerationID{2}, 5)
	if a.BitmapOf != before || !a.Permitted() || a.NeedsRotation() || a.Current.Reason != ReasonAlone {
		t.Fatalf("rotated: %+v", a)
	}
	if again := a.Rotate(GenerationID{3}, 6); again != a {
		t.Fatal("a second loss without a peer in between must not rotate")
	}
	b = b.Attach([16]byte{})
	v := Compare(a.Snapshot(4096), b.Snapshot(0))
	if v.Direction != Source || v.Full || v.Rule != "resume" {
		t.Fatalf("%+v", v)
	}
}

func TestAttach(t *testing.T) {
	a, b := pair(t)
	boot := [16]byte{7}
	alone, err := a.PeerGone().Permit(a.Epoch, "dead", boot)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		s    State
		boot [16]byte
		want DiskState
		flag Flags
	}{
		{"a primary that died", a, boot, Consistent, CrashedPrimary | Died},
		{"a secondary that died", b, boot, Consistent, Died},
		{"the peer stored Outdated", a.PeerGone().RecordPeerOutdated(), boot, UpToDate, CrashedPrimary},
		{"the peer left in sync", a.PeerLeft(true), boot, UpToDate, PeerLeftInSync},
		{"its own leaving entitles to nothing", b.Leave(false), boot, Consistent, LeftInSync},
		{"permitted in this boot", alone, boot, UpToDate, CrashedPrimary},
		{"permitted in another boot", alone, [16]byte{8}, Consistent, CrashedPrimary},
		{"permitted, boot not known", alone, [16]byte{}, Consistent, CrashedPrimary},
		{"never had a peer", New([16]byte{}, "a", 1, true, GenerationID{1}, 0), boot, UpToDate, 0},
	} {
		got := c.s.Attach(c.boot)
		if got.Disk != c.want || !got.Flags.Has(c.flag) || got.Role() != Secondary {
			t.Errorf("%s: %s flags %b, want %s with %b", c.name, got.Disk, got.Flags, c.want, c.flag)
		}
	}
}

// TestOutdateOrPromote: both are one decision, the first wins (safety 11).
func TestOutdateOrPromote(t *testing.T) {
	_, b := pair(t)
	b = b.PeerGone()
	outdated, err := b.Outdate(Epoch{1, "a"})
	if err != nil || outdated.Disk != Outdated {
		t.Fatal(err)
	}
	if _, err := outdated.Promote(Epoch{2, "b"}, false); !errors.Is(err, ErrRefused) {
		t.Fatal("an Outdated copy was promoted:", err)
	}
	promoted, err := b.Promote(Epoch{2, "b"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := promoted.Outdate(Epoch{3, "a"}); !errors.Is(err, ErrRefused) {
		t.Fatal("a primary was outdated:", err)
	}
	if _, err := b.SawEpoch(Epoch{5, "a"}).Promote(Epoch{2, "b"}, false); !errors.Is(err, ErrRefused) {
		t.Fatal("a lower epoch promoted:", err)
	}
}

func TestRevokeEndsTheLicence(t *testing.T) {
	a, _ := pair(t)
	if got := a.PeerGone().Revoke("isolated"); got.Disk != Consistent || got.Licence != "isolated" || got.Role() != Secondary {
		t.Errorf("%+v", got)
	}
	alone, _ := a.PeerGone().RecordPeerOutdated().Permit(a.Epoch, "outdated", [16]byte{})
	if got := alone.Revoke("isolated"); got.Disk != UpToDate {
		t.Errorf("with the peer's word it stays %s", got.Disk)
	}
}

// TestForcedNeverHidesItself: a forced copy writes under a name of its own, also after it was demoted and promoted again.
func TestForcedNeverHidesItself(t *testing.T) {
	_, b := pair(t)
	b = b.Attach([16]byte{})
	if _, err := b.Promote(Epoch{2, "b"}, false); !errors.Is(err, ErrRefused) {
		t.Fatal("Consistent was promoted without force")
	}
	b, _ = b.Promote(Epoch{2, "b"}, true)
	b, err := b.Demote().Promote(Epoch{3, "b"}, false)
	if err != nil || !b.NeedsRotation() {
		t.Fatal(err, "no rotation is asked for")
	}
	if b = b.Rotate(GenerationID{9}, 1); b.Current.Reason != ReasonForced || b.NeedsRotation() {
		t.Fatalf("%+v", b.Current)
	}
}

// TestAVictimThatWritesAgainIsNone: what a side that was given up writes afterwards, because a person starts it by force, is not part of what was given up.
func TestAVictimThatWritesAgainIsNone(t *testing.T) {
	a, b := pair(t)
	a, b = a.PeerGone().Rotate(GenerationID{7}, 1), b.PeerGone()
	b, err := b.Promote(Epoch{2, "b"}, true)
	if err != nil {
		t.Fatal(err)
	}
	b = b.Rotate(GenerationID{8}, 1).Demote()
	if b, err = b.GiveUp(); err != nil {
		t.Fatal(err)
	}
	if v := Compare(a.Snapshot(4096), b.Snapshot(4096)); v.Direction != Source {
		t.Fatalf("nothing proven: %s %s", v.Rule, v.Direction)
	}
	if b, err = b.Promote(Epoch{3, "b"}, true); err != nil || !b.NeedsRotation() {
		t.Fatal(err, "no rotation is asked for")
	}
	b = b.Rotate(GenerationID{9}, 1).Demote()
	if v := Compare(a.Snapshot(4096), b.Snapshot(4096)); v.Direction != Diverged {
		t.Errorf("%s %s: want a split-brain for a person", v.Rule, v.Direction)
	}
}

func TestHistoryKeepsEachNameOnce(t *testing.T) {
	var s State
	for i := byte(1); i <= 20; i++ {
		s.remember(GenerationEntry{ID: GenerationID{i}})
		s.remember(GenerationEntry{ID: GenerationID{5}})
	}
	seen := map[GenerationID]bool{}
	for _, h := range s.History {
		if seen[h.ID] {
			t.Fatalf("%v twice", h.ID)
		}
		seen[h.ID] = true
	}
	if s.History[0].ID != (GenerationID{5}) || !seen[GenerationID{20}] || seen[GenerationID{1}] {
		t.Fatalf("%v", s.History)
	}
}
