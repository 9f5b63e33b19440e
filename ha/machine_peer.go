package ha

import (
	"slices"
	"time"
)

// hear takes in what the peer's newest beat tells, before anything is decided.
func (t *turn) hear() {
	h := t.f.Heart
	t.peer.confirmed = max(t.peer.confirmed, t.f.Other.Confirmed)
	if h.Late >= t.d/2 && h.WokeAt > t.peer.wake {
		t.peer.wake = h.WokeAt
		t.note("late", Warning, "failover", "This node was asleep for "+h.Late.Round(time.Millisecond).String()+"; the other node's time-out starts again.")
	}
	if h.Late >= t.d && h.WokeAt > t.peer.slept {
		t.peer.slept = h.WokeAt
	}
	t.heedHeartsGap()
	t.noteLinks()
}

// heedHeartsGap takes the gap that a restarted heart leaves for a sleep, if it is as long as one: to the other node it is the same, and whether the
// whole machine slept in it nobody here knows.
func (t *turn) heedHeartsGap() {
	since, confirmed := t.f.Heart.Since, t.peer.confirmed
	if !t.f.Heart.Running || since <= t.peer.heart {
		return
	}
	restarted := t.peer.heart != 0
	t.peer.heart = since
	if restarted && confirmed != 0 && since.Sub(confirmed) >= t.d/2 && since > t.peer.wake {
		t.peer.wake = since
		if since.Sub(confirmed) >= t.d {
			t.peer.slept = since
		}
		t.note("late", Warning, "failover", "This node's heart was away for "+since.Sub(confirmed).Round(time.Millisecond).String()+"; the other node's time-out starts again.")
	}
}

// noteLinks says once when a link becomes quiet or is heard again.
func (t *turn) noteLinks() {
	for _, l := range t.f.Heart.Links {
		was, known := t.links[l.Name]
		t.links[l.Name] = l.State
		switch {
		case !known || was == l.State:
		case l.State == LinkQuiet:
			t.note("link.quiet", Warning, "heartbeat", "Nothing fresh is heard over "+l.Name+".")
		case l.State == LinkUp:
			t.note("link.up", Info, "heartbeat", "The other node is heard over "+l.Name+".")
		}
	}
}

// judge gives the verdict on the peer (30-decisions, "Alive, suspect, sick, dead, unknown"):
//
//	      a link is up, or a volume acknowledged          no heart, young heart, never heard
//	alive <------------------------------------ suspect   unknown
//	                                             |   |
//	                   only its kernel answers   v   v   D of silence and a whole round unanswered
//	                                           sick  dead
func (t *turn) judge() {
	was := t.peer.verdict
	if o := t.f.Other; o.ProbeEnded >= o.ProbeBegan {
		t.peer.roundAt = o.ProbeBegan
	}
	verdict, why := t.verdict()
	t.peer.verdict, t.peer.why = verdict, why
	switch {
	case why == ReasonLinksFailed: // the silence of the links goes on: what the reference points answered in it still counts
		t.peer.deadAt, t.peer.ripe, t.peer.refused = 0, false, false
	case verdict == PeerAlive || why == ReasonNeverHeard:
		t.peer.suspectAt, t.peer.deadAt, t.peer.ripe, t.peer.refused = 0, 0, false, false
	case verdict == PeerUnknown: // a gap in our hearing ends no silence, but nothing is decided in it
		t.peer.deadAt, t.peer.ripe = 0, false
	case verdict == PeerDead || t.peer.ripe:
		if t.peer.deadAt == 0 {
			t.peer.deadAt = t.f.Now
		}
	default:
		t.peer.deadAt = 0
	}
	if verdict != PeerAlive || why == ReasonLinksFailed || t.f.Other.Beat == nil || t.f.Other.Beat.EngineAge >= engineQuiet {
		t.peer.engineAt = 0
	}
	if t.f.Other.Beat != nil && verdict == PeerAlive && why != ReasonLinksFailed {
		t.beat = t.f.Other.Beat
		t.rememberBeat()
	}
	if was != verdict {
		severity := Info
		if verdict == PeerDead || verdict == PeerSick {
			severity = Critical
		}
		text := why.Text()
		if why != ReasonPeerAlive { // its text says it already
			text = "The other node is " + string(verdict) + ": " + text
		}
		t.note("peer."+string(verdict), severity, "heartbeat", text)
	}
	t.why(why)
	t.rejoin()
	t.probeAgain()
}

// rememberBeat keeps what a later decision needs of a fresh beat.
func (t *turn) rememberBeat() {
	b := t.beat
	t.durable.Vouched = false
	t.followArming()
	if b.Role == Master || b.Role == Promoting {
		t.peer.masterBoot, t.peer.wasMaster = b.Boot, true
	}
	if b.Role == Failed {
		t.peer.hasFailed = true
	} else {
		t.peer.hasFailed = false
	}
	if t.peer.engineAt == 0 && b.EngineAge < engineQuiet {
		t.peer.engineAt = t.f.Now
	}
	if !b.EngineGone {
		t.peer.goneAt = 0
	} else if t.peer.goneAt == 0 {
		t.peer.goneAt = t.f.Now
	}
}

