package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"evenkeel/replication"
	"evenkeel/replication/activity"
	"evenkeel/replication/control"
	"evenkeel/replication/dirty"
	"evenkeel/replication/disk"
	"evenkeel/replication/export"
	"evenkeel/replication/meta"
	"evenkeel/replication/wire"
)

const (
	tickEvery = 100 * time.Millisecond
	// inFlightMax bounds the bytes of all frontends' requests.
	inFlightMax = 32 << 20
	workers     = 32
	// engineSilence is how long a primary goes on without a sign of the engine.
	engineSilence = 10 * time.Second
	markEvery     = 10 * time.Second
	pagesEvery    = 5 * time.Second
	seekEvery     = time.Second
)

func alloc(n int) []byte { return disk.Alloc(n) }
func free(b []byte)      { disk.Free(b) }

// loop owns one volume. Everything below "the loop's own" is touched by its goroutine only; everybody else posts events.
//
//	frontends --Submit--> box --> loop --jobs--> workers (disk)
//	API ------------call---^  ^    |
//	link readers -------------'    '--outbox--> link senders
type loop struct {
	config control.Config
	node   string // of the configuration; any goroutine may read it
	log    *slog.Logger
	box    *mailbox
	jobs   chan func()
	since  [workers]atomic.Int64 // Unix ns at which each worker began its job; 0 = it has none
	tasks  sync.WaitGroup        // goroutines that run beside the loop

	inFlight, readFlight *budget

	size    atomic.Uint64
	serving atomic.Bool  // requests of frontends are taken: primary, disk attached, not revoked
	wanting atomic.Bool  // wants to be connected
	turned  atomic.Int64 // Unix ns of the loop's newest turn
	mounted atomic.Bool  // the kernel device is for a mount: NBD clients may only read
	status  atomic.Pointer[control.Status]
	hello   atomic.Pointer[wire.Hello]
	news    *news
	meeting *meeting
	meetCtx context.Context // of the meeting's owner
	quit    func()          // ends the process in order
	wanted  wanted          // another backing device that the configuration names

	// The loop's own.
	now   time.Time
	disk  disk.Disk // nil: not attached
	area  *meta.Area
	state replication.State
	boot  [16]byte
	bits  *dirty.Bitmap
	hot   *activity.Log

	busy    ranges
	writing map[*op]struct{}
	reading map[*op]struct{}
	remote  map[uint64]*op // sent and not acknowledged
	lastSeq uint64
	held    []*op // wait for permission or peer
	cold    []*op // wait for their extents
	crowded []*op // wait for the peer's flush
	holding time.Time

	activating  bool
	pagesDone   sync.WaitGroup // page images that a worker writes
	unflushed   []flushSpan
	round       *flushRound
	flushNext   []*op
	flushWanted bool
	flushedAt   time.Time

	session       *session
	dying         *session // lost; its link or its writes are not gone yet
	draining      bool
	linkEnded     bool
	nextLink      *link
	incomingCount int
	seeking       bool // the disk is being opened, beside the loop
	paused        bool
	revoked       string             // why the role was taken away while connected; the licence ends with the connection
	discardPeer   bool               // a person's word, to be said to the peer once: its history goes
	saidFailed    *replication.Epoch // the peer was told that there is no disk here, under this epoch
	verdict       replication.Verdict

	aliveAt, ackAt, lostAt, markedAt, pagesAt, ticked, soughtAt time.Time
	markedWrites                                                uint64
	lostReason                                                  string
	problemCode, problemText                                    string
	quiet                                                       []func() // wait until nothing is in flight
	stopMeeting                                                 context.CancelFunc

	tenure       atomic.Uint64 // number of the newest time as primary
	server       *nbdServer
	kernel       *export.Kernel
	kernelDevice *device // the kernel's; one of an ended role is dead
	opening      bool    // the kernel device is being made
	counters     struct{ written, read, sent, received, resyncSent uint64 }
}

// run is the loop; it ends with ctx, after an orderly close.
func (l *loop) run(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var batch []event
	for {
		due := false
		select {
		case <-l.box.wake:
		case <-tick.C:
			due = true
		case <-ctx.Done():
			l.shutDown()
			return
		}
		l.now = time.Now()
		l.turned.Store(l.now.UnixNano())
		batch = l.box.take(batch)
		for _, e := range batch {
			e.happen(l)
		}
		if due { // after what came: a loop that stood still must not judge others' silence before it has heard them
			l.now = time.Now()
			l.tick()
		}
		l.noteHolding()
	}
}

// tick does what only time brings about.
func (l *loop) tick() {
	l.forgiveLateness()
	if l.state.Role() == replication.Primary && l.now.Sub(l.aliveAt) > engineSilence {
		l.log.Error("the engine is silent: this volume revokes itself", "for", l.now.Sub(l.aliveAt))
		l.revoke("engine_silent")
	}
	l.seekDisk()
	l.moveOn()
	l.watchSession()
	l.sampleSync()
	if len(l.unflushed) > unflushedSoon || len(l.unflushed) > 0 && l.now.Sub(l.flushedAt) > unflushedAge {
		l.flushedAt = l.now
		l.wantFlush()
	}
	if l.now.Sub(l.pagesAt) > pagesEvery {
		l.pagesAt = l.now
		l.writePagesLazily()
	}
	l.changed()
}

