package volume

import (
	"bytes"
	"context"
	"testing"
	"time"

	"evenkeel/replication/control"
	"evenkeel/replication/export"
)

func (s *side) permit(reason string, epoch uint64) {
	s.t.Helper()
	must(s.t, s.client.Permit(context.Background(), control.Permit{Epoch: control.Epoch{Counter: epoch, Node: s.config.Node}, Generation: s.status().Generation, Reason: reason}))
}

func disconnected(s control.Status) bool { return !s.Mirrors && s.Connection != "Connected" }

// notDone proves that a request is held: the loop has said so, and no answer came.
func notDone(t *testing.T, s *side, done chan error) {
	t.Helper()
	s.until("holding", func(s control.Status) bool { return s.Holding })
	select {
	case err := <-done:
		t.Fatalf("a held request ended: %v", err)
	default:
	}
}

func TestLossHoldsUntilPermittedAndResyncsByBitmap(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	before := p.a.status().Generation
	must(t, p.a.write(0, pattern(1, 4096)))
	must(t, p.a.flush())
	p.b.end()
	p.a.until("disconnected", disconnected)
	data := pattern(7, 128<<10)
	done := p.a.do(&export.Request{Op: export.Write, Offset: 5 << 20, Length: uint32(len(data)), Data: data})
	notDone(t, p.a, done)
	if got := p.a.read(0, 4096); !bytes.Equal(got, pattern(1, 4096)) {
		t.Fatal("a read elsewhere must go on during a hold")
	}
	p.a.permit("dead", 1)
	must(t, <-done)
	st := p.a.status()
	if st.Generation == before || !st.Loner || st.Permission != "dead" {
		t.Fatalf("alone without a new generation: %+v", st)
	}
	if st.OutOfSyncBytes < 128<<10 || st.OutOfSyncBytes > 1<<20 {
		t.Fatalf("out of sync: %d bytes", st.OutOfSyncBytes)
	}
	sent := p.a.status().ResyncSent
	p.b.start()
	p.b.until("in sync", inSync)
	st = p.a.until("in sync", inSync)
	if st.Permission != "" {
		t.Fatal("the permission was not withdrawn at the reconnect")
	}
	if moved := st.ResyncSent - sent; moved > 2<<20 {
		t.Fatalf("a bitmap resync of 128 KiB moved %d bytes", moved)
	}
	p.a.end()
	p.b.end()
	p.equal()
}

func TestHeldWriteCompletesWhenThePeerIsBack(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	generation := p.a.status().Generation
	p.b.end()
	p.a.until("disconnected", disconnected)
	data := pattern(3, 8192)
	done := p.a.do(&export.Request{Op: export.Write, Offset: 1 << 20, Length: 8192, Data: data})
	flushed := p.a.do(&export.Request{Op: export.Flush})
	notDone(t, p.a, done)
	p.b.start()
	must(t, <-done)
	must(t, <-flushed)
	p.a.until("in sync", inSync)
	if got := p.a.status().Generation; got != generation {
		t.Fatal("a hold without a lone acknowledgement must not rotate the generation")
	}
	p.a.end()
	p.b.end()
	p.equal()
	if !bytes.Equal(p.b.image()[1<<20:1<<20+8192], data) {
		t.Fatal("the peer misses a held write")
	}
}

func TestWritesInFlightAtALossAreHeldAndResent(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	for round := range 5 {
		var all []chan error
		for i := range 64 {
			data := pattern(round*64+i, 16<<10)
			all = append(all, p.a.do(&export.Request{Op: export.Write, Offset: uint64(i) * 16 << 10, Length: 16 << 10, Data: data}))
		}
		p.b.loop.box.post(call(func(l *loop) {
			if l.session != nil {
				l.session.link.close()
			}
		}))
		for _, done := range all {
			select {
			case err := <-done:
				must(t, err)
			case <-time.After(15 * time.Second):
				t.Fatalf("round %d: a write never ended", round)
			}
		}
		p.a.until("in sync", inSync)
	}
	p.a.end()
	p.b.end()
	p.equal()
}

