package ha

import "time"

const (
	// askLimit bounds how long the peer may take to give the role away before the wish is answered with "timed out".
	askLimit = 45 * time.Second
	// stopRetry is the pause between two attempts to stop what could not be stopped.
	stopRetry = 10 * time.Second
	// movesPerHour is the flap limit (30-decisions, "Moving").
	movesPerHour = 3
)

// promote begins the promotion: the epoch is raised and stored, and a permission that the reason carries goes with it.
//
// None goes with it while a volume is connected to a living peer: that one counts on a promise then, and may act on it if the connection is lost before
// the volume is Primary.
func (t *turn) promote(why, permit Reason, force bool) {
	if t.together() {
		permit = ""
	}
	t.own = Epoch{Counter: t.durable.Epoch.Counter + 1, Node: t.f.Node}
	t.durable.Epoch = t.own
	t.durable.Serving, t.durable.ServingBoot = true, t.f.Boot
	t.durable.Released, t.durable.ReleasedTo = Epoch{}, 0
	t.forgetRelease()
	t.back, t.ask, t.inSync = nil, nil, 0
	t.releaseSeen, t.neitherSince, t.outdating, t.settledWake = 0, 0, false, t.peer.wake
	t.entitled, t.yielding, t.addressesOff = permit != "", false, false
	t.durable.Vouched = permit == ReasonForced && t.f.NoVolumes
	for _, v := range t.f.Volumes {
		*t.memory(v.Name) = volumeMemory{permit: permit, session: v.Session}
	}
	t.start(Procedure{Kind: ProcedurePromote, Epoch: t.own, Permit: string(permit), Force: force, Reason: why})
	t.become(Promoting, why)
}

// takeOver is the decision on a peer that counts as dead. It is made once per silence where a volume is concerned: a "no" ends the licence.
func (t *turn) takeOver() {
	blockers := t.takeoverBlockers()
	if len(blockers) == 0 {
		t.promote(t.peer.why, t.peer.why, false)
		return
	}
	t.why(blockers[0])
	if blockers[0] == ReasonReferenceLost && t.referencePending() && t.since(t.peer.deadAt) < t.d/4 {
		return // still open: the answers to the last questions are on their way
	}
	t.refuse(blockers[0])
}

// takeoverBlockers are the reasons against a takeover of a dead peer, the weightiest first.
func (t *turn) takeoverBlockers() []Reason {
	all := append(t.policyBlockers(), t.dataBlockers()...)
	if t.f.Now < t.retryAt {
		all = append(all, ReasonPromoteFailed)
	}
	if t.peer.hasFailed {
		all = append(all, ReasonPeerFailed)
	}
	if t.f.Now < t.secluded {
		all = append(all, ReasonCutOffLately)
	}
	if r := t.referenceBlocker(); r != "" {
		all = append(all, r)
	}
	return all
}

// policyBlockers keep this node from taking the role by itself whatever the data say: the wishes of people, and a record that cannot be kept, because a
// promotion begins with storing its epoch.
func (t *turn) policyBlockers() []Reason {
	var all []Reason
	if t.durable.Standby {
		all = append(all, ReasonStandby)
	}
	if t.leaving {
		all = append(all, ReasonLeaving)
	}
	if !t.durable.Armed {
		all = append(all, ReasonDisarmed)
	}
	if !t.f.Settings.Active {
		all = append(all, ReasonInactive)
	}
	if t.f.Unstored {
		all = append(all, ReasonUnstored)
	}
	return all
}

// refuse is the "no" of a takeover decision: every licence ends with it.
func (t *turn) refuse(why Reason) {
	t.peer.refused = true
	for _, v := range t.f.Volumes {
		if m := t.memory(v.Name); m.endLicence == "" && !v.NeverHadPeer {
			m.endLicence = why
		}
	}
	t.entitled = t.entitled && why == ReasonPromoteFailed
	if t.role == Slave {
		t.become(Blocked, why)
	}
}

// promoting watches the promotion.
func (t *turn) promoting() {
	if t.rival() && t.own.Less(t.beat.Epoch) {
		t.revoke(ReasonHigherEpoch)
		return
	}
	if t.unsure() {
		return
	}
	switch t.procedure() {
	case ProcedureDone:
		t.failures, t.retryAt = 0, 0
		t.become(Master, t.proc.Reason)
		t.proc = nil
	case ProcedureFailed:
		t.promotionFailed()
	case ProcedureRunning:
		if t.f.Procedure.Late && !t.stillEntitled() {
			t.revoke(ReasonWokeLate)
		}
	}
}

// stillEntitled asks again after a step that ended late: without a permission of its own a promotion that was begun before a sleep goes on
// only if the peer has been heard since, and does not serve.
func (t *turn) stillEntitled() bool {
	if t.rival() {
		return false
	}
	return t.proc.Permit != "" || t.peer.wake < Instant(t.proc.ID) || t.beat != nil && t.f.Other.Confirmed > t.peer.wake
}

