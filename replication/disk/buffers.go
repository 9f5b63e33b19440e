package disk

import (
	"math/bits"
	"sync"
	"unsafe"
)

// Buffers are aligned to Align and come in powers of two from 4 KiB to 4 MiB; larger ones are made and dropped.
const (
	minShift = 12
	maxShift = 22
)

// pools holds the base pointers of free buffers by size class.
var pools [maxShift - minShift + 1]sync.Pool

func class(n int) int { return max(bits.Len(uint(n-1)), minShift) - minShift }

// Alloc is a buffer of n bytes, aligned to Align. Its content is arbitrary. Give it back with Free.
func Alloc(n int) []byte {
	if n <= 0 {
		return nil
	}
	c := class(n)
	if c >= len(pools) {
		return aligned(n)[:n]
	}
	size := 1 << (c + minShift)
	if p, ok := pools[c].Get().(*byte); ok {
		return unsafe.Slice(p, size)[:n]
	}
	return aligned(size)[:n]
}

// Free gives a buffer of Alloc back; nobody may use it any more. Buffers that are not Alloc's are dropped.
func Free(b []byte) {
	size := cap(b)
	if size == 0 || size&(size-1) != 0 || class(size) >= len(pools) || size < Align || !Aligned(b[:1]) {
		return
	}
	pools[class(size)].Put(unsafe.SliceData(b[:1]))
}

// Aligned says whether b begins at a multiple of Align in memory.
func Aligned(b []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))%Align == 0
}

func aligned(n int) []byte {
	raw := make([]byte, n+Align)
	skip := (Align - int(uintptr(unsafe.Pointer(unsafe.SliceData(raw)))%Align)) % Align
	return raw[skip : skip+n : skip+n]
}
