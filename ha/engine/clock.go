package engine

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel/ha"
	"evenkeel/ha/heart"
)

// now reads CLOCK_BOOTTIME, the clock of every ha.Instant on this machine.
func now() ha.Instant {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("the kernel has no CLOCK_BOOTTIME: " + err.Error()) // every Linux since 2.6.39 has it
	}
	return ha.Instant(t.Nano())
}

// wall is the wall time of an instant, for people only.
func wall(at ha.Instant) time.Time { return time.Now().Add(-now().Sub(at)).UTC() }

// bootFile holds the boot name below the run folder, which is empty after each boot.
const bootFile = "boot"

// bootName returns the name of this boot and makes one if this is the first process that asks. A file that is damaged or lost is written again
// from what heart keeps.
func bootName(runDir string) (ha.BootName, error) {
	var name ha.BootName
	var damaged error
	path := filepath.Join(runDir, bootFile)
	data, err := os.ReadFile(path)
	if err == nil {
		raw, err := hex.DecodeString(strings.TrimSpace(string(data)))
		if err == nil && len(raw) == len(name) {
			return ha.BootName(raw), nil
		}
		damaged = fmt.Errorf("%s does not hold a boot name: remove it, then the node counts as booted anew", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return name, fmt.Errorf("read the boot name: %w", err)
	}
	if inUse, ok := heart.KeptBoot(runDir); ok {
		name = inUse // what the beats of this boot bear: another name would be proof of a reset to the peer
	} else if damaged != nil {
		return name, damaged
	} else {
		rand.Read(name[:]) // never fails: crypto/rand
	}
	if err := writeFile(path, []byte(hex.EncodeToString(name[:])+"\n")); err != nil {
		return name, fmt.Errorf("keep the boot name: %w", err)
	}
	return name, nil
}
