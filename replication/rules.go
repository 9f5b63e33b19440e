package replication

import "strings"

// The table of the handshake. Rows are tried in order, the first that speaks decides. Each is written once, for "x is the source"; the
// mirrored row is the same function with the sides exchanged. The numbers in brackets are DRBD's (research/replication.md 2.2).
//
//	same_node           both ends bear one node id                                     refuse
//	other_volume        different volumes                                              unrelated
//	no_disk             a side has no disk                                             blocked
//	new_both       [10] both just created                                              blocked
//	new_disk    [20,30] one just created                                               full
//	unknown             a side's metadata cannot be read                               full by checksum, or blocked
//	went_back           a side presents a lower mark than it confirmed                 full by checksum, or blocked
//	size                the sizes do not fit                                           refuse
//	equal          [40] same generation, nothing set                                   none
//	missed_end  [34-37] same generation, one side did not see the end of a resync      bitmap by checksum
//	equal_bits     [41] same generation, bits set                                      bitmap by checksum
//	resume      [50,70] one's bitmap counts from the other's data set                  bitmap
//	missed_start[51,71] one's bitmap counts from the half-way set of the other         bitmap
//	target_began        one already bears the half-way name that the other did not store bitmap if it counts from there, else full by checksum
//	older       [60,80] one's data set is in the other's history                       full by checksum
//	split_brain    [90] both left the same data set                                    diverged (given up: bitmap)
//	split_brain_old[100] both left some common data set                                diverged (given up: full by checksum)
//	unrelated           nothing in common                                              unrelated
//
// After the row: an Inconsistent side is never the source; FullSync on either side makes it full; a primary is never the target.

// Compare decides between two snapshots. It is pure and mirrored by construction: the sides are put in order of their node ids first.
func Compare(self, peer Snapshot) Verdict {
	if self.Node == peer.Node {
		v := Verdict{Rule: "same_node", Direction: Refuse, Wanted: Refuse}
		v.Reason = reason(v)
		return v
	}
	if self.Node < peer.Node {
		return finish(decide(self, peer), self, peer)
	}
	return finish(decide(peer, self), peer, self).Mirror()
}

// finish applies disk states and roles to what the rows say for x, and fills in the rest.
func finish(v Verdict, x, y Snapshot) Verdict {
	v = byDisks(v, x, y)
	v.Wanted = v.Direction
	if (x.Flags | y.Flags).Has(FullSync) && (v.Direction == Source || v.Direction == Target) && !v.Full {
		v.Full, v.Checksum = true, true // every bit of one side counts as set, whatever its bitmap says
	}
	moves := v.Direction == Source && y.Role == Primary || v.Direction == Target && x.Role == Primary
	if moves || v.Direction == None && x.Role == Primary && y.Role == Primary {
		v.Direction = Refuse
	}
	switch {
	case v.Full:
		v.Bytes = max(x.Size, y.Size)
	case v.Direction != None:
		v.Bytes = min(x.DirtyBytes+y.DirtyBytes, max(x.Size, y.Size))
	}
	v.Reason = reason(v)
	return v
}

// byDisks lets the disk states overrule: Inconsistent is never a source.
func byDisks(v Verdict, x, y Snapshot) Verdict {
	if v.Direction == Refuse || v.Direction == Unrelated || v.Direction == Blocked {
		return v
	}
	bad := func(s Snapshot) bool { return s.Disk == Inconsistent || s.Unknown }
	if bad(x) && bad(y) {
		return Verdict{Rule: "both_inconsistent", Direction: Blocked}
	}
	from := Source // y is bad
	if bad(x) {
		from = Target
	}
	if !bad(x) && !bad(y) || v.Direction == from {
		return v
	}
	// An Inconsistent side acknowledged nothing alone, so the other has all that counts; how far they differ is not known from bits.
	return Verdict{Rule: "inconsistent", Direction: from, Full: true, Checksum: true}
}

// row is one line of the table, for "x is the source".
type row struct {
	rule           string
	full, checksum bool
	holds          func(x, y Snapshot) bool
}

var rows = []row{
	{"resume", false, false, func(x, y Snapshot) bool { return same(x.BitmapOf, y.Current) }},
	{"missed_start", false, false, func(x, y Snapshot) bool {
		return !x.BitmapOf.ID.IsZero() && x.BitmapOf.ID == SyncID(x.Current.ID, y.Current.ID)
	}},
	{"target_began", false, false, func(x, y Snapshot) bool {
		return y.Flags.Has(SyncingTarget) && same(x.BitmapOf, y.History[0]) && y.Current.ID == SyncID(x.Current.ID, x.BitmapOf.ID)
	}},
	{"target_began", true, true, halfWay},
	{"older", true, true, func(x, y Snapshot) bool { return inHistory(y.Current, x) }},
}

