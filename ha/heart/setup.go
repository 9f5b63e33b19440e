package heart

import (
	"context"
	"fmt"
	"slices"

	"evenkeel/ha"
	"evenkeel/ha/beat"
	"evenkeel/ha/link"
)

// obey carries out what the engine wants. The order is checked and kept in heart.json by the server before it comes here.
func (l *loop) obey(p prepared) {
	if p.Setup != nil {
		l.apply(p.Setup, p.codec)
	}
	v := &l.voice
	v.say, v.pages, v.stepAt, v.silent = p.Say, p.pages, max(p.StepAt, v.stepAt), false
	l.renew = p.Renew
	if p.Burst {
		now := Now()
		for _, w := range l.wires {
			if w.roomForBurst(now) {
				_ = l.send(now, w) // what does not leave now is said by the next beat
			}
		}
	}
}

// startFrom begins with what an earlier process was told. Its promises are void: the engine may have withdrawn them since.
func (l *loop) startFrom(p *prepared) {
	l.apply(p.Setup, p.codec)
	l.voice.say, l.voice.pages = p.Say, p.pages
	l.renew = p.Renew
	l.voice.stepAt = max(p.StepAt, l.recalled.StepAt)
}

// apply makes the links that s names. A link that stays keeps what was heard on it.
func (l *loop) apply(s *Setup, codec *beat.Codec) {
	now := Now()
	if l.setup == nil || l.setup.Boot != s.Boot || l.setup.Node != s.Node || l.setup.Peer != s.Peer || l.setup.Cluster != s.Cluster {
		l.ear = ear{}
		l.voice.boot, l.voice.seq = s.Boot, firstSeq(s.Boot, now)
		l.dropLinks(func(*wire) bool { return true })
		l.remember(s.Boot)
	}
	samePort := l.setup != nil && l.setup.Port == s.Port
	l.dropLinks(func(w *wire) bool {
		return !samePort || !slices.ContainsFunc(s.Links, func(x LinkSetup) bool { return sameLink(x, w.LinkSetup) })
	})
	old := l.wires
	l.wires = nil
	for i, x := range s.Links {
		j := slices.IndexFunc(old, func(w *wire) bool { return sameLink(x, w.LinkSetup) })
		var w *wire
		if j >= 0 {
			w = old[j]
		} else {
			w = l.newWire(s, x, now)
		}
		w.LinkSetup, w.index, w.cluster = x, i, s.Cluster
		before := w.interval
		if w.pace(); w.interval != before {
			w.due = now
		}
		l.wires = append(l.wires, w)
	}
	l.setup, l.codec, l.ear.dead = s, codec, s.DeadTime
}

// sameLink says whether a link can stay as it is: only what makes its socket counts.
func sameLink(a, b LinkSetup) bool {
	return a.Name == b.Name && a.Kind == b.Kind && a.Baud == b.Baud
}

// newWire makes a link; dropLinks ends its goroutine.
func (l *loop) newWire(s *Setup, x LinkSetup, now ha.Instant) *wire {
	w := &wire{LinkSetup: x, tag: beat.TagOf(x.Kind, x.Name), budgetAt: now}
	w.link = link.New(link.Setup{Kind: x.Kind, Name: x.Name, Baud: x.Baud, Port: s.Port, Receive: l.receiver(w)})
	l.recallWire(w)
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	l.links.Go(func() { w.link.Run(ctx) })
	return w
}

// receiver makes forms of what a link delivers and hands them to the loop. It runs in the link's goroutine and never waits.
func (l *loop) receiver(w *wire) func(link.Received) {
	hand := func(in inbound) {
		in.wire, in.at = w, Now()
		select {
		case l.frames <- in:
		default: // the loop is far behind; the count of losses will tell
		}
	}
	if w.Kind != ha.LinkSerial {
		return func(r link.Received) { hand(inbound{form: slices.Clone(r.Bytes), from: r.From, ttl: r.TTL}) }
	}
	var d beat.Deframer
	return func(r link.Received) {
		if n := d.Push(r.Bytes, func(form []byte) { hand(inbound{form: slices.Clone(form)}) }); n > 0 {
			hand(inbound{broken: n})
		}
	}
}

// dropLinks ends the links that match. It waits for none of them: a serial line may take a moment to let go.
func (l *loop) dropLinks(match func(*wire) bool) {
	l.wires = slices.DeleteFunc(l.wires, func(w *wire) bool {
		if match(w) {
			w.stop()
			return true
		}
		return false
	})
}

// endLinks ends all links and waits for them.
func (l *loop) endLinks() {
	l.dropLinks(func(*wire) bool { return true })
	l.links.Wait()
}

// check finds out whether heart can do what a setup wants.
func (s *Setup) check() (*beat.Codec, error) {
	if len(s.Links) > beat.MaxLinks {
		return nil, fmt.Errorf("%d heartbeat links are set: at most %d fit a beat", len(s.Links), beat.MaxLinks)
	}
	if s.DeadTime <= 0 || s.Port == 0 {
		return nil, fmt.Errorf("dead time %v and port %d are no setup: both must be above zero", s.DeadTime, s.Port)
	}
	for _, x := range s.Links {
		if x.Interval <= 0 || x.Kind == ha.LinkSerial && x.Baud <= 0 {
			return nil, fmt.Errorf("link %s has interval %v and %d baud: both must be above zero", x.Name, x.Interval, x.Baud)
		}
	}
	return beat.NewCodec(s.Cluster, s.Node, s.Peer, s.Keys)
}
