package ha

// unsure is what a serving node does when the peer no longer confirms its beats (30-decisions, "Unsure"). With e the age of our newest
// beat that the peer confirmed:
//
//	0 ---------- D/2 ------------ 0.8 D ------------ D
//	  certain     hold, ask all     no good reference   the other side acts
//	              reference points  point: revoke       at the earliest
//
// It says whether the role was revoked. A permission that was given before ends the doubt.
func (t *turn) unsure() bool {
	if t.replaced() {
		t.revoke(ReasonHigherEpoch)
		return true
	}
	t.heedLateness()
	if t.permitted() {
		t.certainAt = t.f.Now
		return false
	}
	if !t.cutOff() {
		return false
	}
	t.seclude()
	t.revokeThen(ReasonIsolated, t.partingHand(), Slave)
	return true
}

// cutOff says whether this node, if it served without a permission, would have to take the role off now: nobody confirms its beats and no
// reference point answers. In Availability dead is enough, for both sides: who is cut off serves whom it reaches.
func (t *turn) cutOff() bool {
	return t.f.Settings.Mode != Availability && t.confirmedAge() > t.d/5*4 && len(t.f.References) > 0 && !t.referenceHeld() &&
		!t.nobodyMoves() && !t.asksFirst()
}

// partingHand is what a node that is cut off says when it has taken the role off: "released, no lone acknowledgement", if that is true. A node that hears
// nothing may still be heard: then the other one need not wait for the end of its beats, and its licence lasts for that long only. The word is
// not stored and stands only while the peer can take these beats for fresh: this node is entitled to nothing before it hears the peer again.
func (t *turn) partingHand() hand {
	for _, v := range t.f.Volumes {
		if v.Permission != "" || v.Loner || v.NeverHadPeer || t.memory(v.Name).permit != "" {
			return hand{}
		}
	}
	return hand{release: true, noLone: true, passing: true}
}

// endParting takes the parting word back:
//
//	revoke --said--> D of silence, or the peer confirms us again --recalled--> the peer confirms a later beat and does not serve: forgotten
//	                                                               \-------> 2 D of silence: forgotten
//
// It was for a peer that hears us while we do not hear it. One that was cut off as well is not to be given the role when both meet again: the last primary
// serves (60-lab, "all"). A peer that has acted on the word says so, but its heart confirms by itself: the beat counts as older by the age of what its
// engine says in it, and by D/4 for what that one had decided and was still storing.
func (t *turn) endParting() {
	p := t.parted
	if p == nil {
		return
	}
	silence := t.since(t.f.Other.FreshAt)
	p.recalled = p.recalled || silence >= t.d || t.f.Other.Confirmed > p.since
	heeded := t.beat != nil && !t.rival() && t.f.Other.Confirmed > p.saidAt.Add(t.d/4+t.beat.EngineAge)
	if silence >= 2*t.d || p.recalled && heeded {
		t.forgetRelease()
	}
}

// saysRelease says whether the beats carry the release.
func (t *turn) saysRelease() bool {
	return t.release != nil && !t.serves() && (t.parted == nil || !t.parted.recalled)
}

// asksFirst says whether a restarted engine has had no time yet to hear its reference points. Only where there are no data: with a volume a
// node that nobody confirms is revoked without waiting.
func (t *turn) asksFirst() bool { return t.f.NoVolumes && t.since(t.f.EngineStarted) < t.d/4 }

// nobodyMoves says whether both nodes are known to act on nothing by themselves: then a revoke would only end the service.
func (t *turn) nobodyMoves() bool {
	b := t.f.Other.Beat
	return !t.f.Settings.Active || !t.durable.Armed && b != nil && !b.Armed
}

// heedLateness keeps the virtual addresses off after an own sleep of D/2 or more until it is clear that nobody replaced this node: a fresh
// round trip, a permission from before, or, without a volume, a dead peer and no other machine that answers for the addresses.
func (t *turn) heedLateness() {
	wake := t.peer.wake
	if wake <= t.settledWake {
		t.addressesOff = false
		return
	}
	b := t.beat
	switch {
	case t.permitted():
	case b != nil && t.f.Other.Confirmed > wake && !t.rival() && !t.own.Less(b.Epoch):
	case t.f.NoVolumes && t.gone() && t.f.Other.AddressAt < wake:
	default:
		t.addressesOff = true
		t.why(ReasonWokeLate)
		return
	}
	t.settledWake, t.addressesOff = wake, false
}

// askEvery is how often the reference points are asked: every D/10 while a decision may need them, else at leisure (0).
func (t *turn) askEvery() bool {
	unsureMaster := t.serves() && !t.permitted() && t.confirmedAge() > t.d/2
	silent := t.peer.suspectAt != 0 && t.silence() >= t.d/2 && !t.settledSilence()
	woke := t.serves() && t.peer.wake > t.settledWake
	unheard := t.beat != nil && t.confirmedAge() > t.d/2 // it may be given the role
	return unsureMaster || unheard || silent || woke || t.peer.goneAt != 0 || t.comparesReach()
}

// settledSilence says whether the peer's silence has been decided upon so that no reference point changes it.
func (t *turn) settledSilence() bool {
	return t.serves() && t.permitted() || t.peer.refused && !t.f.NoVolumes
}
