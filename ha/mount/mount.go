// Package mount mounts volumes, and gets rid of mounts whose holders or disk do not let go.
//
// Every command runs as a child and has a deadline. One that hangs in the kernel cannot be ended by anybody: it is left behind
// and reported, never waited for. Nothing here calls sync(2), which blocks on any frozen disk of the machine.
package mount

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options are those of each mount. errors=remount-ro: after an I/O error nothing may pretend to be written.
const Options = "errors=remount-ro,noatime"

const (
	lazyTime = time.Second            // a lazy unmount takes 7 ms; its flush may take for ever
	lazyPoll = 10 * time.Millisecond  // between looks whether the mount point is free
	busyTime = 250 * time.Millisecond // a busy mount is tried again for this long
	busyPoll = 50 * time.Millisecond
	reapTime = 500 * time.Millisecond
	said     = 300 // bytes of a command's words in an error
)

// ErrLeftBehind: a command did not end by its deadline nor by KILL; it hangs in the kernel and goes on there.
var ErrLeftBehind = errors.New("it hangs in the kernel and is left behind")

// Mount checks (ext4: e2fsck -p) and mounts a device. A device that is mounted there already is done. The mount point is made if it is missing, and
// sealed: see [Seal].
func Mount(ctx context.Context, device, point, fs string) error {
	if fs != "ext4" {
		return fmt.Errorf("%s cannot be mounted: filesystem %q is not known, only ext4", device, fs)
	}
	if held, ok := Mounted(point); ok {
		if held == device {
			return nil
		}
		return fmt.Errorf("%s cannot be mounted: %s is mounted at %s already; unmount it first", device, held, point)
	}
	if err := os.MkdirAll(point, 0o755); err != nil {
		return fmt.Errorf("the mount point cannot be made: %w", err)
	}
	_ = Seal(point) // no promotion fails for want of it
	// 0: clean; 1: repaired. Anything else is for a person: -p repairs only what is safe.
	if code, err := run(ctx, "e2fsck", "-p", device); err != nil && code != 1 {
		return fmt.Errorf("the filesystem on %s is not fit to be mounted: %w; look at it with e2fsck", device, err)
	}
	if _, err := run(ctx, "mount", "-t", fs, "-o", Options, device, point); err != nil {
		return fmt.Errorf("%s cannot be mounted at %s: %w", device, point, err)
	}
	return nil
}

// Unmount unmounts in order: it ends when the filesystem is flushed. A point where nothing is mounted is done. A busy one
// is tried again for a moment: threads of a process that was killed let go one by one.
func Unmount(ctx context.Context, point string) error {
	again := time.NewTicker(busyPoll)
	defer again.Stop()
	for began := time.Now(); ; {
		if _, ok := Mounted(point); !ok {
			return nil
		}
		_, err := run(ctx, "umount", point)
		if _, still := Mounted(point); !still {
			return nil
		}
		if err == nil {
			return fmt.Errorf("another filesystem is still mounted at %s", point)
		}
		if ctx.Err() != nil || time.Since(began) > busyTime || !strings.Contains(err.Error(), "busy") {
			return fmt.Errorf("%s cannot be unmounted: %w", point, err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

// Lazy takes the mount point away at once; what holds files there keeps them, and the kernel flushes in its own time. For a
// revoke, after [KillHolders].
func Lazy(point string) error {
	if _, ok := Mounted(point); !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lazyTime)
	defer cancel()
	ended := make(chan error, 1)
	go func() { // ends with the command, at the latest reapTime after lazyTime
		_, err := run(ctx, "umount", "-l", point)
		ended <- err
	}()
	look := time.NewTicker(lazyPoll)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			if _, still := Mounted(point); still {
				return fmt.Errorf("%s cannot be unmounted, not even lazily: %w", point, err)
			}
			return nil
		case <-look.C:
			if _, still := Mounted(point); !still {
				return nil // the command may go on flushing
			}
		}
	}
}

// run runs a command until ctx ends, then kills it; code is its exit code, -1 if it has none.
func run(ctx context.Context, name string, args ...string) (code int, err error) {
	path, err := lookup(name)
	if err != nil {
		return -1, err
	}
	var out bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return -1, fmt.Errorf("%s does not start: %w", name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // owned by the command: ends when it does
	select {
	case err := <-ended:
		if err != nil {
			return cmd.ProcessState.ExitCode(), fmt.Errorf("%s: %w%s", name, err, words(out.Bytes()))
		}
		return 0, nil
	case <-ctx.Done():
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	reap := time.NewTimer(reapTime)
	defer reap.Stop()
	select {
	case <-ended:
		return -1, fmt.Errorf("%s did not end in time: %w", name, context.Cause(ctx))
	case <-reap.C:
		return -1, fmt.Errorf("%s (process %d) did not end in time: %w", name, cmd.Process.Pid, ErrLeftBehind)
	}
}

// lookup finds a program of the system whatever the PATH of this process is.
func lookup(name string) (string, error) {
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("the program %s is not installed: install e2fsprogs and mount", name)
}

// words are the last words of a command.
func words(out []byte) string {
	text := strings.Join(strings.Fields(string(out[max(0, len(out)-said):])), " ")
	if text == "" {
		return ""
	}
	return " (" + strings.ToValidUTF8(text, "?") + ")"
}

// Mounted says which device is mounted at a point, the topmost if there are several.
func Mounted(point string) (device string, ok bool) {
	m, ok := find(point)
	return m.device, ok
}

// entry is one line of mountinfo.
type entry struct {
	dev    string // "7:0"
	point  string
	device string
}

// find reads /proc/self/mountinfo.
func find(point string) (found entry, ok bool) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return entry{}, false
	}
	point = filepath.Clean(point)
	for line := range strings.Lines(string(b)) {
		if m, is := parse(line); is && m.point == point {
			found, ok = m, true
		}
	}
	return found, ok
}

// parse reads one line of mountinfo (proc(5)): id parent major:minor root point options [optional ...] - type source options.
func parse(line string) (entry, bool) {
	f := strings.Fields(line)
	for i := 6; i+2 < len(f); i++ {
		if f[i] == "-" {
			return entry{dev: f[2], point: unescape(f[4]), device: unescape(f[i+2])}, true
		}
	}
	return entry{}, false
}

// unescape turns \040 and its like into the byte.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
