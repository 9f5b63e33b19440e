package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// TestDownLeavesNothing takes a whole pair down in order, after SIGKILL of the lab itself, with a frozen node, and with both; then a second lab
// comes up in the same folder, also over the ruins of the first.
func TestDownLeavesNothing(t *testing.T) {
	l := upLab(t)
	for _, c := range []struct {
		name          string
		freeze, crash bool
		down          bool // else the second `lab up` clears the ruins itself
	}{
		{"in order", false, false, true}, {"frozen", true, false, true}, {"crashed", false, true, true}, {"frozen and crashed", true, true, true},
		{"crashed, no down", false, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.settle(t, "a")
			spaces := l.spaces(t)
			if c.freeze {
				l.do(t, "freeze", "a")
			}
			if c.crash {
				l.crash(t)
			}
			if c.down {
				l.do(t, "down")
				if left := l.leftovers(spaces); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
			}
			l.run(t, "lab", "up", "--detach", "--dir", l.dir, "--console-port", "0")
			l.settle(t, "a")
		})
	}
	if code, out := l.exitCode(t, "lab", "up", "--detach", "--console-port", "0"); code != control.ExitFailed || !strings.Contains(out, "already") {
		t.Errorf("a second up beside the first ends with %d: %s", code, out)
	}
}

// TestAPowerCutFreesTheLoopDeviceOfAnUnusedVolume: a volume that nothing mounts or opens has a loop device that does not clear itself.
func TestAPowerCutFreesTheLoopDeviceOfAnUnusedVolume(t *testing.T) {
	l := upLab(t, "--scratch", "64M")
	var sequences []string
	sequence := func(device string) string {
		b, _ := os.ReadFile("/sys/block/" + filepath.Base(device) + "/diskseq")
		if _, err := os.Stat("/sys/block/" + filepath.Base(device) + "/loop/backing_file"); err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	l.settle(t, "a")
	status, _ := l.status("a")
	for _, v := range status.Volumes {
		if v.Device == nil {
			t.Fatalf("volume %s has no device", v.Name)
		}
		sequences = append(sequences, sequence(*v.Device))
	}
	l.do(t, "kill", "a")
	for i, v := range status.Volumes {
		if now := sequence(*v.Device); now != "" && now == sequences[i] {
			t.Errorf("%s of volume %s is left after the power cut", *v.Device, v.Name)
		}
	}
}

// daemon is the pid of the lab itself.
func (l *lab) daemon(t *testing.T) int {
	t.Helper()
	var s struct{ Daemon int }
	if err := json.Unmarshal([]byte(l.do(t, "status", "--json")), &s); err != nil || s.Daemon == 0 {
		t.Fatalf("no daemon: %v", err)
	}
	return s.Daemon
}

// crash kills the lab's daemon and waits until it is gone.
func (l *lab) crash(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(l.daemon(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	l.await(t, 10*time.Second, "the lab has crashed", func() bool {
		_, out := l.exitCode(t, "lab", "status")
		return strings.Contains(out, "has crashed")
	})
}

// spaces are the network and process namespaces of the lab's machines.
func (l *lab) spaces(t *testing.T) (list []string) {
	t.Helper()
	for _, where := range []string{"a", "b", "client"} {
		for _, kind := range []string{"net", "pid"} {
			if where != "client" || kind == "net" {
				list = append(list, strings.TrimSpace(l.in(t, where, "readlink", "/proc/self/ns/"+kind)))
			}
		}
	}
	return list
}

// ended says whether a process has ended and only waits for its parent: a crashed lab's orphans belong to the machine's init.
func ended(pid string) bool {
	b, _ := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	_, state, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(state, "Z")
}

// leftovers are the processes, mounts, loop devices and files that a lab has left on this machine.
func (l *lab) leftovers(spaces []string) (left []string) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		for _, kind := range []string{"net", "pid"} {
			space, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns", kind))
			for _, s := range spaces {
				if err == nil && s == space && !ended(e.Name()) {
					command, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
					left = append(left, fmt.Sprintf("process %s %q", e.Name(), command))
				}
			}
		}
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), l.dir) {
		left = append(left, "a mount")
	}
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), l.dir) {
			left = append(left, "loop device "+f)
		}
	}
	if _, err := os.Stat(l.dir); err == nil {
		left = append(left, "the folder "+l.dir)
	}
	return left
}
