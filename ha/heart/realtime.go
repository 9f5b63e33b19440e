package heart

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// preparedEnv is set in the environment of the process that Prepare became, so that it happens once.
const preparedEnv = "EVENKEEL_HEART_PREPARED"

// priority is the lowest of the real-time ones: above everything ordinary, below everything that the machine's owner made real-time.
const priority = 1

// Prepare gives this process the real-time class and locks its memory. The class belongs to a thread, and only threads made
// after it inherit it: so the thread takes the class and executes the program again, which never returns. Call it first thing in the heart process. The error
// says what was not granted; heart runs without it, and says so in its reports.
func Prepare() error {
	if os.Getenv(preparedEnv) == "" {
		return reexec()
	}
	if err := os.Unsetenv(preparedEnv); err != nil {
		return err
	}
	return lockMemory()
}

// lockMemory keeps every page that was touched in memory; without ONFAULT it would be all that Go ever reserved.
func lockMemory() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("heart's memory cannot be locked: %w; beats may be late when memory is short", err)
	}
	return nil
}

func reexec() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := setRoundRobin(); err != nil {
		return errors.Join(fmt.Errorf("the real-time class SCHED_RR is not granted: %w; beats may be late under load", err), lockMemory())
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("heart cannot execute itself again: %w", err)
	}
	return fmt.Errorf("heart cannot execute itself again: %w", unix.Exec(exe, os.Args, append(os.Environ(), preparedEnv+"=1")))
}

// setRoundRobin moves the calling thread only.
func setRoundRobin() error {
	param := struct{ priority int32 }{priority}
	_, _, errno := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_RR, uintptr(unsafe.Pointer(&param)))
	if errno != 0 {
		return errno
	}
	return nil
}

// isRealTime says whether the calling thread, and so all of a prepared process, has the real-time class.
func isRealTime() bool {
	class, _, errno := unix.Syscall(unix.SYS_SCHED_GETSCHEDULER, 0, 0, 0)
	return errno == 0 && class&0xff == unix.SCHED_RR
}
