package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Options say how Open opens.
type Options struct {
	ReadOnly bool // not exclusive; every change fails
	Buffered bool // do not ask for O_DIRECT
}

// ErrFlushed is wrapped by every write and flush after a flush failed: what was written since the flush before is not to be relied upon.
var ErrFlushed = errors.New("an earlier flush of this disk failed: it must be detached")

// File is a Disk on a block device or a file of Linux.
type File struct {
	path   string
	fd     int
	size   uint64 // rounded down to Align
	device bool
	direct bool
	ident  string
	broken atomic.Pointer[error] // the failed flush
	stable func(fd int) error    // fdatasync, but in tests
	flush  sync.Mutex            // the kernel tells of a failed write once only: a second flush beside the one that hears it must wait for that

	// Two unaligned writes may share a block: each locks the stripes of its first and last block while it reads, changes and writes them.
	stripes [64]sync.Mutex
}

// Open opens a block device or file exclusively: O_EXCL for a device (a mounted one is refused), a lock for a file. O_DIRECT is used where the
// file system allows it; Describe says whether it is.
func Open(path string, o Options) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the disk: %w", err)
	}
	f := &File{path: path, stable: unix.Fdatasync}
	mode := info.Mode()
	switch {
	case mode.IsRegular():
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		f.device = true
	default:
		return nil, fmt.Errorf("cannot use %s as a disk: it is neither a block device nor a file", path)
	}
	if err := f.open(o); err != nil {
		return nil, err
	}
	if err := f.measure(); err != nil {
		unix.Close(f.fd)
		return nil, err
	}
	return f, nil
}

func (f *File) open(o Options) error {
	flags := unix.O_RDWR | unix.O_CLOEXEC
	if o.ReadOnly {
		flags = unix.O_RDONLY | unix.O_CLOEXEC
	} else if f.device {
		flags |= unix.O_EXCL
	}
	var err error
	if f.direct = !o.Buffered; f.direct {
		f.fd, err = openRetry(f.path, flags|unix.O_DIRECT)
		f.direct = !errors.Is(err, unix.EINVAL) // tmpfs, overlay and others have no O_DIRECT
	}
	if !f.direct {
		f.fd, err = openRetry(f.path, flags)
	}
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("cannot use %s: it is mounted or in use by another program", f.path)
	}
	if err != nil {
		return fmt.Errorf("cannot open the disk %s: %w", f.path, err)
	}
	if f.device || o.ReadOnly {
		return nil
	}
	if err := unix.Flock(f.fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(f.fd)
		return fmt.Errorf("cannot use %s: another program has it locked", f.path)
	}
	if device := loopOf(f.path, f.fd); device != "" {
		unix.Close(f.fd)
		return errLoop(f.path, device)
	}
	return nil
}

func openRetry(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// measure finds size and identity.
func (f *File) measure() error {
	end, err := unix.Seek(f.fd, 0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("cannot find the size of %s: %w", f.path, err)
	}
	f.size = uint64(end) / Align * Align
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return fmt.Errorf("cannot examine %s: %w", f.path, err)
	}
	f.ident = fmt.Sprintf("file %d:%d inode %d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	if f.device {
		f.ident = fmt.Sprintf("device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		if wwid, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/wwid", unix.Major(st.Rdev), unix.Minor(st.Rdev))); err == nil {
			f.ident += " " + string(wwid[:max(len(wwid)-1, 0)])
		}
	}
	return nil
}

// Size is the size in bytes, rounded down to Align.
func (f *File) Size() uint64 { return f.size }

// Identity names the device or file, for people and the sidecar.
func (f *File) Identity() string { return f.ident }

// Describe is one line: path, kind, and whether the page cache is bypassed.
func (f *File) Describe() string {
	kind, how := "file", "direct I/O"
	if f.device {
		kind = "block device"
	}
	if !f.direct {
		how = "through the page cache (no O_DIRECT here)"
	}
	return fmt.Sprintf("%s, %s of %d bytes, %s", f.path, kind, f.size, how)
}

// Close gives the disk up. No other call may be under way.
func (f *File) Close() error { return unix.Close(f.fd) }

func (f *File) check(off, length uint64) error {
	if off > f.size || length > f.size-off {
		return fmt.Errorf("the range %d+%d lies beyond the end of %s (%d bytes)", off, length, f.path, f.size)
	}
	return nil
}

func (f *File) failed() error {
	if err := f.broken.Load(); err != nil {
		return fmt.Errorf("%w (%v)", ErrFlushed, *err)
	}
	return nil
}

