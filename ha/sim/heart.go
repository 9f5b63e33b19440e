package sim

import (
	"slices"
	"time"

	"evenkeel/ha"
)

// heart is the model of the heart process.
type heart struct {
	up                   bool
	downTill             time.Duration
	pausedAt, pausedTill time.Duration
	since                ha.Instant
	ever                 bool
	seq                  uint64
	sent                 map[uint64]ha.Instant
	due                  [3]time.Duration
	heardSeq             [3]uint64
	heardBoot            ha.BootName
	heardAt              [3]ha.Instant
	freshAt              [3]ha.Instant
	newest               *ha.Beat
	fresh                ha.Instant
	confirmed            ha.Instant
	echoed               ha.Instant
	wokeAt               ha.Instant
	late                 time.Duration
}

// KillHeart kills the heart process; it is back after d.
func (n *Node) KillHeart(d time.Duration) { n.heart.up, n.heart.downTill = false, n.w.Now+d }

func (n *Node) heartTick() {
	h := &n.heart
	if !h.up {
		if n.w.Now < h.downTill {
			return
		}
		*h = heart{up: true, since: n.now(), ever: h.ever, seq: h.seq + 1000, sent: map[uint64]ha.Instant{}}
	}
	if h.pausedTill != 0 {
		if n.w.Now < h.pausedTill {
			return
		}
		h.wokeAt, h.late = n.now(), n.w.Now-h.pausedAt
		h.pausedTill = 0
	}
	for i, cable := range Cables {
		if n.w.Now >= h.due[i] {
			h.due[i] = n.w.Now + n.interval(i)
			n.sendBeat(i, cable)
		}
	}
	n.renew()
}

func (n *Node) interval(link int) time.Duration {
	if Cables[link] == "sync" {
		return n.w.Options.Interval / 2
	}
	return n.w.Options.Interval
}

func (n *Node) sendBeat(link int, cable string) {
	h := &n.heart
	h.seq++
	h.sent[h.seq] = n.now()
	delete(h.sent, h.seq-3000)
	if !n.w.open(n, cable) && !(n.out[cable] && n.other().power) || n.w.Rand.Float64() < n.w.Loss[cable] || n.mute[cable] {
		return
	}
	age := n.engineAge()
	say := n.engine.plan.Say
	say.Volumes = slices.Clone(say.Volumes)
	for i := range say.Volumes { // what is left of what the engine promised with its last Step
		say.Volumes[i].Promise = max(0, say.Volumes[i].Promise-age)
	}
	b := ha.Beat{Node: n.ID, Boot: n.boot, Seq: h.seq, Heard: []uint64{h.heardSeq[0], h.heardSeq[1], h.heardSeq[2]},
		EngineAge: age, EngineGone: age >= 10*time.Second, Saying: say}
	n.w.Flight = append(n.w.Flight, flight{to: n.other(), cable: link, at: n.w.Now + n.w.between(0, 15*time.Millisecond) + n.w.Delay[cable], beat: b, boot: h.heardBoot})
}

// hear takes a beat in: it is fresh if it echoes something that this boot sent less than D ago.
func (n *Node) hear(f flight) {
	h, b := &n.heart, f.beat
	h.ever = true
	h.heardSeq[f.cable] = b.Seq
	h.heardBoot = b.Boot
	h.heardAt[f.cable] = n.now()
	if f.boot != n.boot {
		return
	}
	var echoed ha.Instant
	for _, seq := range b.Heard {
		echoed = max(echoed, h.sent[seq])
	}
	if echoed == 0 || n.now().Sub(echoed) >= n.dead() {
		return
	}
	h.freshAt[f.cable], h.fresh = n.now(), n.now()
	h.confirmed = max(h.confirmed, echoed)
	if h.newest == nil || h.newest.Boot != b.Boot || h.newest.Seq < b.Seq {
		h.newest, h.echoed = &b, echoed
	}
}

// renew gives the kernel's address another 2 s, as long as the engine is alive or has been silent for less than 10 s,
// e < 0.8 D, and the other node does not serve under a higher epoch.
func (n *Node) renew() {
	age := n.engineAge()
	e := n.now().Sub(n.heart.confirmed)
	b := n.heart.newest
	replaced := b != nil && (b.Role == ha.Master || b.Role == ha.Promoting) && n.engine.plan.Say.Epoch.Less(b.Epoch)
	if n.address && (age < time.Second || age < 10*time.Second && e < n.dead()*4/5 && !replaced) {
		n.addressTo = n.w.Now + 2200*time.Millisecond
	}
}

func (n *Node) heartFacts() ha.HeartFacts {
	h := &n.heart
	f := ha.HeartFacts{Running: h.up, Heartbeats: h.up && (h.pausedTill == 0 || n.w.Now-h.pausedAt < n.w.Options.Interval+250*time.Millisecond), RealTime: true, Since: h.since, EverHeard: h.ever, WokeAt: h.wokeAt, Late: h.late}
	for i, cable := range Cables {
		l := ha.LinkFact{Name: cable, Kind: ha.LinkUDP, Interval: n.interval(i), FreshAt: h.freshAt[i], HeardAt: h.heardAt[i], State: ha.LinkNeverHeard}
		if h.heardAt[i] != 0 {
			l.State = ha.LinkQuiet
			if h.freshAt[i] != 0 && n.now().Sub(h.freshAt[i]) <= min(n.interval(i)*5/2, n.dead()/2) {
				l.State = ha.LinkUp
			}
		}
		f.Links = append(f.Links, l)
	}
	return f
}
