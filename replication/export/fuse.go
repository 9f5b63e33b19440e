package export

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// The FUSE file system has a root with one file, fuseFileName, which is the volume. Loop opens it with direct I/O, so that the page cache
// holds each block once, above the loop device.
const (
	fuseFileName = "evenkeel-disk" // the lab knows it too
	fuseFileID   = 2
	fuseMaxWrite = 1 << 20 // bytes of one request
	fuseDepth    = 64      // asynchronous requests in flight
)

type fuseDisk struct {
	fuse.RawFileSystem
	device Device
}

// serveFUSE mounts the one-file system at dir and serves it in goroutines of its own until it is unmounted.
func serveFUSE(dir string, d Device) (*fuse.Server, error) {
	opts := &fuse.MountOptions{
		DirectMountStrict: true, DisableXAttrs: true, DisableReadDirPlus: true, DisableSplice: true,
		FsName: "evenkeel", Name: "evenkeel", MaxWrite: fuseMaxWrite, MaxBackground: fuseDepth,
		ExtraCapabilities: fuse.CAP_ASYNC_DIO,
	}
	s, err := fuse.NewServer(&fuseDisk{fuse.NewDefaultRawFileSystem(), d}, dir, opts)
	if err != nil {
		return nil, fmt.Errorf("cannot mount the FUSE file system at %s: %w", dir, err)
	}
	go s.Serve() // WaitMount would open a file of this process's own; the first one to open is losetup (attachLoop)
	return s, nil
}

func (f *fuseDisk) String() string { return "evenkeel" }

func (f *fuseDisk) fileAttr(a *fuse.Attr) {
	a.Ino, a.Mode, a.Nlink, a.Blksize = fuseFileID, syscall.S_IFREG|0o600, 1, bufferAlign
	a.Size = f.device.Size() &^ (bufferAlign - 1)
	a.Blocks = a.Size / 512
}

// GetAttr knows the root and the file.
func (f *fuseDisk) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.SetTimeout(time.Hour)
	switch in.NodeId {
	case fuse.FUSE_ROOT_ID:
		out.Ino, out.Mode, out.Nlink = fuse.FUSE_ROOT_ID, syscall.S_IFDIR|0o700, 2
	case fuseFileID:
		f.fileAttr(&out.Attr)
	default:
		return fuse.ENOENT
	}
	return fuse.OK
}

// Lookup finds the one file.
func (f *fuseDisk) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if h.NodeId != fuse.FUSE_ROOT_ID || name != fuseFileName {
		return fuse.ENOENT
	}
	out.NodeId = fuseFileID
	out.SetEntryTimeout(time.Hour)
	out.SetAttrTimeout(time.Hour)
	f.fileAttr(&out.Attr)
	return fuse.OK
}

// Open makes every access direct, and a close a matter of the kernel's alone.
func (f *fuseDisk) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.NodeId != fuseFileID {
		return fuse.ENOENT
	}
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// submit waits for one request's completion: go-fuse has a goroutine for each, so this blocks nobody else.
func (f *fuseDisk) submit(r *Request) fuse.Status {
	done := make(chan error, 1)
	r.Done = func(err error) { done <- err }
	f.device.Submit(r)
	if <-done != nil {
		return fuse.EIO
	}
	return fuse.OK
}

func (f *fuseDisk) inside(off, n uint64) bool {
	size := f.device.Size()
	return off <= size && n <= size-off
}

// Read serves a direct read into the buffer that go-fuse sends from. A pooled one of our own would be unsafe: with DisableSplice, go-fuse
// v2.10.1 calls ReadResult.Done before it sends the bytes, although its documentation says after, so another request could fill the buffer in
// between, and this read would answer with that request's bytes.
func (f *fuseDisk) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	size := f.device.Size()
	if in.Offset >= size {
		return fuse.ReadResultData(nil), fuse.OK
	}
	buf = buf[:min(uint64(len(buf)), size-in.Offset)]
	if s := f.submit(&Request{Op: Read, Offset: in.Offset, Length: uint32(len(buf)), Data: buf}); s != fuse.OK {
		return nil, s
	}
	return fuse.ReadResultData(buf), fuse.OK
}

// Write serves a direct write. The kernel's bytes lie unaligned behind the request's header, so they are copied once into an aligned buffer.
func (f *fuseDisk) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if !f.inside(in.Offset, uint64(len(data))) {
		return 0, fuse.Status(syscall.ENOSPC)
	}
	b := getBuffer(len(data))
	defer putBuffer(b)
	copy(*b, data)
	s := f.submit(&Request{Op: Write, Offset: in.Offset, Length: uint32(len(data)), Data: *b})
	if s != fuse.OK {
		return 0, s
	}
	return uint32(len(data)), fuse.OK
}

// Fsync is how loop passes a flush on; it has no other way to say FUA.
func (f *fuseDisk) Fsync(_ <-chan struct{}, _ *fuse.FsyncIn) fuse.Status {
	return f.submit(&Request{Op: Flush})
}

// Flush comes at each close of a descriptor and means nothing for a disk.
func (f *fuseDisk) Flush(_ <-chan struct{}, _ *fuse.FlushIn) fuse.Status { return fuse.OK }

// Release ends an open file.
func (f *fuseDisk) Release(_ <-chan struct{}, _ *fuse.ReleaseIn) {}

// Forget has nothing to forget.
func (f *fuseDisk) Forget(_, _ uint64) {}

// The modes of fallocate(2) that loop uses: a hole for discards and for zeroes that may unmap, a zero range for those that may not.
const (
	fallocKeepSize  = 0x01
	fallocPunchHole = 0x02
	fallocZeroRange = 0x10
)

// Fallocate serves discards and zeroes; after both the range must read as zeroes.
func (f *fuseDisk) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	if !f.inside(in.Offset, in.Length) {
		return fuse.Status(syscall.ENOSPC)
	}
	noHole := in.Mode&fallocZeroRange != 0
	if !noHole && in.Mode&fallocPunchHole == 0 || in.Mode&^(fallocKeepSize|fallocPunchHole|fallocZeroRange) != 0 {
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	for off, left := in.Offset, in.Length; left > 0; {
		n := min(left, 1<<30)
		if s := f.submit(&Request{Op: WriteZeroes, Offset: off, Length: uint32(n), NoHole: noHole}); s != fuse.OK {
			return s
		}
		off, left = off+n, left-n
	}
	return fuse.OK
}

// StatFs answers df.
func (f *fuseDisk) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.Blocks = bufferAlign, f.device.Size()/bufferAlign
	return fuse.OK
}

// makeMountPoint makes an empty folder for a mount.
func makeMountPoint(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the mount point: %w", err)
	}
	return nil
}
