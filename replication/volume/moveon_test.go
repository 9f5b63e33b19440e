package volume

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evenkeel/replication"
	"evenkeel/replication/control"
	"evenkeel/replication/export"
	"evenkeel/replication/meta"
	"evenkeel/replication/wire"
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

func (s *side) configure(c control.Config) {
	s.t.Helper()
	must(s.t, s.client.Configure(context.Background(), c))
}

// waits is a volume that keeps its disk although another one is configured, and says why.
func waits(why string) func(control.Status) bool {
	return func(s control.Status) bool {
		return s.ProblemCode == control.BackingWaits && strings.Contains(s.Problem, why)
	}
}

// TestAnotherBackingDevice: the process of a secondary ends for it, a primary's when the other side has taken the role. The next process uses it.
func TestAnotherBackingDevice(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	must(t, p.a.write(0, pattern(5, 64<<10)))
	next := p.b.config
	next.Backing = p.b.another()
	p.b.configure(next)
	p.b.endsItself()
	p.b.config = next
	p.b.start()
	p.b.until("in sync on its new disk", inSync)

	next = p.a.config
	next.Backing = p.a.another()
	p.a.configure(next)
	p.a.until("says that it waits", waits("when the other node serves"))
	must(t, p.a.client.Demote(context.Background()))
	p.a.until("is no primary and waits", func(s control.Status) bool { return s.Role == "Secondary" && waits("")(s) })
	p.b.until("knows it", func(s control.Status) bool { return s.PeerRole == "Secondary" })
	p.a.promote(2) // the role came back: the old disk is still there
	must(t, p.a.write(1<<20, pattern(6, 64<<10)))
	must(t, p.a.client.Demote(context.Background()))
	p.b.until("knows it", func(s control.Status) bool { return s.PeerRole == "Secondary" })
	p.b.promote(3)
	p.a.endsItself()
	p.a.config = next
	p.a.start()
	p.a.until("in sync on its new disk", inSync)
	p.bothHold(0, pattern(5, 64<<10))
	p.bothHold(1<<20, pattern(6, 64<<10))
}

// TestABackingDeviceThatCannotBeUsed: a mistyped one, or one that bears no volume yet, costs nobody the good copy. It is used when it can be.
func TestABackingDeviceThatCannotBeUsed(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	next := p.b.config
	next.Backing = filepath.Join(t.TempDir(), "mistyped.img")
	p.b.configure(next)
	p.b.until("keeps its copy", func(s control.Status) bool { return inSync(s) && waits("cannot be used")(s) })
	must(t, os.WriteFile(next.Backing, nil, 0o600))
	must(t, os.Truncate(next.Backing, testSize))
	p.b.until("bears no volume", waits("metadata"))
	_, err := Create(CreateOptions{Name: "data", Node: "b", Backing: next.Backing, StateDir: next.StateDir})
	must(t, err)
	p.b.endsItself()
}

// TestTheRightDiskAtLast: a process without a disk takes the one that is configured instead, as soon as it is there, and names that one until then.
func TestTheRightDiskAtLast(t *testing.T) {
	p := newPair(t, testSize)
	right := p.b.config
	p.b.config.Backing = filepath.Join(t.TempDir(), "wrong.img")
	p.b.start()
	p.b.until("without a disk", func(s control.Status) bool { return s.Disk == "Diskless" })
	other := right
	other.Backing = filepath.Join(t.TempDir(), "wrong-too.img")
	p.b.configure(other)
	p.b.until("names the disk that is wanted", func(s control.Status) bool { return strings.Contains(s.Problem, "wrong-too.img") })
	p.b.configure(right)
	p.b.endsItself()
}

// TestDispensable: a disk is given up for another one only where nobody needs it now: not by the last one that is whole, nor between two primaries.
func TestDispensable(t *testing.T) {
	primary := wire.State{Role: string(replication.Primary)}
	for name, c := range map[string]struct {
		l    *loop
		want bool
	}{
		"mirrored to by a primary":      {&loop{area: &meta.Area{}, session: &session{live: true, peerState: primary}}, true},
		"no disk":                       {&loop{}, true},
		"the peer serves not (yet)":     {&loop{area: &meta.Area{}, session: &session{live: true}}, false},
		"the peer is away":              {&loop{area: &meta.Area{}}, false},
		"it has only begun to meet":     {&loop{area: &meta.Area{}, session: &session{peerState: primary}}, false},
		"primary itself":                {&loop{area: &meta.Area{}, state: replication.State{Flags: replication.PrimaryIndicator}}, false},
		"its kernel device is still up": {&loop{area: &meta.Area{}, kernel: &export.Kernel{}, session: &session{live: true, peerState: primary}}, false},
	} {
		if got := c.l.dispensable(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
