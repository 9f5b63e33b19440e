package ha

import "time"

// settleTime is how long two nodes of which neither serves wait for their volumes to connect before the generation sets decide without that.
const settleTime = 3 * time.Second

// adopt decides what to do with what a starting engine found in force. Its own epoch of this boot: it goes on as Master, or finishes the
// promotion that was cut short (every step may be repeated). Anything else is undone. A sleep from before is not taken for settled: the engine
// may have been away in it.
func (t *turn) adopt() {
	found, d := t.f.Found, &t.durable
	mine := found.SameBoot && d.Serving && d.ServingBoot == t.f.Boot && d.Epoch.Node == t.f.Node
	holds := t.f.NoVolumes || found.Primary
	whole := holds && (len(t.f.Addresses) == 0 || found.Addresses) && (t.f.NoVolumes || found.Mounted)
	switch {
	case mine && whole:
		t.own = d.Epoch
		t.become(Master, ReasonAdopted)
		t.followVolumes() // takes over the permissions that stand
	case mine && holds:
		t.own = d.Epoch
		t.start(Procedure{Kind: ProcedurePromote, Epoch: t.own, Reason: ReasonAdopted})
		t.become(Promoting, ReasonAdopted)
		t.followVolumes()
	case found.Addresses || found.Mounted || found.Primary || found.Services:
		t.revokeThen(ReasonUndone, hand{}, Starting)
	default:
		d.Serving = false
	}
}

// standBy is the decision of a node that does not serve.
func (t *turn) standBy() {
	was := t.outdating
	t.outdating = false
	switch {
	case t.durable.Standby:
		t.become(Standby, ReasonStandby)
	case t.leaving:
		t.why(ReasonLeaving)
	case t.beat != nil:
		t.outdating = was
		t.withPeer()
	case t.gone():
		t.withoutPeer()
	default:
		t.alone()
	}
	if t.beat == nil {
		t.neitherSince, t.releaseSeen, t.inSync = 0, 0, 0
	}
}

// inStandby keeps the data rules; a takeover decision that falls into it is a "no".
func (t *turn) inStandby() {
	t.why(ReasonStandby)
	if !t.durable.Standby {
		t.become(Slave, ReasonAdministrator)
		return
	}
	if t.gone() && !t.peer.refused {
		t.refuse(ReasonStandby)
	}
	switch b := t.beat; {
	case b == nil:
	case b.Role == Master:
		t.followMaster()
	case b.Release != nil && t.back == nil: // a role that cannot be taken is handed back, or nobody serves
		e := b.Release.Epoch
		t.back = &e
	}
}

// followMaster forgets what was being said about a role that the peer now holds.
func (t *turn) followMaster() {
	t.back = nil
	if t.durable.Released.Less(t.beat.Epoch) {
		t.forgetRelease() // the role has gone over
	}
}

// withPeer decides when the peer is heard.
func (t *turn) withPeer() {
	b := t.beat
	if b.EngineGone {
		t.withoutPeersEngine()
		return
	}
	switch b.Role {
	case Master, Promoting:
		t.follow()
		return
	case Demoting:
		t.why(ReasonPeerMoving)
		if t.role != Slave {
			t.become(Slave, ReasonPeerMoving)
		}
		return
	case Failed:
		if t.role != Blocked {
			t.become(Blocked, ReasonPeerFailed)
		}
		t.why(ReasonPeerFailed)
		return
	}
	t.inSync = 0
	t.neither()
}

// follow stands by beside a serving peer.
func (t *turn) follow() {
	t.neitherSince, t.releaseSeen, t.outdating = 0, 0, false
	t.why(ReasonPeerMaster)
	if t.beat.Role == Master {
		t.followMaster()
	}
	if t.role != Slave {
		t.become(Slave, ReasonPeerMaster)
	}
	t.reason = ReasonPeerMaster
	t.failBack()
}

// neither decides when both live and neither serves, however that came.
func (t *turn) neither() {
	b := t.beat
	if t.neitherSince == 0 {
		t.neitherSince = t.f.Now
	}
	if older := b.Release != nil && t.release != nil && b.Release.Epoch.Less(t.release.Epoch); b.Release != nil && t.back == nil && !older {
		t.acquire(*b.Release)
		return
	}
	t.releaseSeen = 0
	if t.cutOff() {
		t.why(ReasonIsolated) // what would begin now would be revoked at once
		return
	}
	if b.HandedBack != nil && t.release != nil && !b.HandedBack.Less(t.durable.Released) {
		t.reclaim()
		return
	}
	if p := t.policyBlockers(); len(p) > 0 {
		t.settle(p[0])
		return
	}
	if t.peer.wasMaster && b.Boot != t.peer.masterBoot && t.f.Now >= t.retryAt {
		if blockers := t.dataBlockers(); len(blockers) == 0 {
			t.promote(ReasonPeerReset, ReasonPeerReset, false)
			return
		}
	}
	t.arbitrate()
}

