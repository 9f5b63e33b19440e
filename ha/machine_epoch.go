package ha

import "time"

// followEpoch stores the highest epoch of all copies and of the peer's beat. A serving node that meets a higher one from a peer that does
// not serve raises itself above it and goes on (30-decisions, "Epoch").
func (t *turn) followEpoch() {
	high := t.durable.Epoch
	for _, v := range t.f.Volumes {
		high = higher(high, v.Epoch)
	}
	if b := t.f.Other.Beat; b != nil {
		high = higher(high, b.Epoch)
	}
	t.durable.Epoch = high
	if !t.serves() || !t.own.Less(high) || t.rival() || t.replaced() {
		return
	}
	t.own = Epoch{Counter: high.Counter + 1, Node: t.f.Node}
	t.durable.Epoch = t.own
	t.note("epoch.raised", Info, "failover", "A higher epoch was heard of a node that does not serve; this one goes on under "+t.own.String()+".")
	if t.role == Promoting {
		p := *t.proc
		p.Epoch = t.own
		t.start(p)
	}
}

// replaced says whether a master that slept, and has not been confirmed since, meets a higher epoch: whoever raised it took the role
// meanwhile, whatever it is now. Without this the sleeper would raise itself, outdate the newer copy and go on with the older one.
func (t *turn) replaced() bool {
	return t.peer.wake > t.settledWake && t.beat != nil && t.own.Less(t.beat.Epoch) && !t.permitted()
}

func higher(e, f Epoch) Epoch {
	if e.Less(f) {
		return f
	}
	return e
}

// serves says whether this node holds the role or is taking it.
func (t *turn) serves() bool { return t.role == Master || t.role == Promoting }

// rival says whether a fresh beat says that the peer holds the role or is taking it.
func (t *turn) rival() bool {
	return t.beat != nil && !t.beat.EngineGone && (t.beat.Role == Master || t.beat.Role == Promoting)
}

// settleRival decides who stays when both serve: the side whose data are ahead, else the higher epoch. It says whether this node yielded.
//
// The node with the lower epoch yields at once unless it has acknowledged writes alone: then it might be the one that is ahead, so
// it takes its addresses off and waits for the comparison, at most for a second.
func (t *turn) settleRival() bool {
	if !t.rival() {
		t.rivalSince, t.yielding = 0, false
		return false
	}
	if t.rivalSince == 0 {
		t.rivalSince = t.f.Now
		t.note("both.masters", Critical, "failover", ReasonRivalServes.Text())
	}
	t.why(ReasonRivalServes)
	lower := t.own.Less(t.beat.Epoch)
	switch t.compare() {
	case CompareAhead:
		return false
	case CompareBehind:
		t.revoke(ReasonDataBehind)
		return true
	case CompareUnknown:
		if lower && t.loner() && t.since(t.rivalSince) < min(time.Second, t.d/2) {
			t.p.AskSnapshots = true
			t.yielding = true
			return false
		}
	}
	t.p.AskSnapshots = !t.f.NoVolumes
	if lower {
		t.revoke(ReasonHigherEpoch)
	}
	return lower
}

// loner says whether some volume here acknowledged writes alone since both copies were equal.
func (t *turn) loner() bool {
	for _, v := range t.f.Volumes {
		if v.Loner {
			return true
		}
	}
	return false
}
