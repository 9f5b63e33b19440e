package heart

import (
	"context"
	"fmt"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/beat"
	"evenkeel/ha/link"
)

// wire is one link as heart keeps it: the schedule of what goes out, and what was heard. It outlives changes of interval, keys and order.
type wire struct {
	LinkSetup
	index   int
	cluster uint8
	tag     uint16
	link    link.Link
	stop    context.CancelFunc // ends the link's goroutine

	// Out.
	interval  time.Duration // in force: halved on the sync link (N6), stretched on a serial line
	due       ha.Instant
	count     uint16
	page      int // next page of the saying
	sinceFull int
	saidFull  uint32 // digest of the full form sent last
	fullAsked bool   // the peer lacks a full form
	budget    beat.Budget
	budgetAt  ha.Instant

	// In.
	heardBoot ha.BootName
	heardSeq  uint64 // newest, of heardBoot
	lastCount uint16
	counted   bool       // lastCount stands
	heardAt   ha.Instant // newest authentic beat
	freshAt   ha.Instant // newest fresh one
	ever      bool       // a fresh one came in since the machine booted, as far as our files know
	credited  ha.Instant // when we sent the newest beat on this link that the peer confirmed
	judged    ha.Instant // when the peer last had the chance to confirm one
	echoAt    ha.Instant // newest own beat that came back on a serial line
	garbageAt ha.Instant // newest broken frame there

	sent, heard, lost uint64
	refused           map[string]uint64
	longestGap        time.Duration
}

// pace computes the interval in force.
func (w *wire) pace() {
	w.interval = w.Interval
	if w.Sync {
		w.interval /= 2
	}
	if w.Kind == ha.LinkSerial {
		w.interval = beat.SerialInterval(w.interval, w.Baud)
	}
	w.interval = max(w.interval, shortestInterval)
}

// shortestInterval guards against a setup that would make heart burn its processor.
const shortestInterval = 10 * time.Millisecond

// quietAfter is two and a half intervals, never more than D/2.
func (w *wire) quietAfter(dead time.Duration) time.Duration { return min(w.interval*5/2, dead/2) }

// up says whether a fresh beat came in lately.
func (w *wire) up(now ha.Instant, dead time.Duration) bool {
	return w.freshAt != 0 && now.Sub(w.freshAt) < w.quietAfter(dead)
}

// take notes an authentic beat: its number must be above all heard before of that boot.
func (w *wire) take(now ha.Instant, boot ha.BootName, f *beat.Frame) bool {
	if boot != w.heardBoot {
		w.heardBoot, w.heardSeq, w.counted = boot, 0, false
	}
	if f.Seq <= w.heardSeq {
		return false
	}
	missed := f.Count - w.lastCount - 1
	// A far jump of the sequence is a new heart over there, whose count began anew.
	if w.counted && f.Seq-w.heardSeq < restartJump && missed < 1<<15 {
		w.lost += uint64(missed)
	}
	w.heardSeq, w.lastCount, w.counted, w.heardAt = f.Seq, f.Count, true, now
	w.heard++
	return true
}

// restartJump: sequence numbers of a process begin at its microseconds since boot, so that a restart jumps by at least a million a second.
const restartJump = 1 << 16

func (w *wire) fresh(now ha.Instant) {
	if w.freshAt != 0 {
		w.longestGap = max(w.longestGap, now.Sub(w.freshAt))
	}
	w.freshAt, w.ever = now, true
}

func (w *wire) refuse(why beat.Refusal) {
	if w.refused == nil {
		w.refused = map[string]uint64{}
	}
	w.refused[string(why)]++
}

// fact is the link as the decision sees it.
func (w *wire) fact(now ha.Instant, dead time.Duration) ha.LinkFact {
	s := w.link.Status()
	f := ha.LinkFact{
		Name: w.Name, Kind: w.Kind, Sync: w.Sync, Interval: w.interval, State: w.state(now, dead), Carrier: s.Carrier,
		FreshAt: w.freshAt, HeardAt: w.heardAt, Lost: w.lost, Problem: s.Problem,
	}
	// The peer confirms within an interval of ours and one of its own; nothing is known while it cannot tell.
	if w.judged != 0 && now.Sub(w.judged) < dead {
		ok := w.credited != 0 && w.judged.Sub(w.credited) <= w.interval*5/2+confirmSlack
		f.HeardByPeer = &ok
	}
	if f.Problem == "" {
		f.Problem = w.lineProblem(now)
	}
	return f
}

// confirmSlack is what a beat and its echo may spend in buffers.
const confirmSlack = 50 * time.Millisecond

func (w *wire) state(now ha.Instant, dead time.Duration) ha.LinkState {
	switch {
	case w.up(now, dead):
		return ha.LinkUp
	case w.ever:
		return ha.LinkQuiet
	}
	return ha.LinkNeverHeard
}

// lineProblem names what a serial line shows of itself.
func (w *wire) lineProblem(now ha.Instant) string {
	recent := func(t ha.Instant) bool { return t != 0 && now.Sub(t) < problemFor }
	switch {
	case recent(w.echoAt):
		return fmt.Sprintf("serial line %s sends our own beats back: connect it to the other node with a null-modem cable", w.Name)
	case recent(w.garbageAt) && !recent(w.heardAt):
		return fmt.Sprintf("serial line %s receives only garbage: set both ends to the same rate and check the cable", w.Name)
	}
	return ""
}

// problemFor is how long a serial line's fault is named after it was seen last.
const problemFor = 5 * time.Second

func (w *wire) counters() Counters {
	c := Counters{Sent: w.sent, Heard: w.heard, Lost: w.lost, LongestGap: w.longestGap, Refused: make(map[string]uint64, len(w.refused))}
	for k, v := range w.refused {
		c.Refused[k] = v
	}
	return c
}
