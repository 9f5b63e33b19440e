package ha

import "time"

// failbackDelay is how long the configured master stands by in sync before it asks for the role, if failback is on.
const failbackDelay = time.Minute

// acquire takes the role that the peer has given away. What cannot be done within D is handed back, so that somebody serves.
func (t *turn) acquire(r Release) {
	if t.releaseSeen == 0 {
		t.releaseSeen = t.f.Now
	}
	why := ReasonReleased
	if t.ask != nil && r.Request == t.ask.number {
		why = ReasonSwitchOver
	}
	permit, blocker := t.releaseSuffices(r)
	switch {
	case blocker != "":
	case r.NoLone && t.peerHeardFor() < t.d:
		blocker = ReasonPeerMoving // perhaps said into a silence that both were in: the sender takes it back now
		t.releaseSeen = t.f.Now    // nothing is handed back for that
	case t.cutOff():
		blocker = ReasonIsolated // it would be revoked at once, again and again, or serve where nobody is
	case t.f.Unstored:
		blocker = ReasonUnstored
	}
	switch {
	case blocker == "" && t.f.Now >= t.retryAt:
		t.promote(why, permit, false)
		return
	case blocker == "":
		blocker = ReasonPromoteFailed
	}
	t.why(blocker)
	if t.since(t.releaseSeen) >= max(t.d, 2*time.Second) {
		e := r.Epoch
		t.back = &e
		t.settle(blocker)
	}
}

// releaseSuffices says whether the peer's word is enough to be promoted on, and which permission it carries: an ordinary "released" none,
// one without lone acknowledgements its own.
func (t *turn) releaseSuffices(r Release) (permit, blocker Reason) {
	for _, v := range t.f.Volumes {
		if b := t.dataBlocker(v); b != "" {
			return "", b
		}
		switch {
		case v.Connected && v.PeerRole == Primary:
			return "", ReasonPeerMoving
		case !v.Connected && r.NoLone:
			if s := t.said(v.Name); s == nil || s.Generation != v.Generation {
				return "", ReasonDataUnproven
			}
			permit = ReasonReleasedNoLone
		}
	}
	return permit, ""
}

// reclaim takes back what the peer handed back.
func (t *turn) reclaim() {
	if b := t.dataBlockers(); len(b) > 0 {
		t.forgetRelease()
		t.settle(b[0])
		return
	}
	switch {
	case t.f.Unstored:
		t.settle(ReasonUnstored)
	case t.f.Now < t.retryAt:
		t.settle(ReasonPromoteFailed)
	default:
		t.promote(ReasonHandedBack, "", false)
	}
}

// withoutPeersEngine decides when the peer's beats say that its engine is gone: its volumes have revoked themselves and its addresses lapse.
func (t *turn) withoutPeersEngine() {
	t.why(ReasonEngineGone)
	secondary := !t.f.NoVolumes
	for _, v := range t.f.Volumes {
		secondary = secondary && v.Connected && v.PeerRole == Secondary && v.Disk == UpToDate
	}
	if p := t.policyBlockers(); len(p) > 0 || t.f.Now < t.retryAt {
		return
	}
	if secondary {
		t.promote(ReasonEngineGone, "", false)
		return
	}
	ripe := t.since(t.peer.goneAt) >= t.d && t.peer.roundAt >= t.peer.goneAt && t.f.Other.AddressAt < t.peer.roundAt
	if ripe && len(t.takeoverBlockers()) == 0 {
		t.promote(ReasonEngineGone, ReasonEngineGone, false)
	}
}

// failBack asks for the role if this node is the configured master and has been in sync for the delay (option, off by default).
func (t *turn) failBack() {
	s := t.f.Settings
	ready := s.Failback && s.Configured == MasterSide && t.beat.Role == Master && t.connected() &&
		len(t.policyBlockers()) == 0 && len(t.dataBlockers()) == 0 && t.f.Now >= t.retryAt && t.ask == nil
	if !ready {
		t.inSync = 0
		return
	}
	if t.inSync == 0 {
		t.inSync = t.f.Now
	}
	if t.since(t.inSync) >= failbackDelay && t.mayMove() {
		t.askForRole()
		t.note("failback", Info, "failover", ReasonFailback.Text())
	}
}

// askForRole puts the request for the role into our beats.
func (t *turn) askForRole() {
	t.ask = &asking{number: t.number(), until: t.f.Now.Add(askLimit)}
}

// serving is the decision of the master.
func (t *turn) serving() {
	if t.settleRival() || t.unsure() || t.overtaken() || t.careForVolumes() {
		return
	}
	if t.beat == nil {
		return
	}
	if t.durable.Standby && t.releaseBlocker() == "" { // the engine was restarted on the way to standby: the wish is stored
		t.demote(ReasonStandby, hand{release: true}, Standby)
		return
	}
	for _, r := range t.beat.Requests {
		if r.Kind == AskSwitchover && t.releaseBlocker() == "" {
			t.demote(ReasonSwitchOver, hand{release: true, request: r.Number}, Slave)
			return
		}
	}
}

// overtaken says whether a master that holds, beside a living peer that serves nothing, has yielded because that one's copy is the newer: it was
// started meanwhile, by a person perhaps, and its epoch alone does not say so. Both epochs being what they are, the generations decide.
func (t *turn) overtaken() bool {
	if t.beat == nil || t.rival() || t.f.NoVolumes || t.connected() || t.permitted() {
		return false
	}
	t.p.AskSnapshots = true
	if t.compare() != CompareBehind {
		return false
	}
	t.revoke(ReasonDataBehind)
	return true
}

