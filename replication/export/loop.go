package export

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// loopTries bounds the race with others for a free loop device.
const loopTries = 64

// attachLoop puts a loop device with direct I/O and 4 KiB blocks on top of a file. The device clears itself when its last user is gone; the
// returned descriptor is one. All calls are plain system calls: the Go poller must not wait on a file that this process serves itself.
func attachLoop(file string) (path string, fd int, err error) {
	ctl, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", -1, fmt.Errorf("cannot open /dev/loop-control (is the loop driver there?): %w", err)
	}
	defer unix.Close(ctl)
	backing, err := unix.Open(file, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", -1, fmt.Errorf("cannot open %s: %w", file, err)
	}
	defer unix.Close(backing)
	for range loopTries {
		path, fd, err = tryLoop(ctl, backing)
		if !errors.Is(err, unix.EBUSY) {
			return path, fd, err
		}
	}
	return "", -1, fmt.Errorf("no free loop device after %d tries: %w", loopTries, err)
}

func tryLoop(ctl, backing int) (string, int, error) {
	n, err := unix.IoctlRetInt(ctl, unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", -1, fmt.Errorf("cannot get a free loop device: %w", err)
	}
	path := fmt.Sprintf("/dev/loop%d", n)
	if err := makeLoopNode(path, n); err != nil {
		return "", -1, err
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", -1, fmt.Errorf("cannot open %s: %w", path, err)
	}
	cfg := unix.LoopConfig{Fd: uint32(backing), Size: bufferAlign}
	cfg.Info.Flags = unix.LO_FLAGS_DIRECT_IO | unix.LO_FLAGS_AUTOCLEAR
	if err := unix.IoctlLoopConfigure(fd, &cfg); err != nil {
		unix.Close(fd)
		return "", -1, fmt.Errorf("cannot configure %s: %w", path, err)
	}
	return path, fd, nil
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

// detachLoop clears the device; if it is still in use, it clears itself at its last close.
func detachLoop(fd int) {
	_, _ = unix.IoctlRetInt(fd, unix.LOOP_CLR_FD)
	unix.Close(fd)
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
