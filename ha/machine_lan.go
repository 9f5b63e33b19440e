package ha

import (
	"slices"
	"time"
)

const (
	// reachAge is for how long an answer of a reference point lets a node say that it reaches the secure LAN: half a second longer than the
	// pause between two questions at leisure.
	reachAge = 1500 * time.Millisecond
	// reachSettled is when, after a loss, the other node's word on that is newer than the loss: its answers from before have aged, and its
	// engine has decided again.
	reachSettled = reachAge + 200*time.Millisecond
	// reachLimit is when the comparison gives up and the peer is asked to store Outdated as ever.
	reachLimit = 2 * reachAge
)

// reaches says whether a reference point, and so the secure LAN, answered a question that was asked since then.
func (t *turn) reaches(since Instant) bool {
	return slices.ContainsFunc(t.f.References, func(r ReferenceFact) bool { return r.State == ReferenceGood && r.AskedAt >= since })
}

// stranded says whether a master that lost a replication connection may have lost the secure LAN with it (a card, its driver, its switch), while
// the other node is heard over what is left, has the data and says that clients reach it. Then the role belongs there (safety.md 14). So the
// two are compared before the one copy that can serve is asked to store Outdated:
//
//	lost ------------------- 1.7 s ------------------------- 3 s
//	  own point answers: ask   the other still reaches it:     ask
//	                           hand over
func (t *turn) stranded(v VolumeFact) bool {
	lost := v.Running && v.Role == Primary && !v.Connected && v.LostAt != 0 && t.since(v.LostAt) < reachLimit
	return lost && len(t.f.References) > 0 && t.mayHandOver() && t.beat.Reaches && !t.reaches(v.LostAt)
}

// reachKnown says whether what the other node says of the secure LAN is newer than the loss.
func (t *turn) reachKnown(v VolumeFact) bool {
	return t.f.Other.EchoedSent >= v.LostAt.Add(reachSettled)
}

// comparesReach says whether some volume waits for that comparison.
func (t *turn) comparesReach() bool {
	return t.role == Master && slices.ContainsFunc(t.f.Volumes, t.stranded)
}
