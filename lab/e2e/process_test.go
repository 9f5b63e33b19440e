package e2e

import (
	"os"
	"syscall"
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

// TestProcessesDie kills each process of either node under load: nothing acknowledged is lost, and neither web, heart nor engine changes a role
// or touches a service.
func TestProcessesDie(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	w := l.startWriter(t, "client", guestbook)
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	for _, node := range []string{"a", "b"} {
		for _, name := range []string{"web", "heart", "engine"} {
			t.Run(node+"/"+name, func(t *testing.T) { l.testProcessDies(t, node, name, w) })
		}
	}
	t.Run("b/volume", func(t *testing.T) {
		before, _ := l.status("b")
		l.do(t, "kill", "b", "volume")
		l.isBack(t, before, "volume/data")
		l.await(t, 60*time.Second, "a goes on", growing(t, w))
		l.settle(t, "a")
	})
	t.Run("a/volume", func(t *testing.T) {
		l.do(t, "kill", "a", "volume")
		l.await(t, 60*time.Second, "somebody serves again", growing(t, w))
		master := "a"
		if s, _ := l.status("b"); isMaster(s) {
			master = "b"
		}
		l.settle(t, master)
		acked := w.stop(t)
		mustHold(t, l.entries(t), acked)
		l.checkData(t, master)
	})
}

// isBack waits until another process of that name runs, from the status that knew the killed one.
func (l *lab) isBack(t *testing.T, before control.Status, name string) time.Duration {
	t.Helper()
	return l.is(t, 10*time.Second, before.Node, name+" is back", func(s control.Status) bool {
		p := process(s, name)
		return p.PID != 0 && p.PID != process(before, name).PID
	})
}

// testProcessDies kills a process that nothing but itself depends upon.
func (l *lab) testProcessDies(t *testing.T, node, name string, w *writer) {
	before := map[string]control.Status{}
	services := map[string]string{}
	for _, n := range []string{"a", "b"} {
		before[n], _ = l.status(n)
		services[n] = l.servicePIDs(t, n)
	}
	l.do(t, "kill", node, name)
	took := l.isBack(t, before[node], name)
	t.Logf("seen back %v after the kill", took)
	if name == "heart" && took > 200*time.Millisecond*slack {
		t.Errorf("heart was away for %v", took)
	}
	l.await(t, 10*time.Second, "entries are acknowledged", growing(t, w))
	l.settle(t, "a")
	for _, n := range []string{"a", "b"} {
		after, _ := l.status(n)
		if after.Epoch != before[n].Epoch || after.State != before[n].State {
			t.Errorf("%s changed: %s of %v to %s of %v", n, before[n].State, before[n].Epoch, after.State, after.Epoch)
		}
		for _, p := range before[n].Processes {
			if !(n == node && p.Name == name) && process(after, p.Name).PID != p.PID {
				t.Errorf("%s: %s was restarted as well", n, p.Name)
			}
		}
		if now := l.servicePIDs(t, n); now != services[n] {
			t.Errorf("%s: services were touched: processes %q before, %q after", n, services[n], now)
		}
	}
}

// servicePIDs lists the processes of a node's services.
func (l *lab) servicePIDs(t *testing.T, node string) string {
	t.Helper()
	return l.in(t, node, "sh", "-c", "pgrep -f 'lab (guestbook|echo)' | sort; true")
}

// TestEngineDiesAtEachStep kills the engine once before and once after every step of a promotion and of a demotion, under load; each ends right,
// nothing is mounted twice, and nothing acknowledged is lost.
func TestEngineDiesAtEachStep(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	w := l.startWriter(t, "client", guestbook)
	master := "a"
	steps := map[string][]string{
		"promote": {"volumes", "device", "mount", "services-before", "addresses", "services", "verify"},
		"demote":  {"services", "unmount", "device", "volumes", "addresses"},
	}
	for _, kind := range []string{"promote", "demote"} {
		for _, step := range steps[kind] {
			for _, when := range []string{"before", "after"} {
				t.Run(kind+"/"+step+"/"+when, func(t *testing.T) {
					master = l.testEngineDies(t, master, kind, step+":"+when)
					l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
				})
			}
		}
	}
	acked := w.stop(t)
	mustHold(t, l.entries(t), acked)
	l.checkData(t, master)
}

// testEngineDies moves the role, while the engine that promotes or demotes dies at a point, and returns who is master afterwards.
func (l *lab) testEngineDies(t *testing.T, master, kind, point string) string {
	t.Helper()
	victim := other(master)
	if kind == "demote" {
		victim = master
	}
	armed := l.armDeath(t, victim, kind+":"+point)
	_, _ = l.try(90*time.Second, "--node", other(master), "takeover") // it may end with the engine that it asks
	l.await(t, 90*time.Second, "exactly one serves, the other stands by in sync", func() bool {
		a, ok1 := l.status("a")
		b, ok2 := l.status("b")
		return ok1 && ok2 && (serving(a) && isSlave(b) || serving(b) && isSlave(a)) && inSync(a) && inSync(b)
	})
	if _, err := os.Stat(armed); err == nil {
		t.Errorf("the engine of %s never came to this point", victim)
	}
	master = "a"
	if s, _ := l.status("b"); isMaster(s) {
		master = "b"
	}
	t.Logf("%s died, %s serves", victim, master)
	l.notMountedTwice(t)
	return master
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

// TestEngineStandsStill stops the master's engine for a while, heart and volumes go on: below ten seconds nothing moves. It decides on what heart says now,
// not on what it heard before it stood still.
func TestEngineStandsStill(t *testing.T) {
	l := upLab(t)
	l.calm(t, "a")
	w := l.startWriter(t, "client", guestbook)
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	before, _ := l.status("a")
	for _, d := range []time.Duration{2600 * time.Millisecond, 4800 * time.Millisecond} {
		pid := l.hostPID(t, "a", "engine")
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(d) // the length of the fault
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
		l.calm(t, "a")
		if a, _ := l.status("a"); a.Epoch != before.Epoch {
			t.Fatalf("after %v the role moved: epoch %v to %v", d, before.Epoch, a.Epoch)
		}
	}
	acked := w.stop(t)
	mustHold(t, l.entries(t), acked)
}
