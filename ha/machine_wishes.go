package ha

import (
	"slices"
	"time"
)

// leaveWord is how long a leaving node waits to hear that the other one serves, before it leaves without that word.
const leaveWord = 10 * time.Second

// answerWishes takes up what administrators asked for. What is done or refused at once is answered at once; what takes
// time is remembered and answered by finishWish.
func (t *turn) answerWishes() {
	for _, r := range t.f.Requests {
		if t.wish != nil && t.wish.Number == r.Number {
			continue
		}
		if t.f.Unstored && r.mustBeStored() {
			t.refuseWish(r, ReasonUnstored)
			continue
		}
		switch r.Kind {
		case WishArm, WishDisarm:
			t.armedAt = t.f.Now
			t.arm(r.Kind == WishArm, r.By)
			t.reply(r, true, false, ReasonDone)
		case WishActive:
			t.durable.Standby = false
			t.reply(r, true, false, ReasonDone)
		case WishStandby:
			t.wishStandby(r)
		case WishContinue:
			t.wishContinue(r)
		case WishTakeover:
			t.wishTakeover(r)
		case WishRelease:
			t.wishRelease(r)
		case WishLeave:
			t.wishLeave(r)
		}
	}
}

// mustBeStored says whether the wish is one that has to outlive the engine.
func (r AdminRequest) mustBeStored() bool {
	return slices.Contains([]AdminKind{WishArm, WishDisarm, WishStandby, WishActive}, r.Kind)
}

func (t *turn) reply(r AdminRequest, done, refused bool, code Reason) {
	t.p.Replies = append(t.p.Replies, Reply{Number: r.Number, Done: done, Refused: refused, Code: code, Text: code.Text()})
}

func (t *turn) refuseWish(r AdminRequest, code Reason) { t.reply(r, false, true, code) }

// await remembers a wish that has begun.
func (t *turn) await(r AdminRequest) {
	t.wish = &waiting{AdminRequest: r, until: t.f.Now.Add(askLimit)}
}

func (t *turn) wishStandby(r AdminRequest) {
	switch {
	case t.role == Promoting || t.role == Demoting || t.role == Failed:
		t.refuseWish(r, Reason(t.role))
	case t.role != Master:
		t.durable.Standby = true
		t.reply(r, true, false, ReasonDone)
	case t.releaseBlocker() != "":
		t.refuseWish(r, t.releaseBlocker())
	default:
		t.durable.Standby = true
		t.await(r)
		t.demote(ReasonStandby, hand{release: true}, Standby)
	}
}

// wishContinue is a person's word that the other copy may be left behind (volume continue NAME --confirm PEER).
func (t *turn) wishContinue(r AdminRequest) {
	if !t.serves() {
		t.refuseWish(r, ReasonNotMaster)
		return
	}
	for _, v := range t.f.Volumes {
		if v.Name != r.Volume {
			continue
		}
		if v.Connected {
			t.refuseWish(r, ReasonVolumeConnected)
			return
		}
		t.memory(v.Name).permit, t.memory(v.Name).session = ReasonPerson, v.Session
		t.note("volume.alone", Critical, "failover", r.By+": volume "+v.Name+" goes on alone.")
		t.reply(r, true, false, ReasonDone)
		return
	}
	t.refuseWish(r, ReasonNoSuchVolume)
}

// wishTakeover is "Make myself the running master" (A50): a switch-over if the peer serves, else an ordinary promotion; with Force this
// node starts with its own data although something newer may exist.
func (t *turn) wishTakeover(r AdminRequest) {
	switch {
	case t.role == Master:
		t.reply(r, true, false, ReasonAlreadyMaster)
		return
	case t.role == Promoting:
		t.await(r)
		return
	case t.role == Demoting || t.role == Failed || t.role == Standby:
		t.refuseWish(r, Reason(t.role))
		return
	case t.leaving:
		t.refuseWish(r, ReasonLeaving)
		return
	case t.f.Unstored:
		t.refuseWish(r, ReasonUnstored)
		return
	}
	switch why := t.wishBlocker(r.Force); {
	case why != "":
		t.refuseWish(r, why)
	case t.rival():
		t.askForRole()
		t.await(r)
	default:
		permit := Reason("")
		switch {
		case r.Force:
			permit = ReasonForced
		case t.gone():
			permit = t.peer.why
		}
		t.await(r)
		t.note("takeover.wish", Info, "failover", r.By+" makes this node the running master.")
		t.promote(wishReason(r.Force), permit, r.Force)
	}
}

func wishReason(force bool) Reason {
	if force {
		return ReasonForced
	}
	return ReasonAdministrator
}

// wishBlocker says why a person's takeover is refused now; empty = it can begin.
func (t *turn) wishBlocker(force bool) Reason {
	if t.beat != nil && !t.beat.EngineGone {
		switch t.beat.Role {
		case Master, Promoting:
			if force {
				return ReasonPeerMaster
			}
			if t.beat.Role == Promoting {
				return ReasonPeerMoving
			}
			return t.firstData(true)
		case Demoting:
			return ReasonPeerMoving
		case Failed:
			return ReasonPeerFailed
		}
	}
	if force {
		return t.forceBlocker()
	}
	if t.beat != nil {
		return t.firstData(true)
	}
	if !t.gone() && !t.f.NoVolumes {
		return ReasonDataUnproven
	}
	if !t.gone() {
		return ReasonPeerSilent
	}
	for _, b := range t.takeoverBlockers() {
		if b != ReasonDisarmed && b != ReasonInactive && b != ReasonPromoteFailed && b != ReasonCutOffLately {
			return b
		}
	}
	return ""
}

