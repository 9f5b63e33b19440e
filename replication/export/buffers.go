package export

import (
	"math/bits"
	"sync"
	"unsafe"
)

// Buffers come in powers of two from 4 KiB to 32 MiB and start at a multiple of 4 KiB, so that the backing disk can take
// them with O_DIRECT without a copy.
const (
	minBufferShift = 12
	maxBufferShift = 25
	bufferAlign    = 1 << minBufferShift
)

var bufferPools [maxBufferShift - minBufferShift + 1]sync.Pool

// getBuffer returns an aligned buffer of length n; its content is arbitrary. n is at most 32 MiB.
func getBuffer(n int) *[]byte {
	class := bufferClass(n)
	if b, ok := bufferPools[class].Get().(*[]byte); ok {
		*b = (*b)[:n]
		return b
	}
	b := alignedBytes(1 << (class + minBufferShift))[:n]
	return &b
}

// putBuffer gives a buffer of getBuffer back.
func putBuffer(b *[]byte) {
	bufferPools[bufferClass(cap(*b))].Put(b)
}

func bufferClass(n int) int {
	if n <= bufferAlign {
		return 0
	}
	return bits.Len(uint(n-1)) - minBufferShift
}

// alignedBytes allocates size bytes that start at a multiple of 4 KiB.
func alignedBytes(size int) []byte {
	b := make([]byte, size+bufferAlign)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & (bufferAlign - 1))
	return b[skip : skip+size : skip+size]
}

// budget bounds the bytes in flight of one server.
type budget struct {
	mu   sync.Mutex
	free sync.Cond
	left int
}

func newBudget(bytes int) *budget {
	b := &budget{left: bytes}
	b.free.L = &b.mu
	return b
}

// take waits until n bytes are left. A request larger than the whole budget is taken when nothing else is in flight, because n is
// capped by the caller at the budget's size.
func (b *budget) take(n int) {
	b.mu.Lock()
	for b.left < n {
		b.free.Wait()
	}
	b.left -= n
	b.mu.Unlock()
}

func (b *budget) give(n int) {
	b.mu.Lock()
	b.left += n
	b.mu.Unlock()
	b.free.Broadcast()
}