func TestRevokeFailsWhatIsHeld(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	p.b.end()
	p.a.until("disconnected", disconnected)
	done := p.a.do(&export.Request{Op: export.Write, Offset: 0, Length: 4096, Data: pattern(1, 4096)})
	notDone(t, p.a, done)
	began := time.Now()
	must(t, p.a.client.Revoke(context.Background(), control.Revoke{Epoch: control.Epoch{Counter: 1, Node: "a"}, Reason: "isolated"}))
	if err := <-done; err == nil {
		t.Fatal("a held write of a revoked volume must fail")
	}
	t.Logf("revoke with a held write: %v (stated: 100 ms)", time.Since(began))
	st := p.a.status()
	if st.Role != "Secondary" || st.Licence || st.Disk != "Consistent" {
		t.Fatalf("after a revoke: %s %s licence %t", st.Role, st.Disk, st.Licence)
	}
	if err := p.a.write(0, pattern(1, 4096)); err == nil {
		t.Fatal("a secondary took a write")
	}
}

func TestSlaveTakesOverAndOldPrimaryFollows(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	must(t, p.a.write(1<<20, pattern(1, 64<<10)))
	p.a.end() // a primary to the end: crashed
	st := p.b.until("has a licence", func(s control.Status) bool { return s.Licence && disconnected(s) })
	if st.Disk != "UpToDate" {
		t.Fatalf("the secondary is %s", st.Disk)
	}
	_, err := p.b.client.Promote(context.Background(), control.Promote{Epoch: control.Epoch{Counter: 2, Node: "b"}, Permission: "dead"})
	must(t, err)
	must(t, p.b.write(2<<20, pattern(2, 64<<10)))
	must(t, p.b.flush())
	if !bytes.Equal(p.b.read(1<<20, 64<<10), pattern(1, 64<<10)) {
		t.Fatal("an acknowledged write is missing after the takeover")
	}
	p.a.start()
	p.a.until("in sync", inSync)
	p.b.until("in sync", inSync)
	if p.a.status().Role != "Secondary" {
		t.Fatal("the old primary must follow")
	}
	p.a.end()
	p.b.end()
	p.equal()
}

func TestSwitchOver(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	must(t, p.a.write(0, pattern(1, 4096)))
	if _, err := p.b.client.Promote(context.Background(), control.Promote{Epoch: control.Epoch{Counter: 2, Node: "b"}}); err == nil {
		t.Fatal("two primaries")
	}
	must(t, p.a.client.Demote(context.Background()))
	p.b.until("peer secondary", func(s control.Status) bool { return s.PeerRole == "Secondary" })
	p.b.promote(2)
	must(t, p.b.write(8192, pattern(2, 4096)))
	must(t, p.b.client.Demote(context.Background()))
	p.a.until("peer secondary", func(s control.Status) bool { return s.PeerRole == "Secondary" })
	p.a.promote(3)
	if !bytes.Equal(p.a.read(8192, 4096), pattern(2, 4096)) {
		t.Fatal("a write is missing after switching back")
	}
	must(t, p.a.client.Demote(context.Background()))
	p.a.end()
	p.b.end()
	p.equal()
}

func TestRevokeWhileConnectedStaysInSync(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	must(t, p.a.write(0, pattern(1, 4096)))
	revoke := control.Revoke{Epoch: control.Epoch{Counter: 1, Node: "a"}, Reason: "engine_silent"}
	must(t, p.a.client.Revoke(context.Background(), revoke))
	must(t, p.a.client.Revoke(context.Background(), revoke)) // the engine's plan and its procedure may both say it
	st := p.b.until("peer secondary", func(s control.Status) bool { return s.PeerRole == "Secondary" })
	if !inSync(st) || !inSync(p.a.status()) {
		t.Fatalf("after a revoke while connected: %s/%s %s", st.Disk, st.PeerDisk, st.Connection)
	}
	p.b.end()
	st = p.a.until("lost", disconnected)
	if st.Licence || st.Disk != "Consistent" {
		t.Fatalf("a revoked side has a licence after the loss: %s", st.Disk)
	}
}

func TestATakeoverNeedNotWaitForTheConnectionsOwnLimit(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	p.b.until("peer primary", func(s control.Status) bool { return s.PeerRole == "Primary" })
	takeover := control.Promote{Epoch: control.Epoch{Counter: 2, Node: "b"}, Permission: "dead"}
	if _, err := p.b.client.Promote(context.Background(), takeover); err == nil {
		t.Fatal("promoted beside a primary that answers")
	}
	thaw := make(chan struct{})
	p.a.loop.box.post(call(func(*loop) { <-thaw })) // a hangs; its TCP does not
	t.Cleanup(func() { close(thaw) })
	for end := time.Now().Add(5 * time.Second); ; {
		_, err := p.b.client.Promote(context.Background(), takeover)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	must(t, p.b.write(0, pattern(1, 4096)))
}
