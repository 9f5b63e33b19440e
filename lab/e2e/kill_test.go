package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// Standard's times, from 30-decisions.
const (
	deadTime = 3 * time.Second
	promise  = 4500 * time.Millisecond // P = max(1.5 D, D + 1 s)
	slack    = 3                       // a bound in a test fails at three times the stated figure
)

// TestTwentyKills cuts the master's power while a client writes as fast as entries are acknowledged, twenty times, alternating, each with return
// and resync; the fault layer loses unflushed writes each time.
func TestTwentyKills(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	kills := 20
	if testing.Short() {
		kills = 2
	}
	w := l.startWriter(t, "client", guestbook)
	master := "a"
	var takeovers []time.Duration
	for n := range kills {
		l.await(t, 30*time.Second, "entries are acknowledged again", growing(t, w))
		victim := master
		began := time.Now()
		l.do(t, "kill", victim)
		master = other(victim)
		l.is(t, 20*time.Second, master, "serves after the kill", serving)
		took := time.Since(began)
		takeovers = append(takeovers, took)
		l.do(t, "start", victim)
		l.settle(t, master)
		t.Logf("kill %2d of %s: %s serves after %.2f s, settled after %.2f s", n+1, victim, master, took.Seconds(), time.Since(began).Seconds())
	}
	acked := w.stop(t)
	if len(acked) < kills*10 {
		t.Fatalf("only %d entries were acknowledged", len(acked))
	}
	mustHold(t, l.entries(t), acked)
	slices.Sort(takeovers)
	t.Logf("%d entries acknowledged, none lost; takeover median %v, maximum %v", len(acked), takeovers[len(takeovers)/2], takeovers[len(takeovers)-1])
	l.checkData(t, master)
}

// growing says whether more entries are acknowledged than when it was made.
func growing(t *testing.T, w *writer) func() bool {
	before := len(w.acks(t))
	return func() bool { return len(w.acks(t)) > before+5 }
}

// checkData proves the filesystem and the database of the node that serves: integrity_check on the live file; then, with the pair stopped, fsck
// on a copy of each data area, and that the two areas are equal to the byte.
func (l *lab) checkData(t *testing.T, master string) {
	t.Helper()
	if out := l.in(t, master, "sqlite3", "/srv/data/guestbook.db", "PRAGMA integrity_check"); strings.TrimSpace(out) != "ok" {
		t.Errorf("integrity_check: %s", out)
	}
	// Standby keeps the slave from taking over from the leaving master, whose last write is then the unmount.
	l.run(t, "--node", other(master), "standby", "on")
	l.do(t, "stop", master)
	l.do(t, "stop", other(master))
	l.compareAreas(t)
}

// TestSilence measures how long the address and the guestbook are silent after the master's death.
func TestSilence(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	echo := l.probe(t, 15*time.Second, "10.88.1.100:7007")
	http := l.probe(t, 15*time.Second, "--every", "20ms", "--http", "http://10.88.1.100:8080/")
	time.Sleep(time.Second) // a healthy second before the kill, no wait for a state
	l.do(t, "kill", "a")
	e, h := echo(), http()
	t.Logf("silence after the kill: address %d ms, guestbook %d ms", e.SilenceMS, h.SilenceMS)
	if limit := deadTime + time.Second; time.Duration(e.SilenceMS)*time.Millisecond > limit*slack {
		t.Errorf("the address was silent for %d ms, stated %v", e.SilenceMS, limit)
	}
	if limit := deadTime + 2*time.Second; time.Duration(h.SilenceMS)*time.Millisecond > limit*slack {
		t.Errorf("the guestbook was silent for %d ms, stated %v", h.SilenceMS, limit)
	}
	if last := e.AnsweredBy[len(e.AnsweredBy)-1].Node; last != "b" {
		t.Errorf("the address is answered by %s", last)
	}
	if anyEvent(l, "b", "is sick") { // a machine without power has no kernel that answers
		t.Error("b held the dead node for sick")
	}
}

// TestSlaveDies: the slave's sudden death holds writes for at most P + 1 s; it returns by bitmap, not in full.
func TestSlaveDies(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	w := l.startWriter(t, "client", guestbook)
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	killed := time.Now()
	l.do(t, "kill", "b")
	l.is(t, 20*time.Second, "a", "goes on alone with a permission", func(s control.Status) bool {
		return isMaster(s) && len(s.Volumes) == 1 && s.Volumes[0].Permission != nil
	})
	l.await(t, 20*time.Second, "entries are acknowledged again", growing(t, w))
	gap := longestGap(w.acks(t), killed)
	t.Logf("the slave's death held writes for %v (stated %v)", gap, promise+time.Second)
	if gap > (promise+time.Second)*slack {
		t.Errorf("held for %v", gap)
	}
	acked := w.stop(t)
	s, _ := l.status("a")
	dirty := int64(s.Volumes[0].OutOfSyncBytes)
	before := l.moved(t, "a", "sync")
	l.do(t, "start", "b")
	l.settle(t, "a")
	moved := l.moved(t, "a", "sync") - before
	t.Logf("out of sync %d bytes, %d bytes moved on sync", dirty, moved)
	if moved > 2*dirty+8<<20 {
		t.Errorf("%d bytes moved on sync for %d bytes out of sync: not a resync by bitmap", moved, dirty)
	}
	mustHold(t, l.entries(t), acked)
}

// TestBothDie: both lose power at once; after their start there is one master, and every entry is there.
func TestBothDie(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	w := l.startWriter(t, "client", guestbook)
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	l.do(t, "kill", "a")
	l.do(t, "kill", "b")
	acked := w.stop(t)
	l.do(t, "start", "b")
	l.do(t, "start", "a")
	var master string
	l.await(t, 60*time.Second, "one of them serves", func() bool {
		for _, n := range []string{"a", "b"} {
			if s, ok := l.status(n); ok && serving(s) {
				master = n
				return true
			}
		}
		return false
	})
	l.settle(t, master)
	mustHold(t, l.entries(t), acked)
}

// TestTargetDoesNotTakeOver: while b is a SyncTarget its master dies; b refuses and says why.
func TestTargetDoesNotTakeOver(t *testing.T) {
	l := upLab(t, "--volume-size", "512M")
	l.settle(t, "a")
	l.do(t, "kill", "b")
	l.is(t, 30*time.Second, "a", "goes on alone", func(s control.Status) bool { return isMaster(s) && s.Volumes[0].Permission != nil })
	l.in(t, "a", "dd", "if=/dev/urandom", "of=/srv/data/big", "bs=1M", "count=300", "conv=fsync", "status=none")
	l.do(t, "start", "b")
	l.is(t, 30*time.Second, "b", "receives, and hears a", func(s control.Status) bool { // never heard, a would be unknown, not dead
		return len(s.Volumes) == 1 && s.Volumes[0].Connection == "SyncTarget" && s.Peer.Alive
	})
	l.do(t, "kill", "a")
	l.is(t, 30*time.Second, "b", "says that its data are Inconsistent", func(s control.Status) bool {
		return s.State != "master" && !s.Takeover.Possible && condition(s, "volume.inconsistent") != nil && s.Peer.Verdict == "dead"
	})
	l.refusesPromotion(t, "b", "inconsistent")
	l.do(t, "start", "a")
	l.settle(t, "a")
}

// dataFile is a node's backing file, as the machine sees it.
func (l *lab) dataFile(node string) string {
	return filepath.Join(l.dir, node, "var", "disks", "data.img")
}
