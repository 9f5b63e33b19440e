package volume

import (
	"context"
	"testing"

	"evenkeel/replication/control"
)

func (s *side) detach(force bool) {
	s.t.Helper()
	must(s.t, s.client.Detach(context.Background(), control.Detach{Force: force}))
	s.until("without its disk", func(s control.Status) bool { return s.Disk == "Failed" })
}

// again starts the process anew, which is how a disk that failed is used again.
func (s *side) again() {
	s.t.Helper()
	s.end()
	s.start()
}

// TestFailedDiskIsStillTheNewest: a primary goes on alone, gives its disk up, and takes it back. What was acknowledged alone is on that disk and nowhere else:
// the other copy gets it, in whichever order the two meet.
func TestFailedDiskIsStillTheNewest(t *testing.T) {
	for name, lose := range map[string]func(p *pair){
		"as a primary":               func(p *pair) { p.a.detach(true); p.a.again(); p.b.start() },
		"after a restart":            func(p *pair) { p.a.again(); p.a.detach(false); p.a.again(); p.b.start() },
		"the other one starts first": func(p *pair) { p.a.detach(true); p.b.start(); p.a.again() },
		"again and again":            func(p *pair) { p.a.detach(true); p.a.again(); p.a.detach(false); p.a.again(); p.b.start() },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, testSize)
			p.both()
			p.a.promote(1)
			must(t, p.a.write(0, pattern(1, 64<<10)))
			p.b.end()
			p.a.until("disconnected", disconnected)
			p.a.permit("dead", 1)
			must(t, p.a.write(1<<20, pattern(2, 64<<10)))
			must(t, p.a.flush())
			lose(p)
			p.a.until("in sync", inSync)
			p.b.until("in sync", inSync)
			p.bothHold(1<<20, pattern(2, 64<<10))
		})
	}
}

// TestSourceGivesItsDiskUp: the source of a resync loses its disk in the middle. Its copy was complete and still is.
func TestSourceGivesItsDiskUp(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	p.b.end()
	p.a.until("disconnected", disconnected)
	p.a.permit("dead", 1)
	must(t, p.a.write(1<<20, pattern(3, 256<<10)))
	must(t, p.a.client.Pause(context.Background()))
	p.b.start()
	p.b.until("the target", func(s control.Status) bool { return s.Connection == "SyncTarget" && s.Disk == "Inconsistent" })
	p.a.detach(true)
	p.a.again()
	p.a.until("in sync", inSync)
	p.b.until("in sync", inSync)
	p.bothHold(1<<20, pattern(3, 256<<10))
}
