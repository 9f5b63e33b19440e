package e2e

import (
	"strings"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// TestCuts pulls every cable of the lab's list and waits for how it ends (60-lab, "What cuts end in"): no role change, each cut named by its
// condition, and everything as before when it is joined.
func TestCuts(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	quiet := func(names ...string) func(control.Status) bool {
		return func(s control.Status) bool {
			for _, n := range names {
				c := condition(s, "link.quiet")
				if c == nil || !anyText(s, "link.quiet", n) {
					return false
				}
			}
			return true
		}
	}
	for _, c := range []struct {
		name  string
		cut   []string
		onB   func(control.Status) bool
		onA   func(control.Status) bool
		other string
	}{
		{name: "serial", cut: []string{"serial"}, onB: quiet("ttyS0"), onA: quiet("ttyS0")},
		{name: "lan", cut: []string{"lan"}, onB: quiet("lan"), onA: quiet("lan")},
		{name: "a:lan", cut: []string{"a:lan"}, onB: quiet("lan"), onA: quiet("lan")},
		{name: "wan", cut: []string{"wan"}},
		{name: "serial+lan", cut: []string{"serial", "lan"}, onB: quiet("ttyS0", "lan"), onA: quiet("ttyS0", "lan")},
		{name: "sync", cut: []string{"sync"}, onB: outdated, onA: alone},
		{name: "serial+sync", cut: []string{"serial", "sync"}, onB: outdated, onA: alone},
		{name: "lan+sync", cut: []string{"lan", "sync"}, onB: outdated, onA: alone},
	} {
		t.Run(c.name, func(t *testing.T) {
			epoch, _ := l.status("a")
			for _, what := range c.cut {
				l.do(t, "cut", what)
			}
			for node, ok := range map[string]func(control.Status) bool{"a": c.onA, "b": c.onB} {
				if ok != nil {
					l.is(t, 20*time.Second, node, "names the cut", ok)
				}
			}
			if strings.Contains(c.name, "sync") {
				l.refusesPromotion(t, "b")
			}
			a, _ := l.status("a")
			if b, _ := l.status("b"); a.State != "master" || b.State != "slave" || a.Epoch != epoch.Epoch {
				t.Errorf("the roles changed: a %s, b %s, epoch %v to %v", a.State, b.State, epoch.Epoch, a.Epoch)
			}
			for _, what := range c.cut {
				l.do(t, "join", what)
			}
			l.settle(t, "a")
		})
	}
}

func anyText(s control.Status, code, text string) bool {
	for _, c := range s.Conditions {
		if c.Code == code && strings.Contains(c.Text, text) {
			return true
		}
	}
	return false
}

func outdated(s control.Status) bool {
	return s.State == "slave" && s.Volumes[0].Disk == "Outdated" && condition(s, "volume.outdated") != nil && !s.Takeover.Possible
}

func alone(s control.Status) bool {
	return s.State == "master" && s.Volumes[0].Permission != nil && condition(s, "replication.disconnected") != nil
}

// refusesPromotion asks an Outdated slave to take over: it refuses and says why.
func (l *lab) refusesPromotion(t *testing.T, node string) {
	t.Helper()
	code, out := l.exitCode(t, "--node", node, "takeover")
	if code != control.ExitRefused || !strings.Contains(strings.ToLower(out), "outdated") {
		t.Errorf("takeover on an Outdated slave: exit %d (want %d): %s", code, control.ExitRefused, out)
	}
}

// TestIsolation: a loses every cable, then b does, then both.
func TestIsolation(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	t.Run("a:all", func(t *testing.T) {
		l.do(t, "cut", "a:all")
		l.is(t, 20*time.Second, "b", "takes over", serving)
		l.is(t, 5*time.Second, "a", "has revoked itself", func(s control.Status) bool { return s.State != "master" && !anyHeld(s) })
		l.do(t, "join", "a:all")
		l.settle(t, "b")
	})
	t.Run("a:all again", func(t *testing.T) {
		l.do(t, "cut", "a:all")
		l.is(t, 20*time.Second, "b", "goes on alone", func(s control.Status) bool { return serving(s) && s.Volumes[0].Permission != nil })
		l.is(t, 20*time.Second, "a", "waits, Consistent", func(s control.Status) bool {
			return s.State != "master" && (s.Volumes[0].Disk == "Consistent" || s.Volumes[0].Disk == "Outdated")
		})
		l.do(t, "join", "a:all")
		l.settle(t, "b")
	})
	t.Run("all", func(t *testing.T) {
		l.do(t, "cut", "all")
		l.is(t, 20*time.Second, "b", "has revoked itself", func(s control.Status) bool { return s.State != "master" && !anyHeld(s) })
		l.is(t, 20*time.Second, "a", "holds its peer for dead and does not move", func(s control.Status) bool {
			return s.State != "master" && s.Peer.Verdict == "dead"
		})
		l.do(t, "join", "all")
		l.settle(t, "b")
	})
}

func anyHeld(s control.Status) bool {
	for _, a := range s.Addresses {
		if a.Held {
			return true
		}
	}
	return false
}

// TestOneWay: frames to a vanish; b still hears a, and the link's condition says one way.
func TestOneWay(t *testing.T) {
	l := upLab(t, "--no-volume")
	l.await(t, 30*time.Second, "a serves", func() bool { s, ok := l.status("a"); return ok && serving(s) && s.Peer.Alive })
	l.do(t, "cut", "lan", "--to", "a")
	l.is(t, 20*time.Second, "b", "names the one-way link", func(s control.Status) bool { return condition(s, "link.one_way") != nil })
	l.do(t, "join", "lan")
	l.is(t, 20*time.Second, "b", "has no complaint", func(s control.Status) bool { return condition(s, "link.one_way") == nil })
}