// ReadAt fills p.
func (f *File) ReadAt(p []byte, off uint64) error {
	if err := f.check(off, uint64(len(p))); err != nil {
		return err
	}
	if !f.direct || fits(p, off) {
		return f.read(p, off)
	}
	for len(p) > 0 {
		skip := off % Align
		n := min(uint64(len(p)), chunk-skip)
		b := Alloc(int(up(skip + n)))
		err := f.read(b, off-skip)
		copy(p[:n], b[skip:])
		Free(b)
		if err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// WriteAt writes p.
func (f *File) WriteAt(p []byte, off uint64, fua bool) error {
	if err := errors.Join(f.check(off, uint64(len(p))), f.failed()); err != nil {
		return err
	}
	if !f.direct || fits(p, off) {
		return f.write(p, off, fua)
	}
	for len(p) > 0 {
		n := min(uint64(len(p)), chunk-off%Align)
		if err := f.writePart(p[:n], off, fua); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// chunk bounds the copy of an unaligned request, in bytes.
const chunk = 1 << 20

func up(n uint64) uint64 { return (n + Align - 1) / Align * Align }

func fits(p []byte, off uint64) bool {
	return off%Align == 0 && len(p)%Align == 0 && (len(p) == 0 || Aligned(p))
}

// writePart copies p into whole blocks; those that it covers in part are read first, under the locks of their stripes.
func (f *File) writePart(p []byte, off uint64, fua bool) error {
	start, end := off/Align*Align, off+uint64(len(p))
	b := Alloc(int(up(end) - start))
	defer Free(b)
	if off != start || end%Align != 0 {
		defer f.lock(start/Align, (end-1)/Align)()
	}
	if off != start {
		if err := f.read(b[:Align], start); err != nil {
			return err
		}
	}
	if last := (end - 1) / Align * Align; end%Align != 0 && (last != start || off == start) {
		if err := f.read(b[last-start:], last); err != nil {
			return err
		}
	}
	copy(b[off-start:], p)
	return f.write(b, start, fua)
}

// lock takes the stripes of two blocks, the lower first, and returns the unlock.
func (f *File) lock(first, last uint64) func() {
	n := uint64(len(f.stripes))
	a, b := min(first%n, last%n), max(first%n, last%n)
	f.stripes[a].Lock()
	if a == b {
		return f.stripes[a].Unlock
	}
	f.stripes[b].Lock()
	return func() {
		f.stripes[b].Unlock()
		f.stripes[a].Unlock()
	}
}

func (f *File) read(p []byte, off uint64) error {
	for len(p) > 0 {
		n, err := unix.Pread(f.fd, p, int64(off))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("cannot read %s at %d: %w", f.path, off, err)
		case n == 0:
			return fmt.Errorf("cannot read %s at %d: it became shorter", f.path, off)
		}
		p, off = p[n:], off+uint64(n)
	}
	return nil
}

func (f *File) write(p []byte, off uint64, fua bool) error {
	for len(p) > 0 {
		n, err := f.writeOnce(p, off, fua)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			err = fmt.Errorf("cannot write %s at %d: %w", f.path, off, err)
			if fua {
				f.broken.CompareAndSwap(nil, &err) // a failed sync may have dropped earlier writes as well
			}
			return err
		case n == 0:
			return fmt.Errorf("cannot write %s at %d: nothing was taken", f.path, off)
		}
		p, off = p[n:], off+uint64(n)
	}
	return nil
}

func (f *File) writeOnce(p []byte, off uint64, fua bool) (int, error) {
	if !fua || NoFlush {
		return unix.Pwrite(f.fd, p, int64(off))
	}
	return unix.Pwritev2(f.fd, [][]byte{p}, int64(off), unix.RWF_DSYNC)
}

// Flush makes completed writes stable; its failure is for good.
func (f *File) Flush() error {
	f.flush.Lock()
	defer f.flush.Unlock()
	if err := f.failed(); err != nil || NoFlush {
		return err
	}
	for {
		err := f.stable(f.fd)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			err = fmt.Errorf("cannot flush %s: %w", f.path, err)
			f.broken.CompareAndSwap(nil, &err)
		}
		return err
	}
}

// WriteZeroes zeroes by the file system or device where it can, else by writing.
func (f *File) WriteZeroes(off, length uint64, unmap bool) error {
	if err := errors.Join(f.check(off, length), f.failed()); err != nil {
		return err
	}
	first, end := min(up(off), off+length), (off+length)/Align*Align
	if first >= end {
		return f.writeZeroes(off, length)
	}
	mode := uint32(unix.FALLOC_FL_ZERO_RANGE)
	if unmap {
		mode = unix.FALLOC_FL_PUNCH_HOLE
	}
	switch err := f.fallocate(mode, first, end-first); {
	case unsupported(err):
		return f.writeZeroes(off, length)
	case err != nil:
		return fmt.Errorf("cannot zero %s at %d: %w", f.path, first, err)
	}
	return errors.Join(f.writeZeroes(off, first-off), f.writeZeroes(end, off+length-end))
}

func (f *File) fallocate(mode uint32, off, length uint64) error {
	for {
		err := unix.Fallocate(f.fd, mode|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(length))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL)
}

func (f *File) writeZeroes(off, length uint64) error {
	b := Alloc(int(min(length, chunk)))
	defer Free(b)
	clear(b)
	for length > 0 {
		n := min(length, chunk-off%Align)
		if err := f.WriteAt(b[:n], off, false); err != nil {
			return err
		}
		off, length = off+n, length-n
	}
	return nil
}
