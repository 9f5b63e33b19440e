package e2e

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// TestSeedStory is A54: the slave goes off cleanly, the master goes on writing, the master goes off, the slave comes on alone. It refuses to start and
// says why; nothing is lost when the master returns.
func TestSeedStory(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	l.do(t, "stop", "b")
	w := l.startWriter(t, "client", guestbook)
	l.await(t, 30*time.Second, "a goes on writing", growing(t, w))
	acked := w.stop(t)
	l.do(t, "stop", "a")
	l.do(t, "start", "b")
	l.is(t, 30*time.Second, "b", "is blocked with a reason", func(s control.Status) bool {
		return s.State == "blocked" && s.StateReason != nil && !s.Takeover.Possible
	})
	if code, out := l.exitCode(t, "--node", "b", "takeover"); code != control.ExitRefused {
		t.Errorf("takeover on the stale slave: exit %d: %s", code, out)
	}
	l.do(t, "start", "a")
	l.settle(t, "a")
	mustHold(t, l.entries(t), acked)
}

// TestSplitBrain: as the seed's story with the slave's power cut. It waits; the administrator forces it; when the other returns both report
// split-brain, neither disk changes, the running one serves; volume resolve ends it.
func TestSplitBrain(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	l.do(t, "kill", "b")
	w := l.startWriter(t, "client", guestbook)
	l.await(t, 30*time.Second, "a goes on writing alone", growing(t, w))
	onA := w.stop(t)
	l.do(t, "kill", "a")
	l.do(t, "start", "b")
	l.is(t, 30*time.Second, "b", "waits for the other or a person", func(s control.Status) bool { return s.State == "blocked" })
	l.run(t, "--node", "b", "takeover", "--force", "--confirm", "b")
	l.is(t, 30*time.Second, "b", "serves by force", serving)
	w = l.startWriter(t, "client", guestbook)
	l.await(t, 30*time.Second, "b writes", growing(t, w))
	onB := w.stop(t)
	victim := l.copyArea(t, "a", filepath.Join(t.TempDir(), "a.img"))
	l.do(t, "start", "a")
	for _, n := range []string{"a", "b"} {
		l.is(t, 30*time.Second, n, "reports split-brain", func(s control.Status) bool {
			return len(s.Volumes) == 1 && s.Volumes[0].SplitBrain && condition(s, "split_brain") != nil
		})
	}
	if s, _ := l.status("b"); s.State != "master" {
		t.Errorf("the running master is %s", s.State)
	}
	mustHold(t, l.entries(t), onB)
	w = l.startWriter(t, "client", guestbook)
	l.await(t, 30*time.Second, "b goes on writing", growing(t, w))
	onB = append(onB, w.stop(t)...)
	if now := l.copyArea(t, "a", filepath.Join(t.TempDir(), "a.img")); now != victim {
		t.Errorf("the data area of a changed while nobody had resolved the split-brain")
	}
	l.run(t, "--node", "b", "volume", "resolve", "data", "--discard", "a", "--confirm", "a")
	l.settle(t, "b")
	mustHold(t, l.entries(t), onB)
	if s := l.entries(t); len(onA) > 0 && s[onA[len(onA)-1].Text] {
		t.Errorf("the discarded history of a is still served")
	}
}

// TestSwappedDisk: b's backing file is swapped while it is off, for a blank one and for an older copy of itself; both are noticed before a byte
// moves the wrong way, and the master's data live.
func TestSwappedDisk(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	old := l.dataFile("b") + ".old"
	w := l.startWriter(t, "client", guestbook)
	l.await(t, 30*time.Second, "entries are acknowledged", growing(t, w))
	l.do(t, "stop", "b")
	copyFile(t, l.dataFile("b"), old)
	l.do(t, "start", "b")
	l.settle(t, "a")
	l.await(t, 30*time.Second, "entries are acknowledged", growing(t, w))
	acked := w.stop(t)
	l.do(t, "stop", "b")
	t.Run("older copy", func(t *testing.T) {
		copyFile(t, old, l.dataFile("b"))
		l.do(t, "start", "b")
		l.is(t, 30*time.Second, "b", "says that its disk went back in time", func(s control.Status) bool {
			return anyEvent(l, "b", "back in time") || anyEvent(l, "a", "back in time")
		})
		l.settle(t, "a")
		mustHold(t, l.entries(t), acked)
	})
	t.Run("blank", func(t *testing.T) {
		l.do(t, "stop", "b")
		if err := os.Truncate(l.dataFile("b"), 0); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(l.dataFile("b"), 256<<20); err != nil {
			t.Fatal(err)
		}
		l.do(t, "start", "b")
		l.is(t, 30*time.Second, "b", "names the blank disk and is not UpToDate", func(s control.Status) bool {
			return len(s.Volumes) == 1 && s.Volumes[0].Disk != "UpToDate" && s.Volumes[0].Reason != nil
		})
		if s, _ := l.status("a"); !serving(s) {
			t.Errorf("a serves no more: %s", s.State)
		}
		mustHold(t, l.entries(t), acked)
	})
	t.Run("created anew", func(t *testing.T) {
		l.in(t, "b", bin, "volume", "create", "data", "--backing", "/var/lib/evenkeel/disks/data.img")
		l.settle(t, "a")
		l.checkData(t, "a")
	})
}

func anyEvent(l *lab, node, text string) bool {
	out, err := l.try(10*time.Second, "--node", node, "events", "--text", text)
	return err == nil && strings.Contains(strings.ToLower(out), text)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestTwoVolumesAlone: the sync network is cut, a goes on alone and writes on one of two volumes only, loses its power and returns while sync is still
// cut. Its copy of the one volume is newer and the other is no reason against it: a serves. First with the other volume untouched, then written before
// the cut.
func TestTwoVolumesAlone(t *testing.T) {
	l := upLab(t, "--scratch", "64M")
	l.calm(t, "a")
	w := l.startWriter(t, "client", guestbook)
	for _, written := range []bool{false, true} {
		if written {
			s, _ := l.status("a")
			l.in(t, "a", "dd", "if=/dev/urandom", "of="+*volume(s, "scratch").Device, "bs=1M", "count=4", "conv=fsync", "status=none")
		}
		l.do(t, "cut", "sync")
		l.is(t, 20*time.Second, "a", "goes on alone with both", func(s control.Status) bool {
			return isMaster(s) && s.Volumes[0].Permission != nil && s.Volumes[1].Permission != nil
		})
		l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
		l.do(t, "kill", "a")
		l.do(t, "start", "a")
		l.is(t, 40*time.Second, "a", "serves, with sync still cut", serving)
		l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
		l.do(t, "join", "sync")
		l.calm(t, "a")
	}
	acked := w.stop(t)
	mustHold(t, l.entries(t), acked)
}

func volume(s control.Status, name string) control.Volume {
	for _, v := range s.Volumes {
		if v.Name == name {
			return v
		}
	}
	return control.Volume{}
}
