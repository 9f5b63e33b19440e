// Package export is the device that others see: an NBD server on a unix socket for clients that we did not write, and the kernel's device
// (FUSE file + loop, or the kernel's NBD client) on which a filesystem is mounted.
package export

// Op is a request's kind.
type Op uint8

// The operations.
const (
	Read Op = iota
	Write
	Flush
	Discard
	WriteZeroes
)

// Request is one request to a Device. The submitter owns it again once Done was called.
type Request struct {
	Op     Op
	Offset uint64 // bytes
	Length uint32 // bytes; for Read and Write it is len(Data)
	Data   []byte // Write: not changed by anybody until Done; Read: filled by the device
	FUA    bool   // Write, WriteZeroes: stable on both sides before it completes
	NoHole bool   // WriteZeroes: must not unmap
	// Done is called exactly once, from any goroutine, and must not block.
	Done func(err error)
}

// Device is what a frontend serves. Offsets and lengths need no alignment.
type Device interface {
	// Size is the usable size in bytes.
	Size() uint64
	// Submit hands a request over. It may block to bound the bytes in flight, but not for the request's completion.
	Submit(r *Request)
}
