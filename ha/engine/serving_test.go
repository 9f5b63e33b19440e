package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// A mount point that is changed under a master: the old mount goes first, with what needs it, and nothing is ever mounted twice.
func TestChangedMountPoint(t *testing.T) {
	t.Parallel()
	b := newPair(t)
	b.options.Catalogue[1].Volume = "data"
	b.start()
	b.await("whole", whole)
	b.change(t, 2, func(s *ha.Settings) { s.Replication.Volumes[0].MountPoint = "/srv/new" })
	b.await("mounted there, and served", func(s control.Status) bool {
		return len(s.Volumes) == 1 && s.Volumes[0].Mount != nil && *s.Volumes[0].Mount == "/srv/new" && serviceIs(s, "guestbook", "running")
	})
	inOrder(t, b.computer.history(), "mount /srv/data", "guestbook stopped", "unmount /srv/data", "device off", "mount /srv/new", "guestbook running")
	if b.computer.twice {
		t.Errorf("mounted twice: %s", b.computer.history())
	}
}

// A volume that is slow to say what it is, because the machine is busy, is waited for where this node served: nothing is taken from under the services.
func TestAdoptsASlowVolume(t *testing.T) {
	t.Parallel()
	b := newPair(t)
	b.start()
	b.await("whole", whole)
	b.end()
	before := b.computer.history()
	b.computer.volumes["data"].slow = 900 * time.Millisecond
	b.start()
	b.await("master again", wholeAfterRestart)
	if after := b.computer.history(); after != before+", announce" {
		t.Errorf("something was done while adopting: %s", after[len(before):])
	}
}

// fullStateFolder lets nothing more be stored: a folder stands in the place of each file, and rename fails, for root too.
func (b *bench) fullStateFolder() {
	b.t.Helper()
	for _, name := range []string{durableFile, roomFile} {
		path := filepath.Join(b.options.Config.StateDir, "engine", name)
		if err := os.RemoveAll(path); err != nil {
			b.t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
			b.t.Fatal(err)
		}
	}
	b.await("condition", func(s control.Status) bool { return hasCondition(s, "state.not_stored") })
}

func (b *bench) heartOrders() (n int, said ha.Saying) {
	b.heart.mu.Lock()
	defer b.heart.mu.Unlock()
	return b.heart.orders, b.heart.said
}

// A master whose state folder is full goes on: it renews its addresses, refuses what it could not keep, and asks for the peer's Outdated when it
// loses the connection.
func TestServesWithAFullStateFolder(t *testing.T) {
	t.Parallel()
	b := newPair(t)
	b.start()
	b.await("whole", whole)
	b.fullStateFolder()
	if out, err := b.client.Armed(t.Context(), control.Switch{On: false, By: "test"}); err == nil || !strings.Contains(err.Error(), "cannot be stored") {
		t.Errorf("disarm: %+v, %v", out, err)
	}
	v := b.computer.volumes["data"]
	v.mu.Lock()
	v.fact.Connected, v.fact.Connection, v.fact.PeerDisk = false, "Connecting", ha.DUnknown
	v.mu.Unlock()
	b.await("asks", func(control.Status) bool {
		_, said := b.heartOrders()
		return len(said.Requests) == 1 && said.Requests[0].Kind == ha.AskOutdate
	})
}

// What cannot be stored is not done, and heart hears from the engine all the same: else it would let the addresses go.
func TestHeartIsToldWhatStoodLast(t *testing.T) {
	t.Parallel()
	b := newPair(t)
	b.start()
	b.await("whole", whole)
	b.fullStateFolder()
	peer := b.heart.peer
	b.heart.mu.Lock()
	b.heart.peer = func(at ha.Instant, heard ha.Saying) *ha.Beat { // one that stands by under a higher epoch: this node would raise itself
		beat := peer(at, heard)
		beat.Epoch = ha.Epoch{Counter: 99, Node: "b"}
		return beat
	}
	b.heart.mu.Unlock()
	before, _ := b.heartOrders()
	b.await("orders go on", func(control.Status) bool {
		n, said := b.heartOrders()
		return n > before+20 && said.Role == ha.Master
	})
	if _, said := b.heartOrders(); said.Epoch.Counter > 98 {
		t.Errorf("said epoch %v, which is not stored", said.Epoch)
	}
	if !held(b.await("a status", func(control.Status) bool { return true })) {
		t.Error("the addresses are gone")
	}
}

// A loop that stands still for a moment holds up an orderly demotion, and does not turn it into a failed stop.
func TestStalledLoopInADemotion(t *testing.T) {
	t.Parallel()
	b := newPair(t)
	b.reached = func(point string) {
		if point == "demote:services:before" {
			b.checks.mu.Lock() // whoever gathers facts waits
			time.AfterFunc(2500*time.Millisecond, b.checks.mu.Unlock)
		}
	}
	b.start()
	b.await("whole", whole)
	if _, err := b.client.Release(t.Context(), control.Order{By: "test"}); err != nil {
		t.Fatal(err)
	}
	b.await("clean slave", clean)
	inOrder(t, b.computer.history(), "guestbook stopped", "unmount /srv/data", "device off", "demote", "addresses off")
	if b.events.has("stop.failed") {
		t.Error("the demotion was called failed")
	}
}