// halfWay says whether y began a resync from a data set that x has or had.
func halfWay(x, y Snapshot) bool {
	if !y.Flags.Has(SyncingTarget) {
		return false
	}
	for _, from := range append([]GenerationEntry{x.Current, x.BitmapOf}, x.History[:]...) {
		for _, old := range []GenerationID{{}, y.History[0].ID, from.ID} {
			if !from.ID.IsZero() && y.Current.ID == SyncID(from.ID, old) {
				return true
			}
		}
	}
	return false
}

func same(a, b GenerationEntry) bool { return !a.ID.IsZero() && a.ID == b.ID }

func inHistory(g GenerationEntry, s Snapshot) bool {
	for _, h := range s.History {
		if same(g, h) {
			return true
		}
	}
	return false
}

func decide(x, y Snapshot) Verdict {
	if v, ok := identity(x, y); ok {
		return v
	}
	if v, ok := guard(x, y); ok {
		return v
	}
	if same(x.Current, y.Current) {
		return equal(x, y)
	}
	for _, r := range rows {
		there, back := r.holds(x, y), r.holds(y, x)
		if there && back {
			return diverged(x, y, r.rule == "resume")
		}
		if there || back {
			return toward(there, Verdict{Rule: r.rule, Full: r.full, Checksum: r.checksum})
		}
	}
	if same(x.BitmapOf, y.BitmapOf) {
		return diverged(x, y, true)
	}
	if related(x, y) {
		return diverged(x, y, false)
	}
	return Verdict{Rule: "unrelated", Direction: Unrelated}
}

func toward(xIsSource bool, v Verdict) Verdict {
	v.Direction = Target
	if xIsSource {
		v.Direction = Source
	}
	return v
}

// identity settles what needs no generations: other volumes, missing disks, new disks, unreadable metadata.
func identity(x, y Snapshot) (Verdict, bool) {
	xNew, yNew := x.Flags.Has(JustCreated) && !x.Unknown, y.Flags.Has(JustCreated) && !y.Unknown
	switch {
	case x.Disk <= Failed || y.Disk <= Failed:
		return Verdict{Rule: "no_disk", Direction: Blocked}, true
	case x.Volume != y.Volume && !xNew && !yNew && !x.nameless() && !y.nameless():
		return Verdict{Rule: "other_volume", Direction: Unrelated}, true
	case x.DiskID == y.DiskID && x.DiskID != [8]byte{}:
		return Verdict{Rule: "same_disk", Direction: Blocked}, true
	case xNew && yNew:
		return Verdict{Rule: "new_both", Direction: Blocked}, true
	case x.Unknown || y.Unknown:
		return unknown(x, y), true
	case xNew || yNew:
		return fits(yNew, x, y, Verdict{Rule: "new_disk", Full: true}), true
	case x.Size != y.Size:
		return Verdict{Rule: "size", Direction: Refuse}, true
	}
	return Verdict{}, false
}

// nameless: not even the volume's name could be read.
func (s Snapshot) nameless() bool { return s.Unknown && s.Volume == [16]byte{} }

// fits makes a direction of a row that may meet disks of different sizes: the target must be able to hold the source.
func fits(xIsSource bool, x, y Snapshot, v Verdict) Verdict {
	source, target := y, x
	if xIsSource {
		source, target = x, y
	}
	if target.Size < source.Size {
		return Verdict{Rule: "size", Direction: Refuse}
	}
	return toward(xIsSource, v)
}

// unknown: no direction is chosen by itself unless the source is UpToDate and its own record shows that nobody wrote after it.
func unknown(x, y Snapshot) Verdict {
	vouches := func(s Snapshot) bool {
		return !s.Unknown && s.Disk == UpToDate && s.Flags.Has(LastPrimary) &&
			(s.Permitted || s.Flags&(PeerOutdated|PeerLeftInSync) != 0)
	}
	if x.Unknown && vouches(y) || y.Unknown && vouches(x) {
		return toward(y.Unknown, Verdict{Rule: "unknown", Full: true, Checksum: true})
	}
	return Verdict{Rule: "unknown", Direction: Blocked}
}

// guard finds a disk that went back in time: its mark is below one that it confirmed to the other.
func guard(x, y Snapshot) (Verdict, bool) {
	xBack := x.DiskID == y.PeerDisk && x.Mark.Less(y.PeerMark)
	yBack := y.DiskID == x.PeerDisk && y.Mark.Less(x.PeerMark)
	switch {
	case xBack && yBack || xBack && y.Disk == Inconsistent || yBack && x.Disk == Inconsistent:
		return Verdict{Rule: "went_back", Direction: Blocked, WentBack: true}, true
	case xBack || yBack:
		return toward(yBack, Verdict{Rule: "went_back", Full: true, Checksum: true, WentBack: true}), true
	}
	return Verdict{}, false
}

