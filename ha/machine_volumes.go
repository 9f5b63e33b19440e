package ha

import (
	"slices"
	"time"
)

// said returns what the peer's newest fresh beat says of a volume; nil = nothing.
func (t *turn) said(name string) *VolumeSaying {
	if t.f.Other.Beat == nil {
		return nil
	}
	for i := range t.f.Other.Beat.Volumes {
		if t.f.Other.Beat.Volumes[i].Name == name {
			return &t.f.Other.Beat.Volumes[i]
		}
	}
	return nil
}

// followVolumes forgets what a new replication session has made void, and ends licences.
func (t *turn) followVolumes() {
	t.followOwnPromise()
	for _, v := range t.f.Volumes {
		m := t.memory(v.Name)
		t.followPromise(m, t.said(v.Name))
		together := v.Connected && t.peer.verdict == PeerAlive
		if t.meets(v) {
			m.endLicence, m.lapsed, m.sureAt = "", false, t.f.Other.FreshAt
		}
		if together || v.Session != m.session {
			m.permit, m.request, m.answer = "", nil, nil
			m.session = v.Session
		}
		if m.permit == "" && v.Permission != "" && !together && t.holdsPrimary() {
			m.permit = Reason(v.Permission)
		}
		if !t.holdsPrimary() {
			m.permit, m.seenPrimary, m.oddSince = "", false, 0
			if !t.outdating {
				m.request, m.answer = nil, nil
			}
		}
		t.endLicence(v, m)
	}
	if t.beat != nil && t.rival() {
		t.entitled = false
	}
	if t.role == Promoting && t.proc.Permit != "" && t.together() {
		p := *t.proc
		p.Permit = ""
		t.start(p)
	}
}

// together says whether some volume mirrors to a living peer.
func (t *turn) together() bool {
	return t.peer.verdict == PeerAlive && slices.ContainsFunc(t.f.Volumes, func(v VolumeFact) bool { return v.Connected })
}

// holdsPrimary says whether volumes are, or may still be, Primary here by right.
func (t *turn) holdsPrimary() bool {
	return t.serves() || t.role == Demoting && t.proc != nil && t.proc.Kind == ProcedureDemote
}

// endLicence ends a secondary's licence when its own loop slept, when the peer's promise ran out, or in a split-brain (30-decisions,
// "A secondary's UpToDate is a licence"). The first decision that is "no" ends it in refuse.
func (t *turn) endLicence(v VolumeFact, m *volumeMemory) {
	if t.meets(v) || m.endLicence != "" || t.holdsPrimary() || v.NeverHadPeer {
		return
	}
	switch {
	case v.SplitBrain:
		m.endLicence = ReasonSplitBrain
	case v.Vowed:
		m.endLicence = ReasonVowed
	case t.peer.slept > m.sureAt:
		m.endLicence = ReasonLicenceLate
	case t.promiseOver(m), m.lapsed, m.promised == 0 && t.gone() && !v.Connected: // a promise that nobody here remembers has run out
		m.endLicence = ReasonLicencePromise
	default:
		return
	}
	if v.Licence {
		t.note("licence.ended", Warning, "heartbeat", "Volume "+v.Name+" may not be promoted by itself any more: "+m.endLicence.Text())
	}
}

// endLicences is what a revoke does to the licences (30-decisions: "A revoke ends the revoked side's licence at once, unless permission 1
// stands"). A volume that was Primary ends its own; one whose promotion had not come so far learns it from here.
func (t *turn) endLicences(why Reason) {
	for _, v := range t.f.Volumes {
		m := t.memory(v.Name)
		if v.NeverHadPeer || v.Connected && t.peer.verdict == PeerAlive || peerStored(m.permit) || peerStored(Reason(v.Permission)) || m.endLicence != "" {
			continue
		}
		m.endLicence = why
	}
}

// peerStored says whether a permission is permission 1: the peer's own stored word that its copy is not the newest.
func peerStored(permit Reason) bool {
	for _, r := range answersPermit {
		if r == permit {
			return true
		}
	}
	return false
}

// followPromise keeps until when the peer acknowledges nothing alone. Each beat binds it from the moment it was sent, which lies after we sent the
// newest beat that it echoes: counted from there, less 5 % for the clocks, no beat promises too much, and so the furthest counts. A peer
// that no longer hears us says less with each beat, because it counts down: that takes nothing back. Only "for 0 ms" does: it was permitted.
func (t *turn) followPromise(m *volumeMemory, s *VolumeSaying) {
	sent := t.f.Other.EchoedSent
	if m.promised != 0 && sent > m.promised {
		m.lapsed = true // nothing bound it in between, when this node may have been asleep: the new word does not cover that
	}
	switch {
	case s == nil || sent == 0:
	case s.Promise == 0:
		m.promised = sent
	default:
		m.promised = max(m.promised, sent.Add(s.Promise/20*19))
	}
}

// meets says whether a volume is connected by both sides' word. Its own alone may be stale: a node that wakes has not noticed yet that the other one died, or
// started again, meanwhile.
func (t *turn) meets(v VolumeFact) bool {
	s := t.said(v.Name)
	return v.Connected && t.peer.verdict == PeerAlive && t.beat != nil && s != nil && s.Connected
}

