// Package disk is the backing device of a volume: a block device or a file, opened with O_DIRECT and exclusively, so that errors
// surface at the write and nobody else writes. A failed flush is an I/O error for good.
package disk

// Disk is a backing device. Its methods may be called from many goroutines at once; overlapping calls are the caller's business.
// Offsets, lengths and buffers need no alignment for correctness; multiples of Align (with buffers from Alloc) take no copy.
type Disk interface {
	// Size is the size in bytes.
	Size() uint64
	// ReadAt fills p from offset off or fails.
	ReadAt(p []byte, off uint64) error
	// WriteAt writes p at off; fua: it is stable when the call returns.
	WriteAt(p []byte, off uint64, fua bool) error
	// Flush makes every write that completed before the call stable. After a failed flush every later write and flush fails.
	Flush() error
	// WriteZeroes makes the range read as zeroes; unmap: it may become a hole.
	WriteZeroes(off, length uint64, unmap bool) error
	Close() error
}

// Align is the block size that needs no copy.
const Align = 4096
