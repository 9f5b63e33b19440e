package e2e

import (
	"strings"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// TestIsolation cuts whole nodes off while clients write from the network and inside a: first b, then a, then both. Nothing acknowledged anywhere is lost.
func TestIsolation(t *testing.T) {
	l := upLab(t)
	l.calm(t, "a")
	w := l.startWriter(t, "client", guestbook)
	inside := l.startWriter(t, "a", "http://127.0.0.1:8080/entries")
	l.await(t, 20*time.Second, "the client writes", growing(t, w))
	l.await(t, 20*time.Second, "the client inside a writes", growing(t, inside))
	t.Run("b:all", func(t *testing.T) { l.testSlaveAlone(t, w) })
	t.Run("a:all", func(t *testing.T) { l.testMasterAlone(t, w) })
	t.Run("all --to a", func(t *testing.T) { l.testDeafMaster(t, w) })
	for _, how := range []string{"all", "all --silent", "all --silent"} {
		t.Run(how, func(t *testing.T) { l.testAllAlone(t, how) })
	}
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	acked := append(w.stop(t), inside.stop(t)...)
	mustHold(t, l.entries(t), acked)
}

// testSlaveAlone: b loses every cable. a holds its writes for at most P, then goes on alone; b waits, Consistent, and refuses to take over.
func (l *lab) testSlaveAlone(t *testing.T, w *writer) {
	before, _ := l.status("a")
	cut := time.Now()
	l.do(t, "cut", "b:all")
	l.is(t, 20*time.Second, "a", "goes on alone", func(s control.Status) bool {
		return isMaster(s) && s.Volumes[0].Permission != nil && *s.Volumes[0].Permission == "peer_dead" && condition(s, "peer.dead") != nil
	})
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	l.heldAtMostP(t, w, cut)
	l.is(t, 20*time.Second, "b", "waits, Consistent", func(s control.Status) bool {
		v := s.Volumes[0]
		return s.State == "blocked" && v.Disk == "Consistent" && !v.Licence && s.Peer.Verdict == "dead" && condition(s, "volume.consistent") != nil &&
			condition(s, "reference.lost") != nil && !s.Takeover.Possible
	})
	l.refusesPromotion(t, "b", "other node")
	l.do(t, "join", "b:all")
	l.calm(t, "a")
	if a, _ := l.status("a"); a.Epoch != before.Epoch {
		t.Errorf("the role moved: epoch %v to %v", before.Epoch, a.Epoch)
	}
}

// heldAtMostP checks how long writes paused since an instant: at most P + 1 s.
func (l *lab) heldAtMostP(t *testing.T, w *writer, since time.Time) {
	t.Helper()
	gap := longestGap(w.acks(t), since)
	t.Logf("writes were held for %v (stated %v)", gap, promise+time.Second)
	if gap > (promise+time.Second)*slack {
		t.Errorf("held for %v", gap)
	}
}

// testMasterAlone: a loses every cable. It is off by 0.8 D + 100 ms, b takes over at D and stays master when a is back.
func (l *lab) testMasterAlone(t *testing.T, w *writer) {
	var off time.Duration
	cut := time.Now()
	l.do(t, "cut", "a:all")
	took := l.await(t, 20*time.Second, "b takes over", func() bool {
		if a, ok := l.status("a"); off == 0 && ok && a.State != "master" && !anyHeld(a) {
			off = time.Since(cut)
		}
		b, ok := l.status("b")
		return ok && serving(b) && b.Volumes[0].Permission != nil
	})
	l.is(t, 5*time.Second, "a", "has revoked itself and waits", func(s control.Status) bool {
		return s.State != "master" && !anyHeld(s) && s.Volumes[0].Role == "Secondary" && s.Volumes[0].Mount == nil && !s.Takeover.Possible
	})
	limit := deadTime*8/10 + 100*time.Millisecond
	t.Logf("a was off after %v (stated %v), b served %v after the cut", off, limit, took)
	if off > limit*slack {
		t.Errorf("a was off only after %v", off)
	}
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	l.do(t, "join", "a:all")
	l.calm(t, "b")
}

// testAllAlone: both lose everything, gateways too. The master revokes itself, the slave does not move, and the last primary serves again when they hear each
// other, whichever looks first: the other one does not promote itself in between.
func (l *lab) testAllAlone(t *testing.T, how string) {
	last := l.master(t)
	before, _ := l.status(last)
	l.do(t, append([]string{"cut"}, strings.Fields(how)...)...)
	l.is(t, 20*time.Second, last, "has revoked itself", func(s control.Status) bool {
		return s.State != "master" && !anyHeld(s) && s.Volumes[0].Role == "Secondary"
	})
	for _, node := range []string{"a", "b"} {
		l.is(t, 20*time.Second, node, "holds its peer for dead and does not move", func(s control.Status) bool {
			return s.State == "blocked" && s.Peer.Verdict == "dead" && !s.Takeover.Possible && condition(s, "reference.lost") != nil && condition(s, "peer.dead") != nil
		})
	}
	l.do(t, "join", "all")
	l.calm(t, last)
	if now, _ := l.status(last); now.Epoch.Counter != before.Epoch.Counter+1 {
		t.Errorf("%s serves under epoch %v after %v: somebody else took the role in between", last, now.Epoch, before.Epoch)
	}
}

// master is the node that serves now.
func (l *lab) master(t *testing.T) string {
	t.Helper()
	for _, node := range []string{"a", "b"} {
		if s, _ := l.status(node); isMaster(s) {
			return node
		}
	}
	t.Fatal("nobody serves")
	return ""
}

func anyHeld(s control.Status) bool {
	for _, a := range s.Addresses {
		if a.Held {
			return true
		}
	}
	return false
}

// testDeafMaster: the master hears nothing and is heard. It asks in vain for the slave's Outdated, takes itself off and says so; the slave, whose copy
// was not given up, serves, and nothing acknowledged is lost. The old master stands by when it hears again.
func (l *lab) testDeafMaster(t *testing.T, w *writer) {
	master := l.master(t)
	cut := time.Now()
	l.do(t, "cut", "all", "--to", master)
	l.is(t, 20*time.Second, other(master), "serves", serving)
	t.Logf("%s serves %.2f s after %s became deaf", other(master), time.Since(cut).Seconds(), master)
	l.is(t, 5*time.Second, master, "holds nothing", func(s control.Status) bool { return s.State != "master" && !anyHeld(s) && s.Volumes[0].Mount == nil })
	l.do(t, "join", "all")
	l.calm(t, other(master))
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
}
