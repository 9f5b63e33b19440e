package volume

import (
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// preparedMark in the environment says that the starter has run.
const preparedMark = "EVENKEEL_IO_FLUSHER"

// memoryLimit is the soft bound of the process's memory in bytes: bitmaps and buffers in flight with room to breathe.
const memoryLimit = 512 << 20

// Prepare makes this process fit to stand below a filesystem: PR_SET_IO_FLUSHER, so that its own allocations never wait for writes that
// wait for it. It is per thread and inherited, so it is set on one and the process executed again; then Prepare returns at once. Without
// the right to it the process goes on and says so. The command calls it before anything else.
func Prepare(log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if os.Getenv(preparedMark) != "" {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_IO_FLUSHER, 1, 0, 0, 0); err != nil {
		log.Warn("cannot become an I/O flusher: under memory pressure the volume may stall", "why", err)
		return
	}
	self, err := os.Executable()
	if err == nil {
		err = unix.Exec(self, os.Args, append(os.Environ(), preparedMark+"=1"))
	}
	log.Warn("cannot execute itself again as an I/O flusher", "why", err)
}
