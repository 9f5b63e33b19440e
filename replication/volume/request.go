package volume

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"evenkeel/replication/activity"
	"evenkeel/replication/export"
	"evenkeel/replication/wire"
)

// Bounds of a request's pieces in bytes: data in one message, zeroes in one stroke.
const (
	dataPiece = wire.MaxPayload
	zeroPiece = 16 << 20
)

// op is a frontend's request on its way. Large ones go piece by piece: [off, end) is the piece under way.
//
//	submit > start > (waits: range, hold, extent) > disk and peer at once > settle > next piece or Done
type op struct {
	req *export.Request
	span
	data []byte // of the piece; nil unless it writes
	seq  uint64 // under which the peer acknowledges; 0 = not sent

	localDue, remoteDue bool
	lost                bool // sent, and the connection ended before the acknowledgement
	hot                 bool // holds references on its extents
	again               bool // a read that met a write under way: writers wait for it this time
	mirrored            bool // the peer acknowledged it
	err                 error
	from                *device   // that it came through
	sent                time.Time // to the peer
}

// errIO is what a frontend gets when the volume may not serve it.
var errIO = syscall.EIO

// Size is the usable size in bytes.
func (v *loop) Size() uint64 { return v.size.Load() }

// device is the volume as one of its frontends has it. It is good for one time as primary, and not longer than that frontend: what a mount of an
// ended role, or one that was abandoned, still holds back (its holder may be a container, or the kernel's NFS server) must not reach a
// volume that is primary again, or mounted again, with newer data.
type device struct {
	*loop
	tenure    uint64
	abandoned atomic.Bool
}

func (l *loop) device() *device { return &device{loop: l, tenure: l.tenure.Load()} }

// good says whether requests that came through it may still be served.
func (d *device) good() bool {
	return d.serving.Load() && d.tenure == d.loop.tenure.Load() && !d.abandoned.Load()
}

// Submit takes a request. It blocks while too many bytes are in flight, never for the request itself.
func (d *device) Submit(r *export.Request) { d.submit(r, d) }

func (v *loop) submit(r *export.Request, from *device) {
	if !v.serving.Load() || r.Offset > v.Size() || uint64(r.Length) > v.Size()-r.Offset {
		r.Done(errIO)
		return
	}
	flight, weight := v.flight(r)
	if !flight.take(weight) {
		flight.give(weight)
		r.Done(errIO)
		return
	}
	o := &op{req: r, from: from}
	v.box.post((*submitted)(o))
}

// flight is the budget that a request takes from, and how much. Reads have their own, so that they go on while writes are held.
func (v *loop) flight(r *export.Request) (*budget, int) {
	if r.Op == export.Read {
		return v.readFlight, len(r.Data) + 512
	}
	return v.inFlight, len(r.Data) + 512
}

type (
	submitted op
	localDone op
)

func (e *submitted) happen(l *loop) {
	o := (*op)(e)
	o.off = o.req.Offset
	o.cut()
	o.start(l)
}

// cut makes the piece that begins at off.
func (o *op) cut() {
	total := o.req.Offset + uint64(o.req.Length)
	o.end = min(total, o.off+zeroPiece)
	o.data = nil
	if o.req.Op == export.Write {
		o.end = min(total, o.off+dataPiece)
		o.data = o.req.Data[o.off-o.req.Offset : o.end-o.req.Offset]
	}
}

func (o *op) start(l *loop) {
	switch {
	case !o.from.good():
		l.finish(o, errIO)
	case o.req.Op == export.Flush:
		l.startFlush(o)
	case o.req.Length == 0:
		l.finish(o, nil)
	case o.req.Op == export.Read:
		l.startRead(o)
	default:
		l.startWrite(o)
	}
}

// startRead waits for writes that overlap: what they write may yet be lost with this node. See readDone for those that begin later.
func (l *loop) startRead(o *op) {
	end := o.off + uint64(o.req.Length)
	if s := l.busy.conflict(o.off, end, true); s != nil {
		s.waiters = append(s.waiters, o)
		return
	}
	if o.again {
		o.end, o.quiet = end, true
		l.busy.add(&o.span)
	}
	o.localDue = true
	l.reading[o] = struct{}{}
	l.jobs <- func() {
		o.err = l.disk.ReadAt(o.req.Data, o.req.Offset)
		l.box.post((*localDone)(o))
	}
}

// startWrite sends the piece to the disk and to the peer at once, if it may.
func (l *loop) startWrite(o *op) {
	if s := l.busy.conflict(o.off, o.end, false); s != nil {
		s.waiters = append(s.waiters, o)
		return
	}
	mirror := l.mirrors()
	if !mirror && !l.mayWriteAlone() {
		l.hold(o)
		return
	}
	if l.tooMuchUnflushed() {
		l.crowded = append(l.crowded, o)
		l.wantFlush()
		return
	}
	if !l.heat(o) {
		return
	}
	if !mirror && !l.rotateIfNeeded() {
		l.cool(o)
		l.finish(o, errIO)
		return
	}
	l.busy.add(&o.span)
	l.writing[o] = struct{}{}
	o.err, o.lost, o.mirrored = nil, false, false
	if mirror {
		l.sendWrite(o)
	} else if !l.state.NeverHadPeer() { // the first peer gets everything anyway
		l.bits.Set(o.off, o.end-o.off)
	}
	o.localDue = true
	l.jobs <- func() {
		o.err = l.writePiece(o)
		l.box.post((*localDone)(o))
	}
}