// forgiveLateness: while the loop itself stood still (a starved or frozen machine) it could not have heard the peer.
func (l *loop) forgiveLateness() {
	late := l.now.Sub(l.ticked) - tickEvery
	if s := l.session; s != nil && !l.ticked.IsZero() && late > tickEvery {
		s.heard = s.heard.Add(late)
	}
	l.ticked = l.now
}

// watchSession pings and notices a stalled peer.
func (l *loop) watchSession() {
	s := l.session
	if s == nil {
		return
	}
	if l.now.Sub(s.pinged) >= pingEvery {
		s.pinged = l.now
		s.link.ack.post(outMessage{Header: wire.Header{Kind: wire.KindPing}})
	}
	lost := func(code, text string) {
		l.endSession(wire.Refuse{Code: code, Text: text})
	}
	switch {
	case l.now.Sub(s.heard) > deadAfter:
		lost("silent", fmt.Sprintf("the peer was silent for %v", l.now.Sub(s.heard).Round(time.Millisecond)))
	case !s.live && l.now.Sub(s.began) > handshakeDeadline:
		lost("handshake", "the handshake did not end in time")
	case l.oldestRemote() > ackDeadline:
		lost("peer_disk_slow", "the peer's disk did not complete a write in time")
	case s.live && l.now.Sub(l.markedAt) > markEvery && l.counters.written+l.counters.received != l.markedWrites:
		l.advanceMark()
	}
}

// oldestRemote is how long the peer has owed an answer of its disk.
func (l *loop) oldestRemote() time.Duration {
	oldest := time.Duration(0)
	for _, o := range l.remote {
		oldest = max(oldest, l.now.Sub(o.sent))
	}
	if r := l.round; r != nil && r.remoteDue {
		oldest = max(oldest, l.now.Sub(r.sent))
	}
	if s := l.session; s != nil && s.resync != nil {
		for _, p := range s.resync.flying {
			oldest = max(oldest, l.now.Sub(p.sent))
		}
	}
	return oldest
}

// work does the jobs of the disk until there are no more; slot tells since when the present one has been under way.
func (l *loop) work(slot *atomic.Int64) {
	for job := range l.jobs {
		slot.Store(time.Now().UnixNano())
		job()
		slot.Store(0)
	}
}

// oldestJob is how long the own disk has owed an answer.
func (l *loop) oldestJob() (oldest time.Duration) {
	for i := range l.since {
		if at := l.since[i].Load(); at != 0 {
			oldest = max(oldest, l.now.Sub(time.Unix(0, at)))
		}
	}
	return oldest
}

// advanceMark moves the rollback guard while writes flow.
func (l *loop) advanceMark() {
	if err := l.save(l.state.Advance()); err != nil {
		l.diskFailed(err)
		return
	}
	l.sendMark()
}

// save makes a state durable and takes it. The loop waits for it: nothing may happen on a state that is not stored.
func (l *loop) save(next replication.State) error {
	if l.area == nil {
		return errDetached
	}
	if next == l.state {
		return nil
	}
	defer l.stillHere()()
	if err := l.area.Save(next); err != nil {
		return err
	}
	l.state = next
	l.greet()
	l.changed()
	return nil
}

var errDetached = errors.New("the volume has no disk: see its problem in the status")

// greet renews what the meeting says of this side.
func (l *loop) greet() {
	l.hello.Store(&wire.Hello{
		Dialer: l.config.Dialer, Cluster: l.config.ClusterID, Volume: l.config.Name, Node: l.config.Node, Peer: l.config.Peer,
		Size: l.state.Size, Session: l.state.NextSession(),
	})
}

// rotateIfNeeded begins a new generation before the first lone write after a copy stopped receiving; durable before that write completes.
func (l *loop) rotateIfNeeded() bool {
	if !l.state.NeedsRotation() {
		return true
	}
	next := l.state.Rotate(newID(), l.now.Unix())
	if err := l.save(next); err != nil {
		l.diskFailed(err)
		return false
	}
	l.log.Warn("goes on alone: new generation", "generation", next.Current.ID, "permission", next.Permission.Reason)
	return true
}

// diskFailed gives the own disk up, and the role ends with it. Nothing of that is stored: what is on the disk is left as a crash leaves it, and the next attach
// judges it as after one. A mark "failed" there would call the copy incomplete, and an older one would overwrite it.
func (l *loop) diskFailed(err error) {
	if l.area == nil {
		return
	}
	l.log.Error("the backing disk failed", "disk", l.config.Backing, "why", err)
	text := fmt.Sprintf("the backing disk %s failed (%v): replace it and connect the volume again", l.config.Backing, err)
	if errors.Is(err, errGivenUp) {
		text = fmt.Sprintf("the backing disk %s was %v: connect the volume to use it again", l.config.Backing, err)
	}
	l.problem("disk_failed", text)
	l.state, l.area = l.state.Revoke("disk_failed").Fail(), nil
	l.serving.Store(false)
	l.stopServing()
	l.endSession(wire.Refuse{Code: "peer_disk", Text: "the disk of node " + l.config.Node + " failed"})
	l.failWaiting()
	l.changed()
}

