package volume

import (
	"fmt"
	"time"

	"evenkeel/replication/activity"
	"evenkeel/replication/wire"
)

const (
	// unflushedMax is how many pieces the peer may have acknowledged without a flush; then writes wait for one.
	unflushedMax = 32 << 10
	// unflushedSoon asks for a flush in the background long before that, unflushedAge does it in time.
	unflushedSoon = 4 << 10
	unflushedAge  = time.Second
)

// flushSpan is a piece that the peer acknowledged and has not flushed. sync: a piece of a resync, whose bits are cleared by the flush.
type flushSpan struct {
	off, n      uint64
	first, last activity.Extent
	sync        bool
}

// flushRound is one flush on both sides; one is under way at a time, and all that come meanwhile share the next.
type flushRound struct {
	ops                 []*op
	spans               []flushSpan // what the peer's answer covers
	seq                 uint64
	sent                time.Time
	localDue, remoteDue bool
	lost                bool
	err                 error
}

// startFlush lets a flush take part in the next round.
func (l *loop) startFlush(o *op) {
	if !l.mirrors() && !l.mayWriteAlone() {
		l.hold(o)
		return
	}
	l.flushNext = append(l.flushNext, o)
	l.nextRound()
}

// wantFlush asks for a round although no frontend does: extents and bits wait for it.
func (l *loop) wantFlush() {
	if l.mirrors() && len(l.unflushed) > 0 {
		l.flushWanted = true
		l.nextRound()
	}
}

func (l *loop) tooMuchUnflushed() bool { return l.mirrors() && len(l.unflushed) >= unflushedMax }

// nextRound begins a round if none is under way and somebody wants one.
func (l *loop) nextRound() {
	if l.round != nil || len(l.flushNext) == 0 && !l.flushWanted {
		return
	}
	if !l.mirrors() && !l.mayWriteAlone() { // lost while they waited for the round before: nobody calls them stable alone
		l.flushWanted = false
		l.restart(&l.flushNext)
		return
	}
	r := &flushRound{ops: l.flushNext, sent: l.now}
	l.round, l.flushNext, l.flushWanted = r, nil, false
	if l.mirrors() {
		r.spans, l.unflushed = l.unflushed, nil
		l.lastSeq++
		r.seq, r.remoteDue = l.lastSeq, true
		l.session.link.data.post(outMessage{Header: wire.Header{Kind: wire.KindFlush, Seq: r.seq}})
	}
	if len(r.ops) > 0 {
		r.localDue = true
		disk := l.disk
		l.jobs <- func() {
			err := disk.Flush()
			l.box.post(call(func(l *loop) { l.flushedHere(r, err) }))
		}
	}
	l.settleRound(r)
}

func (l *loop) flushedHere(r *flushRound, err error) {
	r.localDue = false
	if err != nil {
		r.err = errIO
		l.diskFailed(fmt.Errorf("flush: %w", err))
	}
	l.settleRound(r)
}

// flushedThere is the peer's answer: what it acknowledged before is stable there.
func (l *loop) flushedThere(seq uint64) {
	r := l.round
	if r == nil || !r.remoteDue || r.seq != seq {
		return
	}
	r.remoteDue = false
	for _, s := range r.spans {
		if s.sync {
			l.bits.Clear(s.off, s.n)
		} else {
			l.hot.Release(s.first, s.last)
		}
	}
	r.spans = nil
	l.settleRound(r)
	l.restart(&l.crowded)
	l.activate()
	l.checkSyncEnd()
}

// settleRound ends a round once both sides answered. A lost one is held and done again.
func (l *loop) settleRound(r *flushRound) {
	if r.localDue || r.remoteDue || l.round != r { // settled: a disk that fails ends the session, and that settles its round
		return
	}
	l.round = nil
	for _, o := range r.ops {
		switch {
		case r.err != nil || !l.serving.Load():
			l.finish(o, errIO)
		case r.lost:
			o.start(l)
		default:
			l.finish(o, nil)
		}
	}
	l.nextRound()
}

// loseUnflushed makes bits of everything that the peer may not have stable: it may lose its power together with the connection.
func (l *loop) loseUnflushed() {
	lost := l.unflushed
	l.unflushed = nil
	if r := l.round; r != nil && r.remoteDue {
		lost = append(lost, r.spans...)
		r.spans, r.remoteDue, r.lost = nil, false, true
		defer l.settleRound(r)
	}
	for _, s := range lost {
		l.bits.Set(s.off, s.n)
		if !s.sync {
			l.hot.Release(s.first, s.last)
		}
	}
	l.restart(&l.crowded)
	l.activate() // extents were let go
}
