package volume

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"evenkeel/replication"
	"evenkeel/replication/activity"
	"evenkeel/replication/control"
	"evenkeel/replication/export"
)

// submitNow is Submit through a frontend of the present time as primary.
func (l *loop) submitNow(r *export.Request) { l.device().Submit(r) }

// inLoop lets the loop do something and waits until it has.
func (s *side) inLoop(do func(l *loop)) {
	s.t.Helper()
	done := make(chan struct{})
	s.loop.box.post(call(func(l *loop) { do(l); close(done) }))
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		s.t.Fatal("the loop does not turn")
	}
}

// ends waits for a request's end.
func ends(t *testing.T, done chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(15 * time.Second):
		t.Fatal("a request never ended")
		return nil
	}
}

// hang stops a side's loop until the test ends or the result is called.
func (s *side) hang() (thaw func()) {
	gate := make(chan struct{})
	open := false
	thaw = func() {
		if !open {
			open = true
			close(gate)
		}
	}
	s.t.Cleanup(thaw)
	s.loop.box.post(call(func(*loop) { <-gate }))
	return thaw
}

// What waits for the flush before it is not stable on both sides when the connection is lost meanwhile.
func TestAFlushBehindALostOneIsHeld(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	must(t, p.a.write(0, pattern(1, 4096)))
	thaw := p.b.hang()
	first := p.a.do(&export.Request{Op: export.Flush})
	p.a.inLoop(func(l *loop) {
		if l.round == nil || !l.round.remoteDue {
			t.Error("no flush is under way")
		}
	})
	second := p.a.do(&export.Request{Op: export.Flush})
	p.a.inLoop(func(l *loop) { l.session.link.close() })
	notDone(t, p.a, second)
	thaw()
	must(t, ends(t, first))
	must(t, ends(t, second))
}

// The log of hot extents is not forgotten while a write is under way: it may be on one side only.
func TestTheLogIsKeptWhileAWriteIsUnderWay(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	must(t, p.a.write(0, pattern(1, 4096)))
	must(t, p.a.flush())
	data := pattern(2, 4096)
	done := make(chan error, 1)
	p.a.inLoop(func(l *loop) {
		l.inFlight.add(512)
		o := &op{from: l.device(), req: &export.Request{Op: export.Write, Length: 4096, Data: data, Done: func(err error) { done <- err }}}
		l.inFlight.add(4096)
		(*submitted)(o).happen(l)
		if len(l.writing) != 1 {
			t.Error("the write is not under way")
		}
		l.unflushed = nil
		if err := l.coolDown(); err != nil {
			t.Error(err)
		}
		if first, last := activity.ExtentsOf(0, 4096); !l.hot.Hold(first, last) {
			t.Error("the extent of a write under way is cold")
		} else {
			l.hot.Release(first, last)
		}
	})
	must(t, ends(t, done))
}

// A device of a role that has ended never reaches the volume again, though the volume is primary again.
func TestADeviceOfAnEndedRoleIsDead(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	var old export.Device
	p.a.inLoop(func(l *loop) { old = l.device() })
	write := func() error {
		done := make(chan error, 1)
		data := pattern(3, 4096)
		old.Submit(&export.Request{Op: export.Write, Length: 4096, Data: data, Done: func(err error) { done <- err }})
		return ends(t, done)
	}
	must(t, write())
	must(t, p.a.client.Revoke(context.Background(), control.Revoke{Reason: "test"}))
	if write() == nil {
		t.Fatal("a revoked device took a write")
	}
	p.a.promote(2)
	if write() == nil {
		t.Fatal("a device of an earlier role wrote into a volume that is primary again")
	}
	must(t, p.a.write(0, pattern(4, 4096)))
}

// A permission is for one loss: one that comes late, after another connection was had and lost, is refused.
func TestAPermissionOfAnEarlierLossIsRefused(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	p.disconnect()
	late := p.a.status()
	must(t, p.a.client.Connect(context.Background()))
	p.a.until("in sync", inSync)
	p.b.until("in sync", inSync)
	p.disconnect()
	if got := p.a.status(); got.Generation != late.Generation || got.Session == late.Session {
		t.Fatalf("nothing proven: %s %d, %s %d", got.Generation, got.Session, late.Generation, late.Session)
	}
	order := control.Permit{Epoch: control.Epoch{Counter: 1, Node: "a"}, Generation: late.Generation, Session: late.Session, Reason: "peer_outdated"}
	if err := p.a.client.Permit(context.Background(), order); err == nil {
		t.Fatal("a permission for an earlier loss was stored")
	}
	order.Session = p.a.status().Session
	must(t, p.a.client.Permit(context.Background(), order))
}

