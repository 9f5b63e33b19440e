package mount

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Holder is a process that keeps a mount busy.
type Holder struct {
	PID  int
	Name string
}

// String is "412 sqlite3".
func (h Holder) String() string { return fmt.Sprintf("%d %s", h.PID, h.Name) }

// Holders are the processes of this PID namespace with a file, a mapping, a working or a root folder in the filesystem that is mounted
// at point. A process that ends meanwhile is none.
func Holders(point string) ([]Holder, error) {
	m, ok := find(point)
	if !ok {
		return nil, fmt.Errorf("nothing is mounted at %s", point)
	}
	dev, err := number(m.dev)
	if err != nil {
		return nil, err
	}
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("the processes cannot be listed: %w", err)
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("the processes cannot be listed: %w", err)
	}
	var all []Holder
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err == nil && holds("/proc/"+n, m.dev, dev) {
			name, _ := os.ReadFile("/proc/" + n + "/comm")
			all = append(all, Holder{PID: pid, Name: string(bytes.TrimSpace(name))})
		}
	}
	return all, nil
}

// number turns "7:0" into the form of stat(2).
func number(dev string) (uint64, error) {
	major, minor, _ := strings.Cut(dev, ":")
	a, err1 := strconv.ParseUint(major, 10, 32)
	b, err2 := strconv.ParseUint(minor, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("mountinfo has the device number %q: %w", dev, err)
	}
	return unix.Mkdev(uint32(a), uint32(b)), nil
}

// holds says whether the process at /proc/PID has something open on a device.
func holds(dir, text string, dev uint64) bool {
	for _, link := range []string{"/cwd", "/root"} {
		if on(dir+link, dev) {
			return true
		}
	}
	fds, _ := os.ReadDir(dir + "/fd")
	for _, fd := range fds {
		link := filepath.Join(dir, "fd", fd.Name())
		// Sockets and pipes have no path; only what has one is asked for its device.
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, "/") && on(link, dev) {
			return true
		}
	}
	return maps(dir+"/maps", text)
}

// on says whether a link of /proc leads to a file of the device.
func on(link string, dev uint64) bool {
	var st unix.Stat_t
	return unix.Stat(link, &st) == nil && st.Dev == dev
}

// maps looks for the device in the mappings: "address perms offset major:minor inode path", numbers in hex.
func maps(path, text string) bool {
	major, minor, _ := strings.Cut(text, ":")
	a, err1 := strconv.ParseUint(major, 10, 32)
	b, err2 := strconv.ParseUint(minor, 10, 32)
	content, err3 := os.ReadFile(path)
	if errors.Join(err1, err2, err3) != nil {
		return false
	}
	want := fmt.Sprintf("%02x:%02x", a, b)
	for line := range strings.Lines(string(content)) {
		if f := strings.Fields(line); len(f) > 4 && f[3] == want && f[4] != "0" {
			return true
		}
	}
	return false
}

// killTime bounds the wait for the end of killed holders; one that hangs in the kernel does not end at all.
const killTime = 300 * time.Millisecond

// KillHolders kills them, this process and PID 1 excepted, waits a moment for their end, and returns whom it found.
func KillHolders(point string) ([]Holder, error) {
	all, err := Holders(point)
	var fds []unix.PollFd
	for _, h := range all {
		if h.PID == os.Getpid() || h.PID == 1 {
			continue
		}
		if fd, err := unix.PidfdOpen(h.PID, 0); err == nil {
			defer unix.Close(fd)
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // ESRCH: it ended meanwhile
		}
	}
	awaitEnds(fds, killTime)
	return all, err
}

// awaitEnds waits until every process behind the pidfds has ended, at most d.
func awaitEnds(fds []unix.PollFd, d time.Duration) {
	for end := time.Now().Add(d); len(fds) > 0; {
		left := time.Until(end).Milliseconds()
		if left <= 0 {
			return
		}
		n, err := unix.Poll(fds, int(left))
		if err != nil && !errors.Is(err, unix.EINTR) || err == nil && n == 0 {
			return
		}
		fds = slices.DeleteFunc(fds, func(f unix.PollFd) bool { return f.Revents != 0 })
	}
}
