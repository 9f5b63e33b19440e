package replication

import (
	"testing"
)

// gen is a generation by a letter; 0 = none.
func gen(letter byte) GenerationEntry { return GenerationEntry{ID: GenerationID{letter}} }

// side builds a snapshot of an ordinary side: attached, secondary, Consistent.
func side(node string, current, bitmap byte, more ...func(*Snapshot)) Snapshot {
	s := Snapshot{Node: node, Role: Secondary, Disk: Consistent, Current: gen(current), BitmapOf: gen(bitmap), Size: 1 << 20, Flags: HadPeer}
	s.DiskID = [8]byte{node[0]}
	s.PeerDisk = [8]byte{'a' + 'b' - node[0]}
	for _, f := range more {
		f(&s)
	}
	return s
}

func past(letters ...byte) func(*Snapshot) {
	return func(s *Snapshot) {
		for i, l := range letters {
			s.History[i] = gen(l)
		}
	}
}

func flags(f Flags) func(*Snapshot)     { return func(s *Snapshot) { s.Flags |= f } }
func state(d DiskState) func(*Snapshot) { return func(s *Snapshot) { s.Disk = d } }
func bits(n uint64) func(*Snapshot)     { return func(s *Snapshot) { s.DirtyBytes = n * 4096 } }
func marks(own, peer uint64) func(*Snapshot) {
	return func(s *Snapshot) { s.Mark.Session, s.PeerMark.Session = own, peer }
}
func primary(s *Snapshot) { s.Role, s.Disk = Primary, UpToDate }
func unreadable(s *Snapshot) {
	*s = UnknownSnapshot(s.Volume, s.Node, s.Size)
}
func promoted(n uint64) func(*Snapshot) {
	return func(s *Snapshot) { s.Promoted = Epoch{Counter: n, Node: s.Node} }
}

// begun is side b after it stored the start of a resync from source, holding old.
func begun(source, old byte, more ...func(*Snapshot)) Snapshot {
	s := side("b", 0, 0, append(more, flags(SyncingTarget), state(Inconsistent))...)
	s.Current = GenerationEntry{ID: SyncID(gen(source).ID, gen(old).ID)}
	return s
}