// writePiece does the piece on the own disk. A discard writes zeroes: what a disk answers for a discarded range is its own matter, and
// the two copies must be equal.
func (l *loop) writePiece(o *op) error {
	if o.data != nil {
		return l.disk.WriteAt(o.data, o.off, o.req.FUA)
	}
	if err := l.disk.WriteZeroes(o.off, o.end-o.off, !o.req.NoHole); err != nil {
		return err
	}
	if o.req.FUA {
		return l.disk.Flush()
	}
	return nil
}

// sendWrite sends the piece to the peer under a new number.
func (l *loop) sendWrite(o *op) {
	l.lastSeq++
	o.seq, o.sent, o.remoteDue, o.lost = l.lastSeq, l.now, true, false
	l.remote[o.seq] = o
	h := wire.Header{Kind: wire.KindZeroes, Seq: o.seq, Offset: o.off, Length: uint32(o.end - o.off)}
	if o.data != nil {
		h.Kind = wire.KindWrite
	}
	if o.req.FUA {
		h.Flags |= wire.FlagFUA
	}
	if o.req.NoHole {
		h.Flags |= wire.FlagNoHole
	}
	l.session.link.data.post(outMessage{Header: h, payload: o.data})
}

func (e *localDone) happen(l *loop) {
	o := (*op)(e)
	o.localDue = false
	if o.err != nil {
		l.diskFailed(fmt.Errorf("%s at %d: %w", opName(o.req.Op), o.off, o.err))
	}
	if o.req.Op == export.Read {
		l.readDone(o)
		return
	}
	l.settle(o)
}

// readDone answers a read, unless a write began under it and has not completed: what was read may be that write's, which may yet be lost.
// Then it is read again after that write.
func (l *loop) readDone(o *op) {
	delete(l.reading, o)
	if !l.serving.Load() {
		o.err = errIO
	}
	var waiters []starter
	if o.again {
		waiters = l.busy.remove(&o.span)
	} else if s := l.busy.conflict(o.off, o.off+uint64(o.req.Length), true); s != nil && o.err == nil {
		o.again = true
		s.waiters = append(s.waiters, o)
		return
	}
	l.finish(o, o.err)
	for _, w := range waiters {
		w.start(l)
	}
}

func opName(k export.Op) string {
	return [...]string{"read", "write", "flush", "discard", "write zeroes"}[k]
}

// settle completes a piece once disk and peer did; a lost one waits for permission, reconnection or the end of the role.
func (l *loop) settle(o *op) {
	if _, under := l.writing[o]; !under || o.localDue || o.remoteDue {
		return
	}
	if o.err == nil && !l.serving.Load() {
		o.err = errIO
	}
	if o.lost && (o.err == nil || l.draining) {
		l.settleLost(o)
		return
	}
	l.complete(o)
}

// settleLost decides about a piece whose acknowledgement never came. Its bits are set. While the old link drains, its sender may
// still read the data.
func (l *loop) settleLost(o *op) {
	switch {
	case l.draining:
	case o.err != nil:
		l.complete(o)
	case l.mirrors():
		l.sendWrite(o)
	case l.mayWriteAlone():
		if !l.rotateIfNeeded() {
			o.err = errIO
		}
		l.complete(o)
	}
}

// complete ends a piece: its range is free, its extents cool down, and the request goes on or is done.
func (l *loop) complete(o *op) {
	delete(l.writing, o)
	waiters := l.busy.remove(&o.span)
	l.account(o)
	total := o.req.Offset + uint64(o.req.Length)
	if o.err != nil || o.end >= total {
		l.finish(o, o.err)
	} else {
		o.off = o.end
		o.cut()
		o.start(l)
	}
	for _, w := range waiters {
		w.start(l)
	}
}

// account keeps what the peer acknowledged but has not flushed: until then the extent stays hot, and a loss makes it bits.
func (l *loop) account(o *op) {
	n := o.end - o.off
	l.counters.written += n
	switch {
	case o.mirrored && o.err == nil && !o.req.FUA:
		first, last := activity.ExtentsOf(o.off, n)
		l.unflushed = append(l.unflushed, flushSpan{off: o.off, n: n, first: first, last: last})
		o.hot = false
	case o.err != nil:
		l.bits.Set(o.off, n)
		l.cool(o)
	default:
		l.cool(o)
	}
}

// finish answers the request.
func (l *loop) finish(o *op, err error) {
	if o.req.Op == export.Read && err == nil {
		l.counters.read += uint64(len(o.req.Data))
	}
	if err != nil && !errors.Is(err, errIO) {
		err = errIO
	}
	flight, weight := l.flight(o.req)
	o.req.Done(err)
	flight.give(weight)
}

// hold keeps a request until the volume is permitted, connected, or loses its role.
func (l *loop) hold(o *op) { l.held = append(l.held, o) }

// mirrors says whether a write goes to the peer now.
func (l *loop) mirrors() bool { return l.session != nil && l.session.live }

// mayWriteAlone says whether a write may complete without the peer now.
func (l *loop) mayWriteAlone() bool {
	return !l.draining && !l.frozen() && l.state.Permitted()
}

// release lets go of what was held, as far as it may: after a permission, a connection, the end of the role, the end of a link.
func (l *loop) release() {
	if !l.mirrors() && !l.mayWriteAlone() && l.serving.Load() {
		return
	}
	for o := range l.writing {
		if o.lost {
			l.settle(o)
		}
	}
	l.restart(&l.held)
}

// restart starts the waiting requests of a list; those that must wait again end up in a list again.
func (l *loop) restart(list *[]*op) {
	again := *list
	*list = nil
	for _, o := range again {
		o.start(l)
	}
}

// failWaiting answers everything that has not begun; what has begun ends when disk and link let go of its buffer.
func (l *loop) failWaiting() {
	for _, list := range []*[]*op{&l.held, &l.crowded, &l.cold} {
		l.restart(list)
	}
	l.release()
}
