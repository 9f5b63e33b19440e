package heart

import (
	"evenkeel/ha"
	"evenkeel/ha/beat"
)

// fullEvery is how many beats on a serial line pass between two full forms when nothing else asks for one.
const fullEvery = 10

// send sends one beat on w.
func (l *loop) send(now ha.Instant, w *wire) {
	if l.codec == nil || len(l.voice.pages) == 0 {
		return
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
	if w.Kind == ha.LinkSerial {
		l.line = l.serialForm(now, w, &h, page)
	} else {
		w.page++
		l.line = append(l.line[:0], l.form...)
	}
	if err := w.link.Send(l.line); err != nil {
		return // Status says why; nothing is remembered of a beat that did not leave
	}
	w.count++
	w.sent++
	l.ear.ring.note(v.seq, now, w.tag)
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

// serialForm chooses between the full form, which stands in l.form, and the compact one, and frames it for the line.
func (l *loop) serialForm(now ha.Instant, w *wire, h *beat.Head, page *beat.Page) []byte {
	w.settle(now)
	size := beat.OnLine(len(l.form))
	urgent := page.Digest != w.saidFull || w.fullAsked
	want := urgent || page.Pending || w.sinceFull >= fullEvery-1
	if want && w.budget.MayFull(size, w.Baud, urgent) {
		w.saidFull, w.sinceFull, w.fullAsked = page.Digest, 0, false
		w.page++
	} else {
		w.sinceFull++
		l.form = l.codec.AppendCompact(l.form[:0], h, page)
	}
	line := beat.AppendLine(l.line[:0], l.form)
	w.budget.Sent(len(line), w.Baud)
	return line
}
