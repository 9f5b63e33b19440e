package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// metaBlock is the size of a superblock in bytes: the first stands where the data end, the second at the end of the disk (replication/meta).
const metaBlock = 4096

// TestBadDisks starts b's volume on disks that are wrong in every way: each is named in one sentence, b does not become more than it was, and a
// serves on. With the right disk back in its place both are in sync again.
func TestBadDisks(t *testing.T) {
	l := upLab(t, "--volume-size", "64M")
	l.calm(t, "a")
	w := l.startWriter(t, "client", guestbook)
	for _, c := range []struct {
		name  string
		words string // of the volume's reason; empty = it goes on
		spoil func(t *testing.T, path string)
	}{
		{"one superblock", "", func(t *testing.T, path string) { spoilBlock(t, path, -metaBlock) }},
		{"both superblocks", "damaged in both places", func(t *testing.T, path string) {
			spoilBlock(t, path, l.dataSize(t, "b"))
			spoilBlock(t, path, -metaBlock)
		}},
		{"foreign", "ext2/3/4 filesystem", func(t *testing.T, path string) {
			if out, err := exec.Command("mkfs.ext4", "-q", "-F", path).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			spoilRange(t, path, -256<<10, 256<<10, 0)
		}},
		{"blank", "blank or another disk", func(t *testing.T, path string) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, 64<<20); err != nil {
				t.Fatal(err)
			}
		}},
		{"too small", "are needed", func(t *testing.T, path string) {
			if err := os.Truncate(path, 64<<10); err != nil {
				t.Fatal(err)
			}
		}},
		{"missing", "no such file", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}},
		{"in use", "another program", holdFile},
	} {
		t.Run(c.name, func(t *testing.T) { l.testBadDisk(t, c.words, c.spoil) })
	}
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	acked := w.stop(t)
	mustHold(t, l.entries(t), acked)
}

// testBadDisk stops b, spoils its disk, starts b, looks, and puts the right disk back.
func (l *lab) testBadDisk(t *testing.T, words string, spoil func(*testing.T, string)) {
	before, _ := l.status("a")
	l.do(t, "stop", "b")
	path := l.dataFile("b")
	right := path + ".right"
	if out, err := exec.Command("cp", "--sparse=always", path, right).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Run("spoilt", func(t *testing.T) {
		spoil(t, path)
		l.do(t, "start", "b")
		if words == "" {
			l.settle(t, "a")
			return
		}
		l.is(t, 30*time.Second, "b", "names what is wrong with its disk: "+words, func(s control.Status) bool {
			if len(s.Volumes) != 1 || s.State == "master" || s.Takeover.Possible {
				return false
			}
			v := s.Volumes[0]
			return v.Disk != "UpToDate" && v.Disk != "Consistent" && v.Reason != nil && strings.Contains(*v.Reason, words) && anyWords(s, words)
		})
		l.refusesPromotion(t, "b", "")
		if a, _ := l.status("a"); a.Epoch != before.Epoch || !serving(a) {
			t.Errorf("a is not what it was: %s %v", a.State, a.Epoch)
		}
	})
	l.do(t, "kill", "b")
	if words != "" {
		if err := os.Rename(right, path); err != nil {
			t.Fatal(err)
		}
	}
	_ = os.Remove(right)
	l.do(t, "start", "b")
	l.settle(t, "a")
}

// anyWords says whether a condition's text has these words.
func anyWords(s control.Status, words string) bool {
	for _, c := range s.Conditions {
		if strings.Contains(c.Text, words) {
			return true
		}
	}
	return false
}

func spoilBlock(t *testing.T, path string, at int64) { spoilRange(t, path, at, metaBlock, 0xa5) }

// spoilRange overwrites a part of a file but the first bytes, which name the format; a negative place counts from the end.
func spoilRange(t *testing.T, path string, at, length int64, with byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if at < 0 {
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		at += info.Size()
	}
	skip := int64(0)
	if with != 0 {
		skip = 16 // damaged, not wiped: the traces are to be seen
	}
	b := make([]byte, length-skip)
	for i := range b {
		b[i] = with
	}
	if _, err := f.WriteAt(b, at+skip); err != nil {
		t.Fatal(err)
	}
}

