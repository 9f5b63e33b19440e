package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loopDevice is a loop device in use. The kernel gives it a new sequence number each time it is put on a file.
type loopDevice struct {
	number   int
	sequence string // /sys/block/loopN/diskseq
}

// loopLimit is how long a loop device may take to clear itself after its last user died.
const loopLimit = 3 * time.Second

// loopsOf finds the loop devices of a machine while its first process still lives: those mounted in it, those that its processes hold
// open, and those on a file of one of its volumes, which nobody need use. Nothing is opened and no device is asked: one that stands on a file of a frozen FUSE process answers nobody (70-traps).
func loopsOf(init int) []loopDevice {
	numbers := map[int]bool{}
	mounts, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", init))
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 {
			addLoop(numbers, f[2], "7:")
		}
	}
	for _, pid := range inNamespace("pid", inode(fmt.Sprintf("/proc/%d/ns/pid", init))) {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, f := range files {
			target, _ := os.Readlink(f)
			addLoop(numbers, target, "/dev/loop")
		}
	}
	volumes, _ := os.ReadDir(fmt.Sprintf("/proc/%d/root/run/evenkeel", init))
	for _, v := range volumes {
		if strings.Contains(v.Name(), ".fuse.") { // and a random name: no other machine has the same
			addLoopsOn(numbers, "/run/evenkeel/"+v.Name()+"/evenkeel-disk")
		}
	}
	var loops []loopDevice
	for n := range numbers {
		if s, used := loopSequence(n); used {
			loops = append(loops, loopDevice{n, s})
		}
	}
	return loops
}

// addLoop notes the number that follows the prefix.
func addLoop(numbers map[int]bool, s, prefix string) {
	rest, ok := strings.CutPrefix(s, prefix)
	if n, err := strconv.Atoi(rest); ok && err == nil {
		numbers[n] = true
	}
}

// addLoopsOn notes the numbers of the loop devices on a file.
func addLoopsOn(numbers map[int]bool, file string) {
	found, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range found {
		if b, _ := os.ReadFile(f); strings.TrimSpace(string(b)) == file {
			addLoop(numbers, filepath.Base(filepath.Dir(filepath.Dir(f))), "loop")
		}
	}
}

// loopSequence is the sequence number of a loop device, and whether a file is below it.
func loopSequence(number int) (sequence string, used bool) {
	b, err := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/diskseq", number))
	if err != nil {
		return "", false
	}
	_, err = os.Stat(fmt.Sprintf("/sys/block/loop%d/loop/backing_file", number))
	return strings.TrimSpace(string(b)), err == nil
}

// detach frees the loop devices of a machine that is off. Nearly all clear themselves when their last user dies.
func detach(loops []loopDevice) error {
	var errs []error
	for _, l := range loops {
		errs = append(errs, l.detach())
	}
	return errors.Join(errs...)
}

// inUse says whether the device still stands on the file that it stood on.
func (l loopDevice) inUse() bool {
	s, used := loopSequence(l.number)
	return used && s == l.sequence
}

// detach asks the kernel to clear the device and waits for it.
func (l loopDevice) detach() error {
	path := fmt.Sprintf("/dev/loop%d", l.number)
	for end := time.Now().Add(loopLimit); l.inUse(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%s is still in use %s after its machine was switched off: see `losetup -l` and detach it with `losetup -d %s`",
				path, loopLimit, path)
		}
		if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
			_ = unix.IoctlSetInt(fd, unix.LOOP_CLR_FD, 0)
			unix.Close(fd)
		}
	}
	return nil
}
