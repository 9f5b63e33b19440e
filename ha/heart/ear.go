package heart

import (
	"slices"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/beat"
)

// ear is what is known of the peer: which boot of it lives, what it said last, and which of our beats it confirmed. It is pure; wires are its
// per-link part.
//
//	boot    the peer's boot that lives, or lived last: its beats echoed ours in time
//	rising  another boot that was heard while the peer was silent; we echo it, and with its first fresh beat it becomes boot
//	old     boots that were replaced: whatever bears their name is a recording
type ear struct {
	dead   time.Duration // D
	ring   sentRing
	boot   ha.BootName
	rising ha.BootName
	old    []ha.BootName

	beat       *ha.Beat   // newest fresh beat; never changed once it stands here
	freshAt    ha.Instant // when it came in
	echoedSent ha.Instant // when we sent the newest beat that it echoes
	confirmed  ha.Instant // when we sent the newest beat that the peer confirmed at all
	digest     uint32     // of its slow part
	fulls      []fullBeat // newest last
	wantFull   bool       // the peer's last compact form names a full one that we do not hold
}

type fullBeat struct {
	digest uint32
	beat   ha.Beat
}

const (
	oldBoots  = 16 // kept
	fullsKept = 4  // a saying has at most four pages
)

var noBoot ha.BootName

// hear judges a parsed beat that came in on w. news: something that the engine should learn at once.
func (e *ear) hear(now ha.Instant, wires []*wire, w *wire, f *beat.Frame) (no beat.Refusal, news bool) {
	if no := e.fits(w, f); no != beat.Accepted {
		return no, false
	}
	w.fullAsked = w.fullAsked || f.WantFull // before anything is proven: two nodes that just met know each other by full forms only
	boot, no := e.whose(now, wires, f)
	if no != beat.Accepted || boot == noBoot {
		return no, false
	}
	if !w.take(now, boot, f) {
		return beat.Replay, false
	}
	echoed := e.credit(now, wires, w, f)
	if echoed == 0 || now.Sub(echoed) >= e.dead {
		return beat.Accepted, false
	}
	w.fresh(now)
	if boot != e.boot {
		e.adopt(boot)
		news = true
	}
	confirms := echoed > e.confirmed
	e.confirmed = max(e.confirmed, echoed)
	return beat.Accepted, e.understand(now, w, f, echoed) || confirms || news
}

// fits refuses what belongs on another link.
func (e *ear) fits(w *wire, f *beat.Frame) beat.Refusal {
	switch {
	case f.Form == beat.Compact && w.Kind != ha.LinkSerial:
		return beat.Malformed
	case f.Form == beat.Full && f.Link != w.tag:
		return beat.Crossed
	}
	return beat.Accepted
}

// whose finds the boot that a beat is from; noBoot = a compact form that names none we know. While one boot lives no other can: then, and if
// the boot was replaced before, it is a recording.
func (e *ear) whose(now ha.Instant, wires []*wire, f *beat.Frame) (ha.BootName, beat.Refusal) {
	if e.boot != noBoot && f.SameBoot(e.boot) {
		e.rising = noBoot
		return e.boot, beat.Accepted
	}
	if slices.ContainsFunc(e.old, f.SameBoot) {
		return noBoot, beat.Replay
	}
	if slices.ContainsFunc(wires, func(w *wire) bool { return w.up(now, e.dead) }) {
		return noBoot, beat.Replay
	}
	if f.Form == beat.Full {
		e.rising = f.Boot
	} else if e.rising == noBoot || !f.SameBoot(e.rising) {
		e.wantFull = true
		return noBoot, beat.Accepted
	}
	return e.rising, beat.Accepted
}

// echoes is what our next beats say that we heard, by link index: of the boot that may become the peer's, if there is one.
func (e *ear) echoes(dst []uint64, wires []*wire) []uint64 {
	boot := e.boot
	if e.rising != noBoot {
		boot = e.rising
	}
	for _, w := range wires {
		if w.heardBoot == boot {
			dst = append(dst, w.heardSeq)
		} else {
			dst = append(dst, 0)
		}
	}
	return dst
}

// credit looks up what the beat echoes and returns when the newest of it was sent; 0 = nothing of ours that is remembered.
func (e *ear) credit(now ha.Instant, wires []*wire, w *wire, f *beat.Frame) (newest ha.Instant) {
	one := func(seq uint64) {
		s, ok := e.ring.find(seq)
		if !ok || s.at > now {
			return
		}
		newest = max(newest, s.at)
		for _, x := range wires {
			if x.tag == s.tag {
				x.credited = max(x.credited, s.at)
			}
		}
	}
	if f.Form == beat.Compact {
		one(f.Newest)
		one(f.This)
		w.judged = now
		return newest
	}
	for _, seq := range f.Heard {
		one(seq)
	}
	for _, x := range wires {
		x.judged = now
	}
	return newest
}

// adopt makes boot the peer's: what the one before said is void.
func (e *ear) adopt(boot ha.BootName) {
	if e.boot != noBoot {
		e.old = append(e.old, e.boot)
		e.old = e.old[max(0, len(e.old)-oldBoots):]
	}
	e.boot, e.rising, e.beat, e.fulls = boot, noBoot, nil, nil
	e.confirmed = 0
}

// understand keeps what a fresh beat says, if it is newer than what stands, and tells whether its slow part is another than before. A
// compact form whose full one is missing proves life and nothing more.
func (e *ear) understand(now ha.Instant, w *wire, f *beat.Frame, echoed ha.Instant) (changed bool) {
	var b ha.Beat
	if f.Form == beat.Full {
		b = f.Beat(w.cluster)
		e.keep(f.Digest, b)
	} else {
		i := slices.IndexFunc(e.fulls, func(x fullBeat) bool { return x.digest == f.Digest })
		if i < 0 {
			e.wantFull = true
			return false
		}
		b = f.Merge(&e.fulls[i].beat, w.index)
	}
	e.wantFull = false
	if e.beat != nil && b.Seq <= e.beat.Seq {
		return false
	}
	changed = e.beat == nil || e.digest != f.Digest || e.beat.EngineGone != b.EngineGone
	e.beat, e.freshAt, e.echoedSent, e.digest = &b, now, echoed, f.Digest
	return changed
}

func (e *ear) keep(digest uint32, b ha.Beat) {
	e.fulls = slices.DeleteFunc(e.fulls, func(x fullBeat) bool { return x.digest == digest })
	e.fulls = append(e.fulls, fullBeat{digest: digest, beat: b})
	e.fulls = e.fulls[max(0, len(e.fulls)-fullsKept):]
}
