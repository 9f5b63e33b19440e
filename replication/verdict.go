package replication

// Direction is what a handshake decided for this side.
type Direction string

// The directions.
const (
	None      Direction = "none"        // the copies are equal
	Source    Direction = "source"      // this side's data go to the peer
	Target    Direction = "target"      // the peer's data come here
	Diverged  Direction = "split_brain" // both wrote without each other: a person decides
	Unrelated Direction = "unrelated"   // the two never held the same data
	Refuse    Direction = "refuse"      // a direction is known, but may not be gone now
	Blocked   Direction = "blocked"     // nobody can know: a person decides
)

func (d Direction) mirror() Direction {
	switch d {
	case Source:
		return Target
	case Target:
		return Source
	}
	return d
}

// Verdict is what two snapshots mean. It is the same decision on both ends: Compare(a, b) == Compare(b, a).Mirror().
type Verdict struct {
	// Rule names the row of the table that decided, equal on both ends; the numbers in rules.go are DRBD's.
	Rule      string
	Direction Direction
	// Wanted is the direction that the generations ask for when Direction is Refuse; else it equals Direction.
	Wanted Direction
	// Full: every block counts as different; otherwise the union of both bitmaps.
	Full bool
	// Checksum: blocks are compared by hash before they move.
	Checksum bool
	// WentBack: the target's disk presented an older mark than it had confirmed ("disk_went_back").
	WentBack bool
	// Bytes is an estimate of what a sync would look at.
	Bytes uint64
	// Reason is one sentence from this side's view.
	Reason string
}

// Mirror is the verdict as the other side sees it.
func (v Verdict) Mirror() Verdict {
	v.Direction, v.Wanted = v.Direction.mirror(), v.Wanted.mirror()
	v.Reason = reason(v)
	return v
}

// Comparison is the verdict in the words of the control API: equal, ahead, behind, diverged or refused. A refusal for the roles' sake still
// says who is ahead.
func (v Verdict) Comparison() string {
	switch v.Wanted {
	case None:
		return "equal"
	case Source:
		return "ahead"
	case Target:
		return "behind"
	case Diverged:
		return "diverged"
	}
	return "refused"
}