// firstData is the first reason of the volumes against a promotion with the peer's consent.
func (t *turn) firstData(connected bool) Reason {
	if b := t.dataBlockers(); len(b) > 0 {
		return b[0]
	}
	if connected && !t.connected() {
		return ReasonNoLicence
	}
	return ""
}

// forceBlocker says what even a person cannot force: data that are no whole set.
func (t *turn) forceBlocker() Reason {
	for _, v := range t.f.Volumes {
		switch {
		case !v.Running:
			return ReasonVolumeGone
		case v.Disk == Inconsistent:
			return ReasonDiskInconsistent
		case v.Disk == Diskless || v.Disk == DiskFailed:
			return ReasonDiskFailed
		}
	}
	return ""
}

// wishRelease is "Make myself the running slave" (A51), refused without a fit peer.
func (t *turn) wishRelease(r AdminRequest) {
	switch {
	case t.rival() && !t.serves():
		t.reply(r, true, false, ReasonPeerMaster)
	case t.role != Master:
		t.refuseWish(r, ReasonNotMaster)
	case t.releaseBlocker() != "":
		t.refuseWish(r, t.releaseBlocker())
	default:
		t.await(r)
		t.demote(ReasonSwitchOver, hand{release: true}, Slave)
	}
}

// wishLeave begins the orderly stop: a master hands over first if the peer is fit, else it only stops in order.
func (t *turn) wishLeave(r AdminRequest) {
	if t.leaving {
		return
	}
	if t.role == Promoting || t.role == Demoting {
		return // taken up when that has ended
	}
	t.leaving = true
	t.await(r)
	t.wish.until = t.f.Now.Add(askLimit + leaveWord)
	t.note("leave", Info, "failover", "This node is being stopped in order.")
	if t.role == Master {
		t.demote(ReasonLeaving, hand{release: t.releaseBlocker() == ""}, Slave)
	}
}

// leaveNow says whether the volumes leave now: this node no longer serves, and it has heard who does, or need not, or waited for long enough.
func (t *turn) leaveNow() bool {
	if !t.leaving || t.serves() || t.role == Demoting {
		return false
	}
	return t.release == nil || t.peerIsPrimary() || t.since(t.roleSince) >= leaveWord
}

// recordLeaving notes the volumes that leave in sync without the peer's word that it serves. The note entitles this node to nothing; it tells
// the peer (safety.md, ten more 3).
func (t *turn) recordLeaving() {
	for _, v := range t.f.Volumes {
		switch {
		case v.Connected && t.leaveNow() && v.Disk == UpToDate && !t.peerIsPrimary():
			if t.durable.LeftInSync == nil {
				t.durable.LeftInSync = map[string]Generation{}
			}
			t.durable.LeftInSync[v.Name] = v.Generation
		case v.Connected && !t.leaving:
			delete(t.durable.LeftInSync, v.Name)
		}
	}
}

// peerIsPrimary is the peer's word "primary, epoch N": it serves, and each of its volumes is Primary.
func (t *turn) peerIsPrimary() bool {
	if t.beat == nil || t.beat.Role != Master {
		return false
	}
	for _, v := range t.beat.Volumes {
		if v.Role != Primary {
			return false
		}
	}
	return true
}

// finishWish answers a wish that took time.
func (t *turn) finishWish() {
	t.recordLeaving()
	if t.ask != nil && t.f.Now >= t.ask.until {
		t.ask = nil
	}
	if t.wish == nil {
		return
	}
	done, failed := t.wishEnded()
	if !done && failed == "" {
		return
	}
	r := t.wish.AdminRequest
	t.wish = nil
	switch {
	case done:
		t.reply(r, true, false, ReasonDone)
	default:
		t.ask = nil
		t.reply(r, false, t.role != Promoting && failed != ReasonTimedOut && failed != ReasonPromoteFailed, failed)
	}
}

func (t *turn) wishEnded() (done bool, failed Reason) {
	late := t.f.Now >= t.wish.until
	switch t.wish.Kind {
	case WishTakeover:
		switch {
		case t.role == Master:
			return true, ""
		case t.role == Promoting:
			return false, ""
		case t.refusal() != "":
			return false, t.refusal()
		case t.ask != nil && t.role == Blocked: // whoever was asked is gone, and this node does not serve by itself: nor later, when nobody waits for it
			return false, t.reason
		case t.ask == nil && late:
			return false, ReasonTimedOut
		case t.ask == nil:
			return false, ReasonPromoteFailed
		}
	case WishRelease, WishStandby:
		switch {
		case t.role != Master && t.role != Demoting && (t.rival() && t.beat.Role == Master):
			return true, ""
		case t.role == Failed:
			return false, ReasonStopFailed
		case t.role == Master:
			return false, ReasonHandedBack
		}
	case WishLeave:
		if t.role == Failed {
			return false, ReasonStopFailed
		}
		if t.leaveNow() && (t.f.NoVolumes || t.allAway()) {
			return true, ""
		}
	}
	if late {
		return false, ReasonTimedOut
	}
	return false, ""
}

// allAway says whether no volume is connected any more.
func (t *turn) allAway() bool {
	for _, v := range t.f.Volumes {
		if v.Connected {
			return false
		}
	}
	return true
}

// refusal is the peer's reason for refusing our request for the role.
func (t *turn) refusal() Reason {
	if t.beat == nil || t.ask == nil {
		return ""
	}
	for _, a := range t.beat.Answers {
		if a.Kind == AskSwitchover && a.Number == t.ask.number && a.Boot == t.f.Boot && a.Result == AnsweredRefused {
			return a.Reason
		}
	}
	return ""
}