// holdFile is another program that has the disk locked until the test ends.
func holdFile(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
}

// TestHangingDisk lets first the slave's, then the master's disk hang without an error. The master goes on alone; the role moves; nothing acknowledged
// is lost, and with the disk back both are in sync again by themselves. So it is with a volume's process that is stopped.
func TestHangingDisk(t *testing.T) {
	l := upLab(t)
	l.calm(t, "a")
	w := l.startWriter(t, "client", guestbook)
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	t.Run("slave", func(t *testing.T) {
		l.do(t, "disk", "b", "hang")
		l.is(t, 40*time.Second, "a", "goes on alone", func(s control.Status) bool { return isMaster(s) && s.Volumes[0].Permission != nil })
		l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
		l.is(t, 20*time.Second, "b", "names the disk", func(s control.Status) bool { return anyText(s, "volume.detached", "hangs") && !s.Takeover.Possible })
		l.do(t, "disk", "b", "ok")
		l.settle(t, "a")
	})
	t.Run("master", func(t *testing.T) {
		l.do(t, "disk", "a", "hang")
		l.is(t, 40*time.Second, "b", "serves", serving)
		l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
		l.is(t, 20*time.Second, "a", "holds nothing and names the disk", func(s control.Status) bool {
			return s.State != "master" && !anyHeld(s) && anyText(s, "volume.detached", "hangs")
		})
		l.do(t, "disk", "a", "ok")
		l.settle(t, "b")
	})
	t.Run("stopped process of the master", func(t *testing.T) {
		pid := l.hostPID(t, "b", "volume/data")
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer syscall.Kill(pid, syscall.SIGCONT)
		l.is(t, 40*time.Second, "a", "serves", serving)
		l.settle(t, "a")
	})
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	acked := w.stop(t)
	mustHold(t, l.entries(t), acked)
	l.checkData(t, "a")
}

// hostPID is the pid, outside, of a process of a node.
func (l *lab) hostPID(t *testing.T, node, process string) int {
	t.Helper()
	var status struct {
		Nodes []struct {
			Node      string
			Processes []struct {
				Name string
				PID  int `json:"host_pid"`
			}
		}
	}
	if err := json.Unmarshal([]byte(l.do(t, "status", "--json")), &status); err != nil {
		t.Fatal(err)
	}
	for _, n := range status.Nodes {
		for _, p := range n.Processes {
			if n.Node == node && p.Name == process && p.PID > 0 {
				return p.PID
			}
		}
	}
	t.Fatalf("node %s has no process %s", node, process)
	return 0
}

// TestDiskFaults lets the master's backing disk error and fill up under load: the pair hands over or goes on through the peer, and loses nothing.
func TestDiskFaults(t *testing.T) {
	l := upLab(t)
	l.calm(t, "a")
	w := l.startWriter(t, "client", guestbook)
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	master := "a"
	for _, mode := range []string{"error", "full"} {
		t.Run(mode, func(t *testing.T) {
			l.do(t, "disk", master, mode)
			l.is(t, 30*time.Second, master, "names the disk", func(s control.Status) bool {
				return len(s.Volumes) == 1 && s.Volumes[0].Disk != "UpToDate" && condition(s, "volume.detached") != nil
			})
			l.await(t, 60*time.Second, "entries are acknowledged again", growing(t, w))
			serves := 0
			for _, n := range []string{"a", "b"} {
				if s, _ := l.status(n); isMaster(s) {
					serves++
				}
			}
			if serves != 1 {
				t.Errorf("%d nodes serve", serves)
			}
			l.do(t, "disk", master, "ok")
			l.do(t, "stop", master) // the disk was given up for good: the machine is mended
			l.do(t, "start", master)
			now := "a"
			if s, _ := l.status("b"); isMaster(s) {
				now = "b"
			}
			l.settle(t, now)
			master = now
			l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
		})
	}
	acked := w.stop(t)
	mustHold(t, l.entries(t), acked)
}
