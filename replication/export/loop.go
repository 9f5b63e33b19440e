package export

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loopTries bounds the race with others for a free loop device.
const loopTries = 64

// attachLoop puts a loop device with direct I/O and 4 KiB blocks on top of a file. All calls are plain system calls: the Go poller must not wait
// on a file that this process serves itself.
//
// This process keeps no descriptor of the device: if it were killed while it is the last user, its exit would write the
// device's dirty pages back before it closes /dev/fuse, and wait for ever for itself (measured on 6.18).
func attachLoop(file string) (path string, err error) {
	ctl, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("cannot open /dev/loop-control (is the loop driver there?): %w", err)
	}
	defer unix.Close(ctl)
	backing, err := unix.Open(file, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("cannot open %s: %w", file, err)
	}
	defer unix.Close(backing)
	for range loopTries {
		path, err = tryLoop(ctl, backing)
		if !errors.Is(err, unix.EBUSY) {
			return path, err
		}
	}
	return "", fmt.Errorf("no free loop device after %d tries: %w", loopTries, err)
}

func tryLoop(ctl, backing int) (string, error) {
	n, err := unix.IoctlRetInt(ctl, unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", fmt.Errorf("cannot get a free loop device: %w", err)
	}
	path := fmt.Sprintf("/dev/loop%d", n)
	if err := makeLoopNode(path, n); err != nil {
		return "", err
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("cannot open %s: %w", path, err)
	}
	defer unix.Close(fd)
	cfg := unix.LoopConfig{Fd: uint32(backing), Size: bufferAlign}
	cfg.Info.Flags = unix.LO_FLAGS_DIRECT_IO
	if err := unix.IoctlLoopConfigure(fd, &cfg); err != nil {
		return "", fmt.Errorf("cannot configure %s: %w", path, err)
	}
	return path, nil
}

// clearsItself makes a loop device that is mounted by now clear itself at its last close, so that it is gone even if this process is killed
// before. It says whether that is settled. Only a mount counts: mkfs claims a device too, and closes it again.
func clearsItself(path string) bool {
	if !mounted(path) {
		return false
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	info, err := unix.IoctlLoopGetStatus64(fd)
	if err != nil {
		return errors.Is(err, unix.ENXIO)
	}
	info.Flags |= unix.LO_FLAGS_AUTOCLEAR
	return unix.IoctlLoopSetStatus64(fd, info) == nil
}

// makeLoopNode makes the device node where no devtmpfs or udev does (a private /dev).
func makeLoopNode(path string, n int) error {
	err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(n))))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("cannot make %s: %w", path, err)
	}
	return nil
}

// ErrBusy means that somebody else holds the kernel device open (it is mounted).
var ErrBusy = errors.New("the device is in use")

// loopBusy says whether anybody but this process's descriptor claims the device exclusively, as a mount does.
func loopBusy(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return errors.Is(err, unix.EBUSY)
}

// mounted says whether a device is mounted in this mount namespace.
func mounted(path string) bool {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return false
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	device := fmt.Sprintf(" %d:%d ", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	return err == nil && strings.Contains(string(b), device)
}

// detachLoop clears the device; if it is still in use, it clears itself at its last close.
func detachLoop(path string) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_, _ = unix.IoctlRetInt(fd, unix.LOOP_CLR_FD)
}

// loopOf finds the loop device on top of a file, by the name that the kernel shows: empty if there is none.
func loopOf(file string) string {
	names, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err == nil && strings.TrimSpace(string(b)) == file {
			return "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(n)))
		}
	}
	return ""
}

// waitFree waits until the loop device has let go of its file, at most for d.
func waitFree(path string, d time.Duration) bool {
	for end := time.Now().Add(d); ; time.Sleep(5 * time.Millisecond) {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return true
		}
		_, err = unix.IoctlLoopGetStatus64(fd)
		unix.Close(fd)
		if errors.Is(err, unix.ENXIO) {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
