package volume

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"evenkeel/replication/control"
)

// another is a second disk for a side, marked for everything from the peer.
func (s *side) another() string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "another.img")
	must(s.t, os.WriteFile(path, nil, 0o600))
	must(s.t, os.Truncate(path, testSize))
	_, err := Create(CreateOptions{Name: "data", Node: s.config.Node, Backing: path, StateDir: s.config.StateDir})
	must(s.t, err)
	return path
}

// endsItself waits for the process's own end.
func (s *side) endsItself() {
	s.t.Helper()
	select {
	case err := <-s.ended:
		must(s.t, err)
		s.ended <- nil // for end
	case <-time.After(10 * time.Second):
		s.t.Fatal("the process goes on with the disk that is configured no longer")
	}
	s.end()
}

// TestAnotherBackingDevice: a secondary's process ends for it at once, a primary's when its role has ended, and says so until then. The next process uses it.
func TestAnotherBackingDevice(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	must(t, p.a.write(0, pattern(5, 64<<10)))
	next := p.b.config
	next.Backing = p.b.another()
	must(t, p.b.client.Configure(context.Background(), next))
	p.b.endsItself()
	p.b.config = next
	p.b.start()
	p.b.until("in sync on its new disk", inSync)

	next = p.a.config
	next.Backing = p.a.another()
	must(t, p.a.client.Configure(context.Background(), next))
	p.a.until("says that it waits", func(s control.Status) bool { return s.ProblemCode == "backing_waits" && s.Role == "Primary" })
	must(t, p.a.client.Demote(context.Background()))
	p.a.endsItself()
	p.a.config = next
	p.a.start()
	p.a.until("in sync on its new disk", inSync)
	p.a.end()
	p.b.end()
	p.equal()
	if !bytes.Equal(p.a.image()[:64<<10], pattern(5, 64<<10)) {
		t.Error("what was written is not on the new disks")
	}
}
