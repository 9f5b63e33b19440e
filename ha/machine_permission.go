package ha

// answersPermit are the outdate answers that permit the asker to go on alone, and the reason that each becomes.
var answersPermit = map[AnswerResult]Reason{
	AnsweredOutdated:     ReasonPeerOutdated,
	AnsweredInconsistent: ReasonPeerInconsistent,
	AnsweredFailed:       ReasonPeerDiskFailed,
	AnsweredNoVolume:     ReasonPeerNoVolume,
}

// permit decides for each volume that is Primary and not Connected whether it may acknowledge alone (30-decisions, "Permissions"):
//
//	not Connected --> hold --1 the peer's stored answer, or its leaving--> permitted --Connected--> withdrawn
//	                   |  `--2 peer dead, own promise over, reference good->
//	                   +-- end of the hold: a condition and the action "go on alone"
func (t *turn) permit() {
	if !t.holdsPrimary() {
		return
	}
	for _, v := range t.f.Volumes {
		m := t.memory(v.Name)
		if v.Connected || v.NeverHadPeer || m.permit != "" {
			m.request = nil
			continue
		}
		if v.Role != Primary || !v.Running {
			continue
		}
		if r := t.permission(v, m); r != "" {
			m.permit, m.request = r, nil
			t.note("volume.alone", Warning, "heartbeat", "Volume "+v.Name+" acknowledges alone from now on: "+r.Text())
			continue
		}
		if m.request != nil || !t.stranded(v) {
			t.askOutdate(v, m)
		}
	}
}

// permission says for which reason lone acknowledgement may be permitted now; empty = none.
func (t *turn) permission(v VolumeFact, m *volumeMemory) Reason {
	if v.Disk != UpToDate {
		return ""
	}
	if r := t.answered(v, m); r != "" {
		return r
	}
	switch {
	case v.PeerRecord == "outdated":
		return ReasonPeerOutdated
	case v.PeerRecord == "left_in_sync" && (t.beat == nil || t.beat.Leaving):
		return ReasonPeerLeft
	case t.sleptPastD():
		t.why(ReasonWokeLate)
	case t.gone() && t.f.Settings.Mode == Evidence && t.f.Now >= t.ownPromiseEnd(v) && t.referenceGood():
		return ReasonPeerDead
	}
	return ""
}

// sleptPastD says whether this node was asleep for so long that the peer may have taken over meanwhile, and has not been heard since: then its
// present silence proves nothing (it may be cut off now, after it went on alone). Only its stored answer or a person permits then.
func (t *turn) sleptPastD() bool {
	wake, confirmed := t.peer.wake, t.peer.confirmed
	return wake != 0 && confirmed < wake && wake.Sub(confirmed) >= t.d
}

// answered looks for the peer's answer to the request that stands. It counts only if number, boot, generation and session are current. It is remembered:
// the peer repeats it only as long as it is asked, and another volume's may come later.
func (t *turn) answered(v VolumeFact, m *volumeMemory) Reason {
	if t.beat == nil || m.request == nil {
		return ""
	}
	if m.answer != nil && m.request.Session == v.Session && m.request.Generation == v.Generation {
		return answersPermit[m.answer.Result]
	}
	for _, a := range t.beat.Answers {
		if a.Kind != AskOutdate || a.Volume != v.Name || a.Number != m.request.Number || a.Boot != t.f.Boot {
			continue
		}
		r, permits := answersPermit[a.Result]
		noVolume := a.Result == AnsweredNoVolume
		if permits && (noVolume || a.Generation == m.request.Generation && a.Session == m.request.Session) && m.request.Session == v.Session {
			m.answer = &a
			return r
		}
	}
	return ""
}

// askOutdate puts the request into our beats: it stands there until it is answered or void. Only a primary whose own disk is UpToDate may ask.
func (t *turn) askOutdate(v VolumeFact, m *volumeMemory) {
	if v.Disk != UpToDate || v.SplitBrain {
		m.request = nil
		return
	}
	if m.request != nil && m.request.Generation == v.Generation && m.request.Session == v.Session {
		return
	}
	t.request(v, m, t.own)
}

// request makes a new request for the peer's Outdated, under an epoch.
func (t *turn) request(v VolumeFact, m *volumeMemory, under Epoch) {
	m.answer = nil
	m.request = &Request{
		Number: t.number(), Kind: AskOutdate, Volume: v.Name,
		Generation: v.Generation, Session: v.Session, Epoch: under,
	}
}

// permitted says whether every volume that is not Connected may go on alone, and there is one: then being unsure changes nothing.
func (t *turn) permitted() bool {
	any := t.durable.Vouched && t.f.NoVolumes
	for _, v := range t.f.Volumes {
		if v.Connected && t.peer.verdict == PeerAlive || v.NeverHadPeer {
			any = any || v.NeverHadPeer
			continue
		}
		if t.memory(v.Name).permit == "" {
			return false
		}
		any = true
	}
	return any
}

// answer deals with the peer's requests for an outdated copy: this side's volume answers, and the answer stands in our beats as long as
// the request is heard. A node that serves refuses.
//
// The volume stores Outdated only for an asker that hears this node: its answer would be of no use to a deaf one, which revokes itself, and then
// the copy that could serve would have given itself up for nothing.
func (t *turn) answer(r Request) (wish *Request, answer *Answer) {
	a := Answer{Number: r.Number, Boot: t.beat.Boot, Kind: r.Kind, Volume: r.Volume, Generation: r.Generation, Session: r.Session, Epoch: t.durable.Epoch}
	for _, v := range t.f.Volumes {
		if v.Name != r.Volume {
			continue
		}
		for i := range v.AnsweredNow {
			if got := v.AnsweredNow[i]; got.answers(r, t.beat.Boot) {
				return nil, &got
			}
		}
		if t.serves() || t.role == Demoting || t.aheadOf(v, r) {
			a.Result, a.Reason = AnsweredRefused, Reason(t.role)
			return nil, &a
		}
		if !t.askerHears(r) || v.Connected && v.Session > r.Session {
			return nil, nil // it cannot hear the answer, or has asked for an earlier loss: both have met since
		}
		return &r, nil
	}
	return nil, nil // no such volume here: the engine stores the vow before it says so
}

// askerHears says whether the peer has confirmed a beat that was sent after its request was heard first.
func (t *turn) askerHears(r Request) bool {
	m := t.memory(r.Volume)
	if now := (asked{r.Number, t.beat.Boot}); m.asked != now {
		m.asked, m.askedAt = now, t.f.Now
	}
	return t.f.Other.Confirmed > m.askedAt
}

// aheadOf says whether the peer asks for a copy to be outdated that has writes which were acknowledged here alone and are not in the asker's
// generation, or, not serving, for one that the comparison calls the newer.
func (t *turn) aheadOf(v VolumeFact, r Request) bool {
	if v.Loner && v.Generation != r.Generation {
		return true
	}
	return !t.rival() && !v.Connected && (t.f.Other.Snapshots[v.Name] == CompareAhead || t.f.Other.Snapshots[v.Name] == CompareDiverged)
}