// releaseBlocker says why the role cannot be given to the peer in order; empty = it can.
func (t *turn) releaseBlocker() Reason {
	b := t.beat
	switch {
	case t.f.Unstored:
		return ReasonUnstored
	case b == nil:
		return ReasonPeerSilent
	case !t.peerStands() || b.EngineAge >= engineQuiet || t.confirmedAge() > t.d/2:
		return ReasonPeerUnfit
	}
	for _, v := range t.f.Volumes {
		switch {
		case v.SplitBrain:
			return ReasonSplitBrain
		case !v.Connected || v.PeerDisk != UpToDate:
			return ReasonPeerUnfit
		}
	}
	return ""
}

// careForVolumes deals with volumes that fail under a master: hand over to a peer that has the data, or recover in place. It says
// whether the role was given up.
func (t *turn) careForVolumes() bool {
	if t.proc != nil && t.proc.Kind == ProcedureRecover {
		return t.recovering()
	}
	for _, v := range t.f.Volumes {
		m := t.memory(v.Name)
		if v.Running && v.Role == Primary {
			m.seenPrimary, m.oddSince = true, 0
		} else if m.oddSince == 0 {
			m.oddSince = t.f.Now
		}
		dead := v.Running && (v.Disk == Diskless || v.Disk == DiskFailed)
		away := !v.Running && t.since(m.oddSince) >= time.Second
		switch {
		case dead || away:
			t.why(ReasonVolumeGone)
			if t.handOver(ReasonVolumeGone) {
				return true
			}
		case t.stranded(v):
			t.why(ReasonLANCompared)
			if t.reachKnown(v) && t.handOver(ReasonLANGone) {
				return true
			}
		case v.Holding && t.since(v.HoldingSince) >= t.f.Settings.Hold && t.peerHadTime():
			if t.handOver(ReasonHoldEnded) {
				return true
			}
		case m.oddSince != 0 && v.Running && (m.seenPrimary || v.Mounted && t.since(m.oddSince) >= 2*time.Second) && t.f.Now >= t.retryAt:
			return t.recover(v, m) // one that is new in the settings was never in use: the engine adds it to the others
		}
	}
	return false
}

// peerHadTime says whether the peer's engine has been heard for long enough to answer a request that stands in our beats: one that comes
// back at the end of a hold answers first, and then nothing needs to move.
func (t *turn) peerHadTime() bool {
	return t.peerHeardFor() >= time.Second
}

// peerHeardFor is how long the peer's engine has been heard over the links without a gap; 0 = it is not.
func (t *turn) peerHeardFor() time.Duration {
	if t.peer.engineAt == 0 {
		return 0
	}
	return t.since(t.peer.engineAt)
}

// recover puts a volume back into use whose process died under the mount and came back. It waits a moment for the volume to know by its
// handshake what its copy is worth; after that a peer with the data is the better place.
func (t *turn) recover(v VolumeFact, m *volumeMemory) bool {
	if usable := v.Disk == UpToDate && v.Connected || m.permit != "" || v.NeverHadPeer; !usable {
		if t.sleptPastD() { // the peer may have been promoted meanwhile: ours may be the older copy
			t.why(ReasonWokeLate)
			return false
		}
		if t.since(m.oddSince) < settleTime {
			t.why(ReasonVolumeDied)
			return false
		}
		if t.handOver(ReasonVolumeGone) {
			return true
		}
	}
	t.note("volume.recover", Warning, "failover", "The process of volume "+v.Name+" died and came back; it is put into use again.")
	t.start(Procedure{
		Kind: ProcedureRecover, Epoch: t.own, Permit: string(m.permit),
		Force: m.permit != "" && v.Disk == Consistent, Reason: ReasonVolumeDied,
	})
	return false
}

// recovering watches a recovery; one that failed goes to the peer, or is tried again after a pause.
func (t *turn) recovering() bool {
	switch t.procedure() {
	case ProcedureDone:
		t.failures, t.proc = 0, nil
		t.note("volume.recovered", Info, "failover", ReasonRecovered.Text())
		for _, v := range t.f.Volumes {
			t.memory(v.Name).seenPrimary, t.memory(v.Name).oddSince = false, 0
		}
	case ProcedureFailed:
		t.note("volume.recover.failed", Critical, "failover", "The volume could not be put into use at "+t.f.Procedure.Step+": "+t.f.Procedure.Error)
		t.proc = nil
		gone := t.handOver(ReasonVolumeGone)
		t.backOff()
		return gone
	}
	return false
}

// handOver gives the role to a peer whose copies are complete, although ours may not be reachable: revoke, then "released, no lone
// acknowledgement".
func (t *turn) handOver(why Reason) bool {
	if !t.mayHandOver() || !t.mayMove() {
		return false
	}
	t.revokeThen(why, hand{release: true, noLone: true}, Slave)
	return true
}

// mayHandOver says whether the peer is heard, hears us, could serve, and has all that was acknowledged.
func (t *turn) mayHandOver() bool {
	if t.beat == nil || !t.peerStands() || t.confirmedAge() > t.d/2 || len(t.policyBlockers()) > 0 {
		return false
	}
	for _, v := range t.f.Volumes {
		s := t.said(v.Name)
		if s == nil || s.Disk != UpToDate || v.Permission != "" || v.Loner || t.memory(v.Name).permit != "" || v.NeverHadPeer {
			return false
		}
	}
	return true
}