// TestTable is the handshake's table row by row; DRBD's numbers in brackets, the T9 scenarios (research/replication.md 3) and the sequences of
// safety.md where one is the reason.
func TestTable(t *testing.T) {
	half := func(s *Snapshot) { s.BitmapOf = GenerationEntry{ID: SyncID(gen('G').ID, gen('F').ID)} }
	for _, c := range []struct {
		name      string
		a, b      Snapshot
		rule      string
		direction Direction
		full, sum bool
	}{
		{"[10] both new", side("a", 0, 0, flags(JustCreated), state(Inconsistent)), side("b", 0, 0, flags(JustCreated), state(Inconsistent)),
			"new_both", Blocked, false, false},
		{"[30] the other is new", side("a", 'G', 0), side("b", 0, 0, flags(JustCreated), state(Inconsistent)), "new_disk", Source, true, false},
		{"[40] S20 a link hiccup", side("a", 'G', 0), side("b", 'G', 0, state(Outdated)), "equal", None, false, false},
		{"[36] S19 the end was not seen", side("a", 'G', 'F', promoted(1)), side("b", 'G', 0), "missed_end", Source, false, true},
		{"[41a] follow the primary", side("a", 'G', 0, flags(CrashedPrimary|Died), bits(1), promoted(2)), side("b", 'G', 0, primary, promoted(1)),
			"equal_bits", Target, false, true},
		{"[41c] the survivor's blocks stay", side("a", 'G', 0, flags(CrashedPrimary|Died), bits(1), promoted(2)), side("b", 'G', 0, state(UpToDate)),
			"equal_bits", Target, false, true},
		{"[41d] common power cut: the last primary", side("a", 'G', 0, flags(Died)), side("b", 'G', 0, flags(Died|CrashedPrimary), bits(3), promoted(1)),
			"equal_bits", Target, false, true},
		{"S29 leftover bits are compared", side("a", 'G', 0, bits(16), promoted(3)), side("b", 'G', 0, promoted(1)), "equal_bits", Source, false, true},
		{"S25 other promoted, wrote nothing", side("a", 'G', 0, flags(CrashedPrimary|Died), bits(1), promoted(1)), side("b", 'G', 0, primary, promoted(2)),
			"equal_bits", Target, false, true},
		{"S07 [41b] both primary", side("a", 'G', 0, primary), side("b", 'G', 0, primary), "equal", Refuse, false, false},
		{"forced after it died, the survivor has more", side("a", 'G', 0, primary, flags(Died|ForcedPrimary|CrashedPrimary), bits(1)), side("b", 'G', 0),
			"split_brain", Diverged, false, false},
		{"[70] wrote without the other", side("a", 'G', 'F', bits(5)), side("b", 'F', 0), "resume", Source, false, false},
		{"[50] S42 the other wrote", side("a", 'F', 0, bits(1)), side("b", 'G', 'F', primary), "resume", Target, false, false},
		{"[51] the start was not seen", side("a", 'G', 0, half), side("b", 'F', 0), "missed_start", Source, false, false},
		{"only the target stored the start, of a bitmap", side("a", 'G', 'F', bits(2)), begun('G', 'F', past('F')), "target_began", Source, false, false},
		{"only the target stored the start, of everything", side("a", 'G', 0), begun('G', 0), "target_began", Source, true, true},
		{"[80] older than the bitmap", side("a", 'H', 'G', past('F')), side("b", 'F', 0), "older", Source, true, true},
		{"[90] S36 split-brain", side("a", 'H', 'F'), side("b", 'G', 'F'), "split_brain", Diverged, false, false},
		{"[90] given up", side("a", 'H', 'F'), side("b", 'G', 'F', flags(Discard)), "split_brain", Source, false, true},
		{"both given up: nobody is", side("a", 'H', 'F', flags(Discard)), side("b", 'G', 'F', flags(Discard)), "split_brain", Diverged, false, false},
		{"[100] split-brain long ago", side("a", 'H', 'X', past('F')), side("b", 'G', 'Y', past('F')), "split_brain_old", Diverged, false, false},
		{"[100] given up: no bitmap counts", side("a", 'H', 'X', past('F'), flags(Discard)), side("b", 'G', 'Y', past('F')), "split_brain_old", Target, true, true},
		{"empty histories have nothing in common", side("a", 'H', 0), side("b", 'G', 0), "unrelated", Unrelated, false, false},
		{"S12 another volume", side("a", 'G', 0, func(s *Snapshot) { s.Volume[0] = 9 }), side("b", 'G', 0), "other_volume", Unrelated, false, false},
		{"unreadable, not even its volume is known", side("a", 'G', 'F', primary, flags(LastPrimary|PeerOutdated), func(s *Snapshot) { s.Volume[0] = 9 }), side("b", 0, 0, unreadable),
			"unknown", Source, true, true},
		{"a disk and its copy", side("a", 'G', 0), side("b", 'G', 0, func(s *Snapshot) { s.DiskID = [8]byte{'a'} }), "same_disk", Blocked, false, false},
		{"S03 sizes differ", side("a", 'G', 0, func(s *Snapshot) { s.Size = 2 << 20 }), side("b", 'G', 0), "size", Refuse, false, false},
		{"a new disk is too small", side("a", 'G', 0, func(s *Snapshot) { s.Size = 2 << 20 }), side("b", 0, 0, flags(JustCreated)), "size", Refuse, false, false},
		{"S18 only one is Inconsistent", side("a", 'G', 0), side("b", 'G', 0, state(Inconsistent)), "inconsistent", Source, true, true},
		{"a resync goes on", side("a", 'G', 'S', bits(2)), side("b", 'S', 0, state(Inconsistent)), "resume", Source, false, false},
		{"a full resync goes on", side("a", 'G', 'S', flags(FullSync)), side("b", 'S', 0, state(Inconsistent)), "resume", Source, true, true},
		{"nobody has whole data", side("a", 'G', 'F', state(Inconsistent)), side("b", 'F', 0, state(Inconsistent)), "both_inconsistent", Blocked, false, false},
		{"S24 the target is primary", side("a", 'F', 0, primary), side("b", 'G', 'F'), "resume", Refuse, false, false},
		{"S31, safety 4: an older image", side("a", 'G', 0, marks(5, 5)), side("b", 'G', 0, marks(3, 3)), "went_back", Source, true, true},
		{"both went back", side("a", 'G', 0, marks(3, 5)), side("b", 'G', 0, marks(3, 5)), "went_back", Blocked, false, false},
		{"safety 4: of an Inconsistent other", side("a", 'G', 0, marks(5, 5), state(Inconsistent)), side("b", 'G', 0, marks(3, 3)), "went_back", Blocked, false, false},
		{"safety 5: unreadable, source vouches", side("a", 'G', 'F', primary, flags(LastPrimary|PeerOutdated)), side("b", 0, 0, unreadable), "unknown", Source, true, true},
		{"safety 5: unreadable, source is Outdated", side("a", 'G', 0, state(Outdated), flags(LastPrimary|PeerOutdated)), side("b", 0, 0, unreadable), "unknown", Blocked, false, false},
		{"safety 5: unreadable, source holds no record", side("a", 'G', 0, state(UpToDate)), side("b", 0, 0, unreadable), "unknown", Blocked, false, false},
		{"no disk", side("a", 'G', 0), side("b", 'G', 0, state(Failed)), "no_disk", Blocked, false, false},
	} {
		v := Compare(c.a, c.b)
		if v.Rule != c.rule || v.Direction != c.direction || v.Full != c.full || v.Checksum != c.sum {
			t.Errorf("%s: %s %s full=%v checksum=%v, want %s %s %v %v (%s)", c.name, v.Rule, v.Direction, v.Full, v.Checksum, c.rule, c.direction, c.full, c.sum, v.Reason)
		}
		if m := Compare(c.b, c.a); m.Mirror() != v {
			t.Errorf("%s: not mirrored: %+v", c.name, m)
		}
	}
}

// TestWantedBehindARefusal: two masters that see each other learn who is ahead although the roles forbid the sync (30-decisions).
func TestWantedBehindARefusal(t *testing.T) {
	v := Compare(side("a", 'F', 0, primary), side("b", 'G', 'F', primary))
	if v.Direction != Refuse || v.Comparison() != "behind" || v.Mirror().Comparison() != "ahead" {
		t.Fatalf("%+v", v)
	}
}

func TestReasonsAreComplete(t *testing.T) {
	for rule, text := range reasons {
		for _, d := range []Direction{None, Source, Target, Refuse, Blocked} {
			if got := reason(Verdict{Rule: rule, Direction: d, Wanted: d}); got == "" || text == "" {
				t.Errorf("%s %s has no sentence", rule, d)
			}
		}
	}
}