// problem notes why the volume is not usable, or not connected; "" = nothing is wrong. What is wrong with the own disk stays until there is one again; the
// peer may send the same code of its own.
func (l *loop) problem(code, text string) {
	if l.area == nil && (l.problemCode == "disk_failed" || l.problemCode == "no_disk") {
		return
	}
	l.problemCode, l.problemText = code, text
}

// unconnected is the meeting's complaint.
func (l *loop) unconnected(code, text string) {
	if l.session == nil && l.problemCode != "split_brain" && l.problemCode != "disk_went_back" && code != "unreachable" {
		l.problem(code, text)
	}
	l.changed()
}

// willing says why no connection is wanted.
func (l *loop) willing() error {
	no := func(code, text string) error { return &refusal{wire.Refuse{Code: code, Text: text}} }
	switch {
	case !l.wanting.Load():
		return no("stand_alone", "replication is disconnected on node "+l.node+": connect it there")
	case l.hello.Load() == nil:
		return no("no_disk", "the volume of node "+l.node+" has no working disk")
	}
	return nil
}

// diskState is the disk's state as others see it.
func (l *loop) diskState() replication.DiskState {
	if l.area == nil && l.state.Disk != replication.Failed {
		return replication.Diskless
	}
	return l.state.Disk
}

// resize follows the size that the pair agreed on.
func (l *loop) resize(size uint64) {
	l.bits = dirty.New(size)
	l.size.Store(size)
}

// noteHolding remembers since when something is held, and tells.
func (l *loop) noteHolding() {
	holding := !l.mirrors() && len(l.held) > 0
	for o := range l.writing {
		if holding || l.mirrors() {
			break
		}
		holding = o.lost && !o.localDue && !o.remoteDue
	}
	switch {
	case holding && l.holding.IsZero():
		l.holding = l.now
		l.changed()
	case !holding && !l.holding.IsZero():
		l.holding = time.Time{}
		l.changed()
	}
	if len(l.quiet) > 0 && l.idle() {
		waiting := l.quiet
		l.quiet = nil
		for _, f := range waiting {
			f()
		}
	}
}

// idle says that no request is under way.
func (l *loop) idle() bool {
	return len(l.writing)+len(l.reading)+len(l.held)+len(l.cold)+len(l.crowded)+len(l.flushNext) == 0 &&
		(l.round == nil || len(l.round.ops) == 0)
}

// writePagesLazily writes bitmap pages beside the loop. A page that was cleared is only ever cleared for blocks that the peer's flush covers.
func (l *loop) writePagesLazily() {
	if l.area == nil || l.activating {
		return
	}
	var images []meta.Image
	for p, ok := l.bits.Changed(0); ok && len(images) < 256; p, ok = l.bits.Changed(p + 1) {
		images = append(images, meta.Image{Page: p, Data: l.area.PageImage(l.bits, p)})
	}
	if len(images) == 0 {
		return
	}
	area := l.area
	l.activating = true // in order with the pages of a transaction
	l.pagesDone.Add(1)
	l.jobs <- func() {
		err := area.WritePages(images)
		l.pagesDone.Done()
		l.box.post(call(func(l *loop) {
			l.activating = false
			if err != nil {
				l.diskFailed(err)
				return
			}
			l.activate()
		}))
	}
}

// writeBitmap makes the bitmap durable, in the loop. Older images of pages that a worker still writes go first.
func (l *loop) writeBitmap() error {
	defer l.stillHere()()
	l.pagesDone.Wait()
	return l.area.WriteBitmap(l.bits)
}

// stillHere pings the peer while the loop waits for its own disk, until the result is called: an ordinary disk under load may take longer for a flush than
// the peer takes silence for. Not for longer than a disk may owe an answer.
func (l *loop) stillHere() (stop func()) {
	s := l.session
	if s == nil {
		return func() {}
	}
	ack, done, until := s.link.ack, make(chan struct{}), time.Now().Add(ackDeadline)
	begin := time.AfterFunc(pingEvery, func() {
		for time.Now().Before(until) {
			ack.post(outMessage{Header: wire.Header{Kind: wire.KindPing}})
			select {
			case <-done:
				return
			case <-time.After(pingEvery):
			}
		}
	})
	return func() {
		begin.Stop()
		close(done)
	}
}

// shutDown closes in order what an orderly end of the process allows; a primary stays one in its metadata.
func (l *loop) shutDown() {
	l.now = time.Now()
	l.serving.Store(false)
	l.wanting.Store(false) // a connection that comes now is refused
	l.endSession(wire.Refuse{Code: "stopping", Text: "the volume process of node " + l.config.Node + " stops", Again: true})
	l.failWaiting()
	if l.area != nil {
		if err := l.writeBitmap(); err != nil {
			l.log.Error("the bitmap was not written at the end", "why", err)
		}
	}
}
