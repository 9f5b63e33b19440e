package e2e

import (
	"os"
	"testing"
	"time"

	"evenkeel/ha/control"
)

func process(s control.Status, name string) control.Process {
	for _, p := range s.Processes {
		if p.Name == name {
			return p
		}
	}
	return control.Process{}
}

// TestProcessesDie kills each process of the master under load: nothing acknowledged is lost, and neither heart, web nor engine changes a role.
func TestProcessesDie(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	w := l.startWriter(t, "client", guestbook)
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	for _, name := range []string{"web", "heart", "engine"} {
		t.Run(name, func(t *testing.T) {
			before, _ := l.status("a")
			peer, _ := l.status("b")
			l.do(t, "kill", "a", name)
			l.is(t, 10*time.Second, "a", name+" is back", func(s control.Status) bool {
				p := process(s, name)
				return p.PID != 0 && p.PID != process(before, name).PID && isMaster(s)
			})
			l.await(t, 10*time.Second, "entries are acknowledged", growing(t, w))
			after, _ := l.status("a")
			b, _ := l.status("b")
			if after.Epoch != before.Epoch || b.State != peer.State {
				t.Errorf("the roles changed: epoch %v to %v, b %s", before.Epoch, after.Epoch, b.State)
			}
			for _, other := range []string{"heart", "engine", "web", "volume/data"} {
				if other != name && process(after, other).PID != process(before, other).PID {
					t.Errorf("%s was restarted as well", other)
				}
			}
			l.settle(t, "a")
		})
	}
	t.Run("volume", func(t *testing.T) {
		l.do(t, "kill", "a", "volume")
		l.await(t, 60*time.Second, "somebody serves again", growing(t, w))
		master := "a"
		if s, _ := l.status("b"); isMaster(s) {
			master = "b"
		}
		l.settle(t, master)
		acked := w.stop(t)
		mustHold(t, l.entries(t), acked)
	})
}

// TestEngineDiesAtEachStep kills the engine once before and once after every step of a promotion and of a demotion; each ends right, and nothing is mounted twice.
func TestEngineDiesAtEachStep(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	master := "a"
	steps := map[string][]string{
		"promote": {"volumes", "device", "mount", "services-before", "addresses", "services", "verify"},
		"demote":  {"services", "addresses", "unmount", "device", "volumes"},
	}
	for _, kind := range []string{"promote", "demote"} {
		for _, step := range steps[kind] {
			for _, when := range []string{"before", "after"} {
				t.Run(kind+"/"+step+"/"+when, func(t *testing.T) {
					victim := other(master)
					if kind == "demote" {
						victim = master
					}
					armed := l.armDeath(t, victim, kind+":"+step+":"+when)
					_, _ = l.try(90*time.Second, "--node", other(master), "takeover")
					l.await(t, 90*time.Second, "exactly one serves, the other stands by in sync", func() bool {
						a, ok1 := l.status("a")
						b, ok2 := l.status("b")
						return ok1 && ok2 && (serving(a) && isSlave(b) || serving(b) && isSlave(a)) && inSync(a) && inSync(b)
					})
					if s, _ := l.status("b"); isMaster(s) {
						master = "b"
					} else {
						master = "a"
					}
					if _, err := os.Stat(armed); err == nil {
						t.Errorf("the engine of %s never came to this point", victim)
					}
					l.notMountedTwice(t)
				})
			}
		}
	}
}

// notMountedTwice looks at both nodes' mounts.
func (l *lab) notMountedTwice(t *testing.T) {
	t.Helper()
	mounts := 0
	for _, n := range []string{"a", "b"} {
		out := l.in(t, n, "sh", "-c", "grep -c ' /srv/data ' /proc/mounts; true")
		switch out[0] {
		case '0':
		case '1':
			mounts++
		default:
			t.Errorf("%s: mounted %s times", n, out)
		}
	}
	if mounts != 1 {
		t.Errorf("mounted on %d nodes", mounts)
	}
}
