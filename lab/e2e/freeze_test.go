package e2e

import (
	"strings"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// TestFreeze pauses first the slave, then the master, each as a whole machine and with its kernel still answering (sick). A client inside the master
// that posts all the while gets no acknowledgement that is not on the survivor's volume.
func TestFreeze(t *testing.T) {
	l := upLab(t)
	l.calm(t, "a")
	w := l.startWriter(t, "client", guestbook)
	t.Run("slave", func(t *testing.T) { l.testFreezeSlave(t, w, "b") })
	t.Run("slave, userland", func(t *testing.T) { l.testFreezeSlave(t, w, "b", "--userland") })
	t.Run("master", func(t *testing.T) { l.testFreezeMaster(t, w, "a") })
	t.Run("master, userland", func(t *testing.T) { l.testFreezeMaster(t, w, "b", "--userland") })
	acked := w.stop(t)
	mustHold(t, l.entries(t), acked)
}

// testFreezeSlave: the master holds at most P, then goes on; the slave comes back in sync, and the role stays.
func (l *lab) testFreezeSlave(t *testing.T, w *writer, slave string, how ...string) {
	master := other(slave)
	before, _ := l.status(master)
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	frozen := time.Now()
	l.do(t, append([]string{"freeze", slave}, how...)...)
	l.is(t, 30*time.Second, master, "goes on alone", func(s control.Status) bool { return isMaster(s) && s.Volumes[0].Permission != nil })
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	l.heldAtMostP(t, w, frozen)
	l.do(t, "thaw", slave)
	l.calm(t, master)
	if s, _ := l.status(master); s.Epoch != before.Epoch {
		t.Errorf("the role moved: epoch %v to %v", before.Epoch, s.Epoch)
	}
}

// testFreezeMaster: the slave takes over; thawed, the old master soon holds no address, mount or service.
func (l *lab) testFreezeMaster(t *testing.T, w *writer, master string, how ...string) {
	survivor := other(master)
	inside := l.startWriter(t, master, "http://127.0.0.1:8080/entries")
	l.await(t, 20*time.Second, "the client inside writes", growing(t, inside))
	began := time.Now()
	l.do(t, append([]string{"freeze", master}, how...)...)
	l.is(t, 30*time.Second, survivor, "takes over from the frozen node", serving)
	t.Logf("%s serves %.1f s after the freeze", survivor, time.Since(began).Seconds())
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	l.do(t, "thaw", master)
	thawed := time.Now()
	l.is(t, 30*time.Second, master, "holds nothing", func(s control.Status) bool {
		return s.State != "master" && !anyHeld(s) && s.Volumes[0].Mount == nil && s.Volumes[0].Role == "Secondary" && serviceState(s, "guestbook") == "stopped"
	})
	t.Logf("%s holds nothing %.2f s after the thaw", master, time.Since(thawed).Seconds())
	if out := l.in(t, master, "cat", "/proc/mounts"); strings.Contains(out, "/srv/data") {
		t.Errorf("still mounted on %s:\n%s", master, out)
	}
	if out := l.in(t, master, "ip", "-4", "-o", "address"); strings.Contains(out, "10.88.1.100") || strings.Contains(out, "10.88.2.100") {
		t.Errorf("%s still holds a virtual address:\n%s", master, out)
	}
	l.calm(t, survivor)
	acked := inside.stop(t)
	mustHold(t, l.entries(t), acked)
}

func serviceState(s control.Status, name string) string {
	for _, v := range s.Services {
		if v.Name == name {
			return v.State
		}
	}
	return ""
}