// verdict is judge without its memory of the end; it keeps the beginning of the silence and the newest complete probe round.
func (t *turn) verdict() (PeerVerdict, Reason) {
	h, o := t.f.Heart, t.f.Other
	if !h.Running || !h.Heartbeats {
		return PeerUnknown, ReasonHeartSilent
	}
	if slices.ContainsFunc(h.Links, func(l LinkFact) bool { return l.State == LinkUp }) {
		return PeerAlive, ReasonPeerAlive
	}
	if !h.EverHeard {
		return PeerUnknown, ReasonNeverHeard
	}
	// The silence begins here even for a young heart, which may not judge it yet: a master must know its reference points in time.
	if t.peer.suspectAt == 0 || t.peer.suspectAt < t.peer.wake {
		t.peer.suspectAt = t.f.Now
		t.peer.ripe = false
	}
	if t.since(h.Since) < t.d {
		return PeerUnknown, ReasonHeartYoung
	}
	if o.VolumeAckAt >= t.peer.suspectAt && t.since(o.VolumeAckAt) < t.d {
		return PeerAlive, ReasonLinksFailed
	}
	return t.silent()
}

// silent tells suspect, sick and dead apart by the probe rounds.
func (t *turn) silent() (PeerVerdict, Reason) {
	o := t.f.Other
	if t.peer.roundAt == 0 || t.peer.roundAt < t.peer.suspectAt {
		return PeerSuspect, ReasonProbing
	}
	ripe := t.silence() >= t.d
	if o.KernelAt >= t.peer.roundAt {
		t.peer.ripe = ripe && o.AddressAt < t.peer.roundAt && t.f.Settings.Mode == Evidence
		if t.peer.ripe {
			return PeerSick, ReasonSickRipe
		}
		return PeerSick, ReasonPeerSick
	}
	t.peer.ripe = false
	if ripe {
		return PeerDead, ReasonPeerDead
	}
	return PeerSuspect, ReasonProbing
}

// silence is the time since the newest sign of the peer's programs; an own lateness and heart's start begin it anew.
func (t *turn) silence() time.Duration {
	o := t.f.Other
	life := max(o.FreshAt, t.f.Heart.Since, t.peer.wake)
	if o.VolumeAckAt >= t.peer.suspectAt {
		life = max(life, o.VolumeAckAt)
	}
	return t.since(life)
}

// gone says that the peer counts as dead: dead, or sick for long enough without an address.
func (t *turn) gone() bool { return t.peer.verdict == PeerDead || t.peer.ripe }

// probeAgain asks for a probe round when the silence begins, and for the next one a while after each that ended.
func (t *turn) probeAgain() {
	needed := t.peer.suspectAt != 0 || t.peer.goneAt != 0
	if !needed {
		return
	}
	began, ended := t.f.Other.ProbeBegan, t.f.Other.ProbeEnded
	begin := max(t.peer.suspectAt, t.peer.goneAt)
	pause := t.d / 10
	if t.since(begin) > 2*t.d {
		pause = time.Second
	}
	switch {
	case t.peer.probe == 0 || t.peer.probeFor != begin:
		t.peer.probeFor = begin
		t.peer.probe++
	case began >= begin && ended >= began && t.since(ended) >= pause && began >= t.peer.probeAt:
		t.peer.probe++
	default:
		return
	}
	t.peer.probeAt = t.f.Now
}

// confirmedAge is e: the age of our newest beat that the peer confirmed. After an own lateness it counts from the waking, and after a
// permission has been withdrawn from then: as long as it stood, the peer could not have acted.
func (t *turn) confirmedAge() time.Duration {
	return t.since(max(t.peer.confirmed, t.peer.wake, t.certainAt))
}

// armingSettles is how long a person's word on the arming here is not overruled by one on the other node: pressed on both at once, each keeps
// its own, and a condition names the difference.
const armingSettles = 2 * time.Second

// followArming takes over what was done on the other node: arming and disarming are meant for the pair. Only a change that is heard while
// both live is followed; a node that returns with an older state changes nothing here.
func (t *turn) followArming() {
	if t.f.Unstored {
		return // taken up when it can be kept
	}
	b := t.beat
	changed := t.peer.armedBoot == b.Boot && t.peer.armed != b.Armed
	t.peer.armed, t.peer.armedBoot = b.Armed, b.Boot
	if changed && b.Armed != t.durable.Armed && t.since(t.armedAt) >= armingSettles {
		t.arm(b.Armed, "On the other node")
	}
}

// arm switches the arming of this node.
func (t *turn) arm(on bool, by string) {
	word := map[bool]string{true: "armed", false: "disarmed"}[on]
	t.durable.Armed = on
	t.note(word, Info, "failover", by+": the pair is "+word+".")
}
