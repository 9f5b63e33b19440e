package volume

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"evenkeel/replication/control"
	"evenkeel/replication/export"
)

// scribble writes overlapping pieces of a small area and flushes now and then, until stop is closed.
func scribble(s *side, seed uint64, area uint64, stop chan struct{}) {
	chance := rand.New(rand.NewPCG(seed, 5))
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		size := uint64(4096) << chance.Uint64N(5)
		off := chance.Uint64N((area-size)/512) * 512
		if chance.IntN(8) == 0 {
			<-s.do(&export.Request{Op: export.Flush})
		}
		data := pattern(int(seed)*1000+n, int(size))
		if err := <-s.do(&export.Request{Op: export.Write, Offset: off, Length: uint32(size), Data: data}); err != nil {
			s.t.Errorf("write %d: %v", n, err)
			return
		}
	}
}

// TestCopiesAreEqualAfterLossesUnderLoad: the connection is lost again and again while a primary writes, with and without a permission to go on
// alone; after each return the copies are the same.
func TestCopiesAreEqualAfterLossesUnderLoad(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	const rounds, writers, area = 6, 6, 4 << 20
	for round := range rounds {
		stop := make(chan struct{})
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() { scribble(p.a, uint64(round*writers+w), area, stop) })
		}
		p.a.cut()
		if round%3 != 0 {
			must(t, p.b.client.Disconnect(t.Context()))
			p.a.until("holding", func(s control.Status) bool { return s.Holding })
			p.a.permit("dead", 1)
			p.a.until("alone", func(s control.Status) bool { return s.OutOfSyncBytes > 1<<20 })
			late := p.a.request(1)
			must(t, p.b.client.Connect(t.Context()))
			if round%3 == 2 { // a request that comes when both have connected again is about an earlier loss
				p.b.until("target", func(s control.Status) bool { return s.Connection != "Connecting" })
				var e *control.Error
				if _, err := p.b.client.Outdate(t.Context(), late); !errors.As(err, &e) || e.Code != "connected" {
					t.Errorf("a request of an earlier loss while connected: %v", err)
				}
			}
		}
		p.b.until("in sync", inSync)
		p.a.until("in sync", inSync)
		close(stop)
		all.Wait()
	}
	p.a.end()
	p.b.end()
	p.equal()
}
