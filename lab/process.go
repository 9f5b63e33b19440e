package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process names one process of this machine for good: a pid alone may be used again.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after the machine booted, field 22 of /proc/PID/stat
}

// thisProcess is the caller.
func thisProcess() Process { return identify(os.Getpid()) }

// identify notes which process pid is now.
func identify(pid int) Process {
	return Process{PID: pid, Start: startTime(pid)}
}

// alive says whether the process still runs. A zombie does not, unless only its first thread has ended.
func (p Process) alive() bool {
	f := statFields(p.PID)
	if p.PID <= 0 || p.Start == 0 || len(f) < 20 || f[19] != strconv.FormatUint(p.Start, 10) {
		return false
	}
	const state, threads = 0, 17 // fields 3 and 20
	return f[state] != "Z" && f[state] != "X" || f[threads] != "0" && f[threads] != "1"
}

// startTime reads field 22 of /proc/PID/stat; 0 if there is no such process.
func startTime(pid int) uint64 {
	f := statFields(pid)
	if len(f) < 20 {
		return 0
	}
	start, _ := strconv.ParseUint(f[19], 10, 64)
	return start
}

// parentOf is the parent of a process; 0 if it is gone.
func parentOf(pid int) int {
	f := statFields(pid)
	if len(f) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(f[1])
	return parent
}

// statFields are the fields of /proc/PID/stat from the third on: the name before them may hold anything.
func statFields(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

// kill ends the process at once and waits until it is gone, at most for limit. A process that is gone already is no error.
func (p Process) kill(limit time.Duration) error {
	return p.signal(unix.SIGKILL, limit)
}

// end asks the process to end, and kills it if it does not within the limit.
func (p Process) end(limit time.Duration) error {
	if p.signal(unix.SIGTERM, limit) == nil {
		return nil
	}
	return p.kill(killLimit)
}

// signal sends a signal and waits for the end.
func (p Process) signal(signal unix.Signal, limit time.Duration) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if p.PID <= 0 || errors.Is(err, unix.ESRCH) {
		return nil
	} else if err != nil {
		return fmt.Errorf("process %d cannot be watched: %w", p.PID, err)
	}
	defer unix.Close(fd)
	if !p.alive() { // asked after the pidfd was opened: from here on it cannot become another process
		return nil
	}
	if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d cannot be signalled: %w", p.PID, err)
	}
	return waitGone(fd, p.PID, limit)
}

// waitGone waits until the process behind a pidfd has ended.
func waitGone(fd, pid int, limit time.Duration) error {
	end := time.Now().Add(limit)
	for {
		left := time.Until(end)
		if left <= 0 {
			return fmt.Errorf("process %d did not end within %s: it hangs in the kernel", pid, limit)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return nil
		}
	}
}

// inode is the identity of a namespace file such as /proc/7/ns/pid; 0 if it cannot be read.
func inode(path string) uint64 {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// inNamespace lists the processes of this machine whose namespace of a kind ("pid", "net") has the inode.
func inNamespace(kind string, ns uint64) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil || ns == 0 {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && inode(fmt.Sprintf("/proc/%d/ns/%s", pid, kind)) == ns {
			pids = append(pids, pid)
		}
	}
	return pids
}

// innerPID is a process's number inside its own PID namespace: the last one of NSpid. 0 if it is gone.
func innerPID(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(rest)
			n, _ := strconv.Atoi(f[len(f)-1])
			return n
		}
	}
	return 0
}