// equal is the part of the table for one and the same generation. Bits that are set are compared, never cleared. A primary that crashed has made
// bits of its hot extents; where there is none, nothing was under way.
func equal(x, y Snapshot) Verdict {
	missedEnd := x.BitmapOf.ID.IsZero() != y.BitmapOf.ID.IsZero()
	switch {
	case !missedEnd && x.DirtyBytes+y.DirtyBytes == 0:
		return Verdict{Rule: "equal", Direction: None}
	case forcedBack(x, y) || forcedBack(y, x):
		return diverged(x, y, true)
	case missedEnd:
		return toward(prefer(x, y), Verdict{Rule: "missed_end", Checksum: true})
	}
	return toward(prefer(x, y), Verdict{Rule: "equal_bits", Checksum: true})
}

// forcedBack: a person forced x to serve after it died, and the survivor y may hold acknowledged blocks that x lost: a person decides again.
func forcedBack(x, y Snapshot) bool {
	return x.Flags.Has(ForcedPrimary|Died) && !y.Flags.Has(Died)
}

// prefer says whether x's blocks stay where two equal generations differ. The primary's; else the survivor's, who has everything that was
// acknowledged though the other's power cut took it from there; else the last primary's; else the first node's.
func prefer(x, y Snapshot) bool {
	if x.Role != y.Role {
		return x.Role == Primary
	}
	if died := x.Flags.Has(Died); died != y.Flags.Has(Died) {
		return !died
	}
	if x.Promoted != y.Promoted {
		return y.Promoted.Less(x.Promoted)
	}
	return true
}

// diverged is split-brain, or its end if a person gave exactly one side up. byBitmap: both bitmaps count from the common data set.
func diverged(x, y Snapshot, byBitmap bool) Verdict {
	rule := "split_brain"
	if !byBitmap {
		rule = "split_brain_old"
	}
	xGone, yGone := x.Flags.Has(Discard), y.Flags.Has(Discard)
	if xGone == yGone {
		return Verdict{Rule: rule, Direction: Diverged}
	}
	return toward(yGone, Verdict{Rule: rule, Full: !byBitmap, Checksum: true})
}

// related says whether the two have any data set in common.
func related(x, y Snapshot) bool {
	for _, g := range append([]GenerationEntry{y.Current, y.BitmapOf}, y.History[:]...) {
		if same(g, x.Current) || same(g, x.BitmapOf) || inHistory(g, x) {
			return true
		}
	}
	return false
}

// reasons are the sentences by rule; {source} and {target} become this side and the peer.
var reasons = map[string]string{
	"same_node":         "both sides call themselves by the same node id: give one of them another",
	"other_volume":      "the two disks belong to different volumes: check which disk is configured",
	"same_disk":         "one disk is a copy of the other, and nobody knows what was written since it was copied: create one of them anew",
	"no_disk":           "one side has no working disk: replace or attach it",
	"new_both":          "both disks were just created and neither holds data: create one of them as the first",
	"new_disk":          "the disk of {target} was just created and gets everything from {source}",
	"unknown":           "the metadata of one side cannot be read, so nobody knows how old its data are",
	"went_back":         "a disk went back in time: it is older than what it had confirmed",
	"size":              "the disks differ in size and {target} cannot hold the other's data: grow it or create it anew",
	"equal":             "both sides hold the same data",
	"missed_end":        "both sides hold the same data set, one did not see the end of the last resync",
	"equal_bits":        "both sides hold the same data set, blocks that were in flight are compared",
	"resume":            "{source} wrote without {target} and knows which blocks",
	"missed_start":      "the last resync from {source} to {target} did not begin",
	"target_began":      "the last resync from {source} to {target} had hardly begun",
	"older":             "the data of {target} are older than the bitmap of {source} reaches",
	"split_brain":       "both sides wrote without each other",
	"split_brain_old":   "both sides wrote without each other, long ago",
	"unrelated":         "the two disks never held the same data: check which disk is configured",
	"inconsistent":      "the data of {target} are incomplete",
	"both_inconsistent": "the data of both sides are incomplete: a person must choose one",
}

func reason(v Verdict) string {
	text := reasons[v.Rule]
	source, target := "this side", "the peer"
	if v.Wanted == Target {
		source, target = target, source
	}
	if v.Wanted != Source && v.Wanted != Target {
		target = "one side"
	}
	text = strings.NewReplacer("{source}", source, "{target}", target).Replace(text)
	switch {
	case v.Direction != Refuse:
	case v.Wanted == Source || v.Wanted == Target:
		text += "; but " + target + " is primary and cannot be overwritten: demote it first"
	case v.Wanted == None:
		text += "; but both are primary: demote one"
	}
	return text
}