// promotionFailed undoes what was begun and hands the role back; the next attempt waits longer each time, up to five minutes.
func (t *turn) promotionFailed() {
	t.backOff()
	t.note("promote.failed", Critical, "failover", "Promotion failed at "+t.f.Procedure.Step+": "+t.f.Procedure.Error)
	t.demote(ReasonPromoteFailed, hand{back: true}, Slave)
}

// backOff puts the next attempt off: 10 s after the first failure, twice as long after each further one, at most five minutes.
func (t *turn) backOff() {
	t.failures++
	t.retryAt = t.f.Now.Add(pauseAfter(t.failures))
}

// demote begins the orderly way down; h is what the peer is told at its end.
func (t *turn) demote(why Reason, h hand, after Role) {
	t.hand, t.after = h, after
	t.start(Procedure{Kind: ProcedureDemote, Epoch: t.own, Reason: why})
	t.become(Demoting, why)
}

// revoke takes everything off at once: volumes and addresses together, the rest behind them.
func (t *turn) revoke(why Reason) { t.revokeThen(why, hand{}, Slave) }

func (t *turn) revokeThen(why Reason, h hand, after Role) {
	t.endLicences(why)
	t.hand, t.after = h, after
	t.durable.Serving = false
	t.entitled, t.durable.Vouched = false, false
	t.start(Procedure{Kind: ProcedureRevoke, Epoch: t.own, Reason: why})
	t.note("revoked", Critical, "failover", "The role was taken off at once: "+why.Text())
	t.become(Demoting, why)
}

// demoting watches a demotion. An orderly one becomes a revoke when this node turns out to be cut off or replaced.
func (t *turn) demoting() {
	if t.proc.Kind == ProcedureDemote {
		if t.rival() && t.own.Less(t.beat.Epoch) {
			t.revoke(ReasonHigherEpoch)
			return
		}
		if t.unsure() {
			return
		}
	}
	switch t.procedure() {
	case ProcedureDone:
		t.demoted()
	case ProcedureFailed:
		t.durable.Serving = false
		t.stopAt = t.f.Now.Add(stopRetry)
		t.note("stop.failed", Critical, "failover", "Stopping failed at "+t.f.Procedure.Step+": "+t.f.Procedure.Error)
		t.become(Failed, ReasonStopFailed)
	}
}

// giveAway says "released". A parting word is not stored, and not said at all if the peer confirms us again already: it was for one that is not heard.
func (t *turn) giveAway() {
	release := &Release{Epoch: t.own, Request: t.hand.request, NoLone: t.hand.noLone}
	switch {
	case !t.hand.passing:
		t.release, t.parted = release, nil
		t.durable.Released, t.durable.ReleasedTo = t.own, t.hand.request
	case t.confirmedAge() > t.d/2:
		t.release, t.parted = release, &parting{since: t.f.Now, saidAt: t.f.Now}
	}
}

// forgetRelease ends what was said of the role that was given away.
func (t *turn) forgetRelease() { t.release, t.parted = nil, nil }

// demoted ends a demotion and says what was promised: released, or handed back.
func (t *turn) demoted() {
	t.durable.Serving = false
	if t.hand.release {
		t.entitled = false
		t.giveAway()
	}
	if t.hand.back {
		e := t.own
		t.back = &e
	}
	why := t.proc.Reason
	t.proc, t.hand, t.addressesOff, t.yielding = nil, hand{}, false, false
	t.become(t.after, why)
}

// inFailed tries the stop again; the peer starts nothing before it succeeded or this machine restarted.
func (t *turn) inFailed() {
	t.why(ReasonStopFailed)
	if t.f.Now >= t.stopAt {
		t.revokeThen(ReasonStopFailed, t.hand, Slave) // what was to be said at the end still is
	}
}

// flapLimited says whether as many automatic moves between two living nodes began here within the last hour as may be.
func (t *turn) flapLimited() bool {
	recent := 0
	for _, at := range t.durable.Moves {
		if t.f.Wall-at < 3600 {
			recent++
		}
	}
	return t.f.Wall != 0 && recent >= movesPerHour
}

// mayMove counts an automatic move between two living nodes; it says no at the flap limit.
func (t *turn) mayMove() bool {
	if t.f.Wall == 0 {
		return true
	}
	if t.flapLimited() {
		t.why(ReasonFlapLimit)
		return false
	}
	t.durable.Moves = append(t.durable.Moves, t.f.Wall)
	if n := len(t.durable.Moves); n > 8 {
		t.durable.Moves = t.durable.Moves[n-8:]
	}
	return true
}
