package heart

import (
	"evenkeel/ha"
	"evenkeel/ha/beat"
)

// fullEvery is how many beats on a serial line pass between two full forms when nothing else asks for one.
const fullEvery = 10

// send sends one beat on w. A beat that did not leave is not remembered; the link's Status says why it did not.
func (l *loop) send(now ha.Instant, w *wire) error {
	if l.codec == nil || len(l.voice.pages) == 0 {
		return nil
	}
	v := &l.voice
	v.seq++
	l.heard = l.ear.echoes(l.heard[:0], l.wires)
	l.promised = v.promises(l.promised[:0], now)
	h := beat.Head{
		Boot: v.boot, Seq: v.seq, SentAt: now, Link: w.tag, Count: w.count + 1, WantFull: l.ear.wantFull,
		EngineAge: v.engineAge(now), EngineGone: v.engineGone(now), Heard: l.heard, Promises: l.promised, This: l.heard[w.index],
	}
	for i, s := range l.heard {
		if s > h.Newest {
			h.Newest, h.NewestLink = s, uint8(i)
		}
	}
	page := &v.pages[w.page%len(v.pages)]
	l.form = l.codec.AppendFull(l.form[:0], &h, page)
	out, full := l.form, true
	if w.Kind == ha.LinkSerial {
		if full = w.wantsFull(now, page, len(l.form)); !full {
			l.form = l.codec.AppendCompact(l.form[:0], &h, page)
		}
		l.line = beat.AppendLine(l.line[:0], l.form)
		out = l.line
	}
	if err := w.link.Send(out); err != nil {
		return err
	}
	w.left(len(out), full, page)
	l.ear.ring.note(v.seq, now, w.tag)
	return nil
}

// left notes a beat that went out.
func (w *wire) left(n int, full bool, page *beat.Page) {
	w.count++
	w.sent++
	w.sinceFull++
	if full {
		w.saidFull, w.sinceFull, w.fullAsked = page.Digest, 0, false
		w.page++
	}
	if w.Kind == ha.LinkSerial {
		w.budget.Sent(n, w.Baud)
	}
}

// settle lets the line pay back what it owes.
func (w *wire) settle(now ha.Instant) {
	w.budget.Pass(now.Sub(w.budgetAt))
	w.budgetAt = now
}

// roomForBurst says whether a beat out of turn may go out. A serial line that still carries the ones before says it with its next beat.
func (w *wire) roomForBurst(now ha.Instant) bool {
	if w.Kind != ha.LinkSerial {
		return true
	}
	w.settle(now)
	return w.budget.MayFull(beat.CompactOnLine, w.Baud, true)
}

// wantsFull chooses the form of the next beat on a serial line, of which the full one has n bytes.
func (w *wire) wantsFull(now ha.Instant, page *beat.Page, n int) bool {
	w.settle(now)
	urgent := page.Digest != w.saidFull || w.fullAsked
	want := urgent || page.Pending || w.sinceFull >= fullEvery-1
	return want && w.budget.MayFull(beat.OnLine(n), w.Baud, urgent)
}