// A promotion between the verdict and the beginning of a resync is not overwritten by the verdict.
func TestAPromotionWhileTheHandshakeRunsIsNotMadeATarget(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	p.disconnect()
	p.b.inLoop(func(l *loop) {
		peer := l.state
		peer.Node = "a"
		v := replication.Compare(l.snapshot(), peer.Snapshot(4096))
		one, two := net.Pipe()
		s := &session{link: newLink(one, two, l.sayHello()), peer: peer.Snapshot(4096), verdict: &v, direction: replication.Target, number: l.state.NextSession()}
		s.judged = l.state
		l.session = s
		next, err := l.state.Promote(replication.Epoch{Counter: 2, Node: "b"}, false)
		if err != nil {
			t.Error(err)
		}
		if err := l.save(next); err != nil {
			t.Error(err)
		}
		s.bitmapIn = true
		l.startSync(s)
		if l.state.Disk != replication.UpToDate || l.state.Role() != replication.Primary {
			t.Errorf("a primary became %s %s", l.state.Role(), l.state.Disk)
		}
		l.linkGone(s.link)
	})
}

// A peer that lives but whose disk does not finish a flush is no hold without an end.
func TestAFlushThatThePeerNeverEndsEndsTheConnection(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	thaw := p.b.hang()
	done := p.a.do(&export.Request{Op: export.Flush})
	p.a.inLoop(func(l *loop) {
		l.now = l.now.Add(ackDeadline + time.Second)
		l.session.heard = l.now // its loop lives
		l.watchSession()
		if l.session != nil {
			t.Error("a flush that never ends keeps the connection")
		}
	})
	thaw()
	must(t, ends(t, done))
}

// A write that was held for long gets the peer's full time when it is sent at last.
func TestALongHeldWriteIsNotTakenForASlowPeer(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	p.a.inLoop(func(l *loop) {
		o := &op{req: &export.Request{Op: export.Write}} // it was submitted long ago
		l.now = l.now.Add(2 * ackDeadline)
		l.sendWrite(o)
		if l.oldestRemote() > time.Second {
			t.Error("the time of the hold counts against the peer")
		}
		delete(l.remote, o.seq)
	})
}

// A demotion that nobody waits for any more takes nothing from a later promotion.
func TestALateDemotionTakesNothingFromALaterPromotion(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	result := make(chan error, 1)
	p.a.inLoop(func(l *loop) {
		l.writing[&op{}] = struct{}{} // something is under way
		l.demote(func(err error) { result <- err })
	})
	must(t, p.a.client.Revoke(context.Background(), control.Revoke{Reason: "test"}))
	p.a.promote(2)
	p.a.inLoop(func(l *loop) { clear(l.writing) })
	if err := ends(t, result); err == nil || !strings.Contains(err.Error(), "meanwhile") {
		t.Errorf("a demotion of an ended role: %v", err)
	}
	if st := p.a.status(); st.Role != "Primary" {
		t.Fatalf("the volume is %s", st.Role)
	}
	must(t, p.a.write(0, pattern(4, 4096)))
}

// Whatever is submitted while the process ends is answered: a lost request would hang its client in the kernel.
func TestARequestOnItsWayIsAnsweredWhenTheProcessEnds(t *testing.T) {
	p := newPair(t, testSize)
	p.a.start()
	p.a.promote(1)
	l, done := p.a.loop, make(chan error, 1)
	o := &op{from: l.device(), req: &export.Request{Op: export.Flush, Done: func(err error) { done <- err }}}
	flight, weight := l.flight(o.req)
	flight.take(weight) // submit is here when the process is told to end
	p.a.stop()
	select {
	case err := <-p.a.ended:
		t.Fatalf("the process ended without the request: %v", err)
	case <-time.After(200 * time.Millisecond): // it waits
	}
	l.box.post((*submitted)(o))
	if ends(t, done) == nil {
		t.Fatal("a request was done by a process that ends")
	}
}