// promiseOver says whether the peer may have begun to acknowledge alone. It is remembered here: a heart that was restarted knows of no beat.
func (t *turn) promiseOver(m *volumeMemory) bool { return m.promised != 0 && t.f.Now >= m.promised }

// dataBlocker says why this side of a volume may not be promoted by the ordinary rules; empty = it may.
func (t *turn) dataBlocker(v VolumeFact) Reason {
	m := t.memory(v.Name)
	switch {
	case !v.Running:
		return ReasonVolumeGone
	case v.SplitBrain:
		return ReasonSplitBrain
	case v.BlockedReason != "":
		return ReasonVolumeBlocked
	}
	if r := diskBlocker(v.Disk); r != "" {
		return r
	}
	switch {
	case v.NeverHadPeer, t.entitled, t.meets(v):
		return ""
	case m.endLicence != "":
		return m.endLicence
	case v.Connected && t.peer.verdict == PeerAlive, !v.Connected && !v.Licence:
		return ReasonNoLicence
	}
	return ""
}

// diskBlocker says why a disk in this state is not fit to be promoted; empty = UpToDate.
func diskBlocker(d Disk) Reason {
	switch d {
	case UpToDate:
		return ""
	case Inconsistent:
		return ReasonDiskInconsistent
	case Outdated:
		return ReasonDiskOutdated
	case Consistent:
		return ReasonDiskConsistent
	}
	return ReasonDiskFailed
}

// dataBlockers is dataBlocker over all volumes, each reason once, in the volumes' order.
func (t *turn) dataBlockers() []Reason {
	var all []Reason
	for _, v := range t.f.Volumes {
		if r := t.dataBlocker(v); r != "" {
			all = append(all, r)
		}
	}
	return all
}

// compare joins the comparisons of all volumes: ahead or behind only if no volume says the opposite. A volume that is
// Connected has been compared by its own handshake.
func (t *turn) compare() Comparison {
	sum := CompareEqual
	for _, v := range t.f.Volumes {
		c := t.compareVolume(v)
		switch {
		case c == CompareDiverged || sum == CompareDiverged:
			sum = CompareDiverged
		case c == CompareRefused || sum == CompareRefused:
			sum = CompareRefused
		case c == CompareUnknown || sum == CompareUnknown:
			sum = CompareUnknown
		case sum == CompareEqual:
			sum = c
		case c != CompareEqual && c != sum:
			sum = CompareRefused
		}
	}
	if t.f.NoVolumes {
		return CompareEqual
	}
	return sum
}

// compareVolume compares one volume's copies. A connection whose sides have not told each other yet what they settled says nothing: a peer disk
// that still shows as Consistent or Outdated there is a word from before the meeting, not one that is behind.
func (t *turn) compareVolume(v VolumeFact) Comparison {
	switch {
	case v.SplitBrain:
		return CompareDiverged
	case !v.Running:
		return CompareRefused
	case !v.Connected:
		return t.f.Other.Snapshots[v.Name]
	case v.Disk == UpToDate && v.PeerDisk == UpToDate:
		return CompareEqual
	case v.Disk == UpToDate && v.PeerDisk == Inconsistent:
		return CompareAhead
	case v.Disk == Inconsistent && v.PeerDisk == UpToDate:
		return CompareBehind
	}
	return CompareUnknown
}

// connected says whether every volume mirrors its writes.
func (t *turn) connected() bool {
	for _, v := range t.f.Volumes {
		if !v.Connected {
			return false
		}
	}
	return true
}

// followOwnPromise keeps the longest P that was said lately: a shorter time-out that takes effect takes back nothing of what was promised before.
func (t *turn) followOwnPromise() {
	p, b := t.f.Settings.Promise(), &t.bound
	if p >= b.longest || t.f.Now >= b.until {
		b.longest, b.until = p, t.f.Now.Add(p)
	}
}

// ownPromiseEnd is when this side's promise to acknowledge nothing alone has ended: P after the connection was lost, or P after the newest
// peer beat that we echoed came in, whichever is earlier.
func (t *turn) ownPromiseEnd(v VolumeFact) Instant {
	p := t.f.Settings.Promise()
	end, heard := v.LostAt, t.f.Other.FreshAt
	for _, l := range t.f.Heart.Links {
		heard = max(heard, l.HeardAt) // we echo each beat, fresh or not
	}
	if end == 0 || heard != 0 && heard < end {
		end = heard
	}
	if end = end.Add(p); t.bound.longest > p {
		end = max(end, t.bound.until)
	}
	return end
}

// promise is what the next beat promises of a volume.
func (t *turn) promise(v VolumeFact) time.Duration {
	p := t.f.Settings.Promise()
	m := t.memory(v.Name)
	switch {
	case v.NeverHadPeer, v.Permission != "", m.permit != "":
		return 0
	case v.Connected || !t.holdsPrimary():
		return p
	}
	return min(p, max(0, t.ownPromiseEnd(v).Sub(t.f.Now)))
}

// forget drops the notion of volumes that the settings no longer hold.
func (t *turn) forget() {
	for name := range t.volumes {
		known := false
		for _, v := range t.f.Volumes {
			known = known || v.Name == name
		}
		if !known {
			delete(t.volumes, name)
		}
	}
}
