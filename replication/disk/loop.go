package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// loopOf names the loop device that a file is under, "" if none: mounted or not, its page cache knows nothing of what is written to the file below
// it. Only a loop whose file bears the same path is asked, because one whose daemon hangs may not answer.
func loopOf(path string, fd int) string {
	full, err := filepath.Abs(path)
	if err == nil {
		full, err = filepath.EvalSymlinks(full)
	}
	var own unix.Stat_t
	if err != nil || unix.Fstat(fd, &own) != nil {
		return ""
	}
	found, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, entry := range found {
		text, err := os.ReadFile(entry)
		if err != nil || strings.TrimSuffix(string(text), "\n") != full {
			continue
		}
		device := "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(entry)))
		if isUnder(device, own) {
			return device
		}
	}
	return ""
}

// isUnder asks a loop device whether it shows this file: another mount namespace may have another file of that path.
func isUnder(device string, file unix.Stat_t) bool {
	fd, err := openRetry(device, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	info, err := unix.IoctlLoopGetStatus64(fd)
	return err == nil && info.Inode == file.Ino && info.Device == file.Dev
}

// errLoop is the refusal of a file that is under a loop device.
func errLoop(path, device string) error {
	return fmt.Errorf("cannot use %s: the loop device %s shows it: unmount that and detach it with losetup -d %s, or use another file", path, device, device)
}
