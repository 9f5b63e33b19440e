package export

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// loopTries bounds the race with others for a free loop device.
const loopTries = 64

// attachDeadline bounds the making of a loop device.
const attachDeadline = 5 * time.Second

// attachLoop puts a loop device with direct I/O and 4 KiB blocks on top of a file that this process serves by FUSE.
//
// A child does it, losetup: this process must never wait for a request that it is to answer itself. If it is killed in such a wait, the kernel keeps
// its descriptors open until the wait is over, /dev/fuse among them, so the request is never aborted: process, device and backing disk hang
// until the machine restarts (seen on 6.18, a kill in LOOP_CONFIGURE and one in the close of the file). It keeps no descriptor of the device
// either: its exit would write the device's dirty pages back, and wait for itself.
func attachLoop(file string) (path string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), attachDeadline)
	defer cancel()
	for range loopTries {
		if path, err = freeLoop(); err != nil {
			return "", err
		}
		out, failed := runLosetup(ctx, "--direct-io=on", "--sector-size", strconv.Itoa(bufferAlign), path, file)
		if failed == nil {
			return path, nil
		}
		err = fmt.Errorf("cannot configure %s: %w: %s", path, failed, strings.TrimSpace(string(out)))
		if ctx.Err() != nil || !strings.Contains(string(out), "busy") {
			return "", err
		}
	}
	return "", fmt.Errorf("no free loop device after %d tries: %w", loopTries, err)
}

// runLosetup runs util-linux's program, wherever PATH points. It dies with this process, or it would make a device that nobody knows of; the kernel
// ties that to the thread that started it.
func runLosetup(ctx context.Context, args ...string) ([]byte, error) {
	program := "losetup"
	for _, path := range []string{"/usr/sbin/losetup", "/sbin/losetup"} {
		if _, err := os.Stat(path); err == nil {
			program = path
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := exec.CommandContext(ctx, program, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c.CombinedOutput()
}

// freeLoop asks the kernel for a loop device that nobody uses; another may take it first.
func freeLoop() (string, error) {
	ctl, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("cannot open /dev/loop-control (is the loop driver there?): %w", err)
	}
	defer unix.Close(ctl)
	n, err := unix.IoctlRetInt(ctl, unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", fmt.Errorf("cannot get a free loop device: %w", err)
	}
	path := fmt.Sprintf("/dev/loop%d", n)
	return path, makeLoopNode(path, n)
}

// clearsItself makes a loop device that is mounted by now clear itself at its last close, so that it is gone even if this process is killed
// before. It says whether that is settled. Only a mount counts: mkfs claims a device too, and closes it again.
//
// Detaching a device that is in use means just that to the kernel, and unlike a change of its flags (LOOP_SET_STATUS64) it does not wait for what is in
// flight, which may be as long as a hold.
func clearsItself(path string) bool { return mounted(path) && detachLoop(path) }

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

// detachLoop clears the device; if it is still in use, it clears itself at its last close. A child does it, for attachLoop's reasons. It says whether
// that is settled.
func detachLoop(path string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), attachDeadline)
	defer cancel()
	_, err := runLosetup(ctx, "--detach", path)
	return err == nil
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