// settle ends Starting, and gives the reason why this node does not serve although nobody does.
func (t *turn) settle(why Reason) {
	t.why(why)
	t.become(Blocked, why)
}

// arbitrate chooses between two living nodes: the side whose data are ahead; with equal data the last primary, else the
// configured master. Both nodes compute the same.
func (t *turn) arbitrate() {
	if t.release != nil {
		t.why(ReasonGivenAway)
		t.become(Slave, ReasonGivenAway)
		return
	}
	fit := t.f.Now >= t.retryAt
	peerFit := t.peerStands()
	switch t.compare() {
	case CompareDiverged:
		t.settle(ReasonSplitBrain)
	case CompareRefused:
		if why, ok := t.provenAlone(); ok && t.peerHasNoDisk() {
			t.startProven(why)
			return
		}
		t.settle(t.undecided())
	case CompareAhead:
		t.startIf(fit, ReasonDataAhead)
	case CompareBehind:
		if peerFit {
			t.yieldTo()
		} else {
			t.settle(ReasonPeerUnfit)
		}
	case CompareEqual:
		mine, why := t.preferred()
		switch {
		case peerFit && (!mine || !fit):
			t.yieldTo()
		default:
			t.startIf(fit, why)
		}
	default:
		t.p.AskSnapshots = true
		t.why(ReasonComparing)
		if t.since(t.f.EngineStarted) >= t.f.Settings.BootWait && t.since(t.neitherSince) > settleTime {
			t.become(Blocked, ReasonComparing)
		}
	}
}

// undecided says why the comparisons of the volumes name no source: one cannot be compared, or they contradict each other.
func (t *turn) undecided() Reason {
	for _, v := range t.f.Volumes {
		if t.compareVolume(v) == CompareRefused {
			return ReasonDataRefused
		}
	}
	return ReasonDataMixed
}

// peerStands says whether the peer, which does not serve, could.
func (t *turn) peerStands() bool {
	b := t.beat
	return (b.Role == Starting || b.Role == Slave || b.Role == Blocked) && b.Healthy && !b.Leaving && !b.EngineGone
}

// yieldTo waits for the peer to serve. Until it does the comparison is kept, or this node would ask itself the same again and again.
func (t *turn) yieldTo() {
	t.p.AskSnapshots = !t.connected()
	t.why(ReasonPeerPreferred)
	t.become(Slave, ReasonPeerPreferred)
}

// preferred says whether this node is the one to serve of two with equal data.
func (t *turn) preferred() (bool, Reason) {
	ours, theirs := 0, 0
	for _, v := range t.f.Volumes {
		s := t.said(v.Name)
		if v.LastPrimary {
			ours++
		}
		if s != nil && s.LastPrimary {
			theirs++
		}
	}
	if ours != theirs {
		return ours > theirs, ReasonLastPrimary
	}
	return t.f.Settings.Configured == MasterSide, ReasonConfiguredMaster
}

// startIf starts this node as the one that was chosen: connected, at once; else after the other copies have stored Outdated.
func (t *turn) startIf(fit bool, why Reason) {
	if !fit {
		t.settle(ReasonPromoteFailed)
		return
	}
	if t.connected() {
		for _, v := range t.f.Volumes {
			if v.PeerRole == Primary {
				t.why(ReasonPeerMoving)
				return
			}
		}
		t.promote(why, "", false)
		return
	}
	t.p.AskSnapshots = true
	t.why(ReasonOutdating)
	if t.since(t.neitherSince) < settleTime {
		return // give the replication a moment to connect: then nobody needs to be outdated
	}
	if t.outdateAll() {
		t.promote(why, ReasonPeerOutdated, t.mustForce())
	}
}

// outdateAll asks the peer to store Outdated for every volume that is not Connected; it says whether all have answered.
func (t *turn) outdateAll() bool {
	t.outdating = true
	all := true
	for _, v := range t.f.Volumes {
		m := t.memory(v.Name)
		if v.Connected || v.NeverHadPeer || t.answered(v, m) != "" {
			continue
		}
		all = false
		if v.Disk == Inconsistent || !v.Running {
			continue
		}
		// Under the highest epoch that is known, not under its own of an earlier office: a volume refuses a lower one for good.
		if r := m.request; r == nil || r.Generation != v.Generation || r.Session != v.Session || r.Epoch.Less(t.durable.Epoch) {
			t.request(v, m, t.durable.Epoch)
		}
	}
	return all
}

