package volume

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"evenkeel/replication/control"
	"evenkeel/replication/export"
)

// register is one block with one writer and several readers. A history of it is linearizable if no read goes back behind what was
// acknowledged or read before it began; a failed write may or may not have happened.
type register struct {
	off     uint64
	next    uint64
	settled atomic.Uint64 // the highest stamp that was acknowledged or read
}

func (r *register) raise(n uint64) {
	for {
		old := r.settled.Load()
		if n <= old || r.settled.CompareAndSwap(old, n) {
			return
		}
	}
}

// write writes the next stamp.
func (r *register) write(s *side) {
	r.next++
	b := alloc(4096)
	binary.LittleEndian.PutUint64(b, r.next)
	if s.write(r.off, b) == nil {
		r.raise(r.next)
	}
}

// read reads; an error is not a result.
func (r *register) read(s *side) error {
	before := r.settled.Load()
	b := alloc(4096)
	if <-s.do(&export.Request{Op: export.Read, Offset: r.off, Length: 4096, Data: b}) != nil {
		return nil
	}
	got := binary.LittleEndian.Uint64(b)
	if got < before {
		return fmt.Errorf("block %s on %s went back from %d to %d", fmt.Sprintf("%#x", r.off), s.config.Node, before, got)
	}
	r.raise(got)
	return nil
}

// load keeps writers and readers going until stop is closed.
func load(t *testing.T, s *side, registers []*register, stop chan struct{}, all *sync.WaitGroup) {
	going := func() bool {
		select {
		case <-stop:
			return false
		default:
			return true
		}
	}
	for _, r := range registers {
		all.Go(func() {
			for going() {
				r.write(s)
			}
		})
		all.Go(func() {
			for going() {
				if err := r.read(s); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
}

// cut ends the connection of a side as a pulled cable does.
func (s *side) cut() {
	s.loop.box.post(call(func(l *loop) {
		if l.session != nil {
			l.session.link.close()
		}
	}))
}

// takeOver promotes as soon as the volume lets it.
func (s *side) takeOver(epoch uint64) {
	s.t.Helper()
	for end := time.Now().Add(15 * time.Second); ; {
		s.until("usable", func(s control.Status) bool { return s.Disk == "UpToDate" && s.PeerRole != "Primary" })
		_, err := s.client.Promote(context.Background(), control.Promote{Epoch: control.Epoch{Counter: epoch, Node: s.config.Node}, Permission: "released"})
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.t.Fatal(err)
		}
	}
}

func TestReadsNeverGoBackAcrossLossesAndTakeovers(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	random := rand.New(rand.NewPCG(7, 7))
	var registers []*register
	for i := range 6 {
		registers = append(registers, &register{off: uint64(i) * 3 << 20 / 2})
	}
	primary, other := p.a, p.b
	primary.promote(1)
	for round := range 6 {
		stop, all := make(chan struct{}), &sync.WaitGroup{}
		load(t, primary, registers, stop, all)
		for range 3 {
			time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond) // the instant of the cut; nothing is awaited
			other.cut()
			primary.until("in sync", inSync)
		}
		other.until("in sync", inSync)
		if round%2 == 1 {
			other.cut() // the role goes at the very moment of a loss
		}
		must(t, primary.client.Revoke(context.Background(), control.Revoke{Epoch: control.Epoch{Counter: uint64(round + 1), Node: "a"}, Reason: "test"}))
		close(stop)
		all.Wait()
		other.takeOver(uint64(round + 2))
		primary, other = other, primary
		for _, r := range registers {
			if err := r.read(primary); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		primary.until("in sync", inSync)
	}
	must(t, primary.client.Demote(context.Background()))
	p.a.end()
	p.b.end()
	p.equal()
	t.Logf("%d writes of the first register", registers[0].next)
}
