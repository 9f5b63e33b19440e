package mount

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// immutable is FS_IMMUTABLE_FL (ioctl_iflags(2)): nobody, root included, makes, removes or renames anything in the folder.
const immutable = 0x10

// Seal closes the bare folder below a mount point: whatever writes there while the volume is not mounted (a service whose file names a folder
// that the volume has left, a person's copy at three in the morning) gets "operation not permitted" instead of a place that no other node has.
// The mounted filesystem is not touched by it. A filesystem that knows no such flag, as the tmpfs of an older kernel, stays open: that is the error.
func Seal(point string) error {
	return setImmutable(point, true)
}

// Unseal opens the bare folder again, for whoever removes it; what is not sealed stays as it is.
func Unseal(point string) error {
	return setImmutable(point, false)
}

func setImmutable(folder string, on bool) error {
	f, err := os.OpenFile(folder, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return fmt.Errorf("the filesystem of %s keeps no such flag: %w", folder, err)
	}
	want := flags &^ immutable
	if on {
		want |= immutable
	}
	if want == flags {
		return nil
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(want)); err != nil {
		return fmt.Errorf("the flag of %s cannot be changed: %w", folder, err)
	}
	return nil
}