// mustForce says whether some disk does not call itself UpToDate although it is proven that nobody is newer.
func (t *turn) mustForce() bool {
	for _, v := range t.f.Volumes {
		if v.Disk != UpToDate {
			return true
		}
	}
	return false
}

// withoutPeer decides when the peer counts as dead: one takeover decision, afterwards what the record proves.
func (t *turn) withoutPeer() {
	switch {
	case !t.peer.refused:
		t.takeOver()
	case len(t.takeoverBlockers()) == 0:
		t.promote(t.peer.why, t.peer.why, false)
		return
	}
	if t.peer.refused {
		// With a volume the first "no" stays the reason that is shown: what follows from it (Consistent) explains less. A folder that was full is no reason any more.
		stale := t.role == Blocked && (t.f.NoVolumes || t.reason == ReasonUnstored)
		if all := t.takeoverBlockers(); len(all) > 0 && (t.role == Slave || stale) {
			t.become(Blocked, all[0])
		}
		t.alone()
	}
}

// alone is the start of a node that hears nobody: after the boot wait, and only if its own record proves that nobody can be newer.
func (t *turn) alone() {
	if t.role == Slave || t.peer.verdict == PeerAlive || t.peer.verdict == PeerSuspect || t.peer.verdict == PeerSick && !t.peer.ripe {
		return
	}
	if !t.f.Heart.Running { // nobody would hear this node serve, and nobody renew its addresses
		t.settle(ReasonHeartSilent)
		return
	}
	if t.since(t.f.EngineStarted) < t.f.Settings.BootWait {
		t.why(ReasonBootWait)
		if t.role != Blocked {
			t.reason = ReasonBootWait
		}
		return
	}
	why, ok := t.provenAlone()
	switch {
	case !ok && t.role == Blocked && t.peer.refused:
		t.why(why) // the takeover's "no" stays the reason that is shown
		return
	case !ok:
		t.settle(why)
		return
	}
	t.startProven(why)
}

// startProven starts on this node's own record.
func (t *turn) startProven(why Reason) {
	permit := Reason("")
	if why == ReasonRecordProves {
		permit = why
	}
	t.promote(why, permit, why == ReasonRecordProves && t.mustForce())
}

// peerHasNoDisk: by its own fresh word the peer has no disk for any of the volumes, so there is nothing to compare with.
func (t *turn) peerHasNoDisk() bool {
	for _, v := range t.f.Volumes {
		if s := t.said(v.Name); s == nil || s.Disk != Diskless && s.Disk != DiskFailed {
			return false
		}
	}
	return len(t.f.Volumes) > 0
}

// provenAlone says whether this node may start without having heard the other one, and why (not).
func (t *turn) provenAlone() (Reason, bool) {
	if p := t.policyBlockers(); len(p) > 0 {
		return p[0], false
	}
	if t.f.Now < t.retryAt {
		return ReasonPromoteFailed, false
	}
	if t.peer.hasFailed {
		return ReasonPeerFailed, false
	}
	if t.f.NoVolumes {
		if t.f.Now < t.secluded {
			return ReasonCutOffLately, false
		}
		if r := t.referenceBlocker(); r != "" {
			return r, false
		}
		return ReasonAloneNoVolume, true
	}
	why := ReasonNeverHadPeer
	for _, v := range t.f.Volumes {
		if v.NeverHadPeer && v.Running && v.Disk == UpToDate {
			continue
		}
		if r := t.unproven(v); r != "" {
			return r, false
		}
		why = ReasonRecordProves
	}
	return why, true
}

// unproven says why the record of a volume does not prove that nobody is newer: it does if this side was primary last, has sent no
// "released" since nor heard of a later epoch of the other's, and the other stored Outdated, or left in sync and was not heard since.
func (t *turn) unproven(v VolumeFact) Reason {
	switch {
	case !v.Running:
		return ReasonVolumeGone
	case v.SplitBrain:
		return ReasonSplitBrain
	case v.BlockedReason != "":
		return ReasonVolumeBlocked
	case v.Disk != UpToDate && v.Disk != Consistent:
		return diskBlocker(v.Disk)
	}
	record := v.PeerRecord == "outdated" || v.PeerRecord == "left_in_sync" && t.f.Other.Beat == nil
	overtaken := t.durable.Epoch.Node != t.f.Node // the other one held the role since, or tried to
	if v.LastPrimary && record && !overtaken && t.durable.Released == (Epoch{}) {
		return ""
	}
	return ReasonDataUnproven
}
