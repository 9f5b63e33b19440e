// Package dirty is the out-of-sync bitmap of a volume: one bit per 4 KiB block, set = the copies may differ there. It is a pure core: the
// caller reads and writes its pages, and serialises the calls.
//
//	block 0           block 31743      block 31744
//	|----- page 0 (3968 bytes) -----|----- page 1 ...
//
// A bit is set on any touch of its block and cleared only for blocks that a range covers in full. Pages remember whether they differ from
// what the caller wrote last, so that they can be written lazily.
package dirty

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Block is what one bit stands for, Page the unit of writing, both in bytes; BlocksPerPage is how many blocks one page holds. On disk a page
// is a block of 4096 bytes, 128 of them for its head and checksum; 31 Ki bits are 31 extents of 4 MiB, so no extent lies on two pages.
const (
	Block         = 4096
	Page          = 3968
	BlocksPerPage = Page * 8
)

// Bitmap is the bitmap of one volume.
type Bitmap struct {
	size    uint64   // bytes of the volume
	blocks  uint64   // the last one may be partial
	words   []uint64 // whole pages
	count   uint64   // bits set
	changed []uint64 // a bit per page: differs from what was written last
}

// New is an empty bitmap for a volume of size bytes.
func New(size uint64) *Bitmap {
	blocks := (size + Block - 1) / Block
	pages := (blocks + BlocksPerPage - 1) / BlocksPerPage
	return &Bitmap{size: size, blocks: blocks, words: make([]uint64, pages*Page/8), changed: make([]uint64, (pages+63)/64)}
}

// Size is the volume's size in bytes.
func (b *Bitmap) Size() uint64 { return b.size }

// Pages is the number of pages.
func (b *Bitmap) Pages() int { return len(b.words) * 8 / Page }

// Count is the number of blocks out of sync.
func (b *Bitmap) Count() uint64 { return b.count }

// Bytes is Count in bytes, the last block counted as it is.
func (b *Bitmap) Bytes() uint64 {
	n := b.count * Block
	if rest := b.size % Block; rest != 0 && b.has(b.blocks-1) {
		n -= Block - rest
	}
	return n
}

func (b *Bitmap) has(block uint64) bool { return b.words[block/64]&(1<<(block%64)) != 0 }

// Any says whether a block that the range touches is set.
func (b *Bitmap) Any(off, length uint64) bool {
	first, end := b.touched(off, length)
	next, ok := b.next(first)
	return ok && next < end
}

// touched are the blocks that overlap the range, covered those that lie in it in full (the volume's partial last block counts as full).
func (b *Bitmap) touched(off, length uint64) (first, end uint64) {
	if length == 0 || off >= b.size {
		return 0, 0
	}
	return off / Block, min((off+min(length, b.size-off)+Block-1)/Block, b.blocks)
}

func (b *Bitmap) covered(off, length uint64) (first, end uint64) {
	if length == 0 || off >= b.size {
		return 0, 0
	}
	length = min(length, b.size-off)
	first, end = (off+Block-1)/Block, (off+length)/Block
	if off+length == b.size {
		end = b.blocks
	}
	return first, max(first, end)
}

// Set marks every block that the range touches and says how many were not marked before.
func (b *Bitmap) Set(off, length uint64) uint64 {
	first, end := b.touched(off, length)
	return b.change(first, end, true)
}

// Clear unmarks the blocks that the range covers in full and says how many had been marked.
func (b *Bitmap) Clear(off, length uint64) uint64 {
	first, end := b.covered(off, length)
	return b.change(first, end, false)
}

// SetAll marks every block.
func (b *Bitmap) SetAll() { b.change(0, b.blocks, true) }

// ClearAll unmarks every block.
func (b *Bitmap) ClearAll() { b.change(0, b.blocks, false) }

// change sets or clears the blocks [first, end) word by word.
func (b *Bitmap) change(first, end uint64, set bool) uint64 {
	var n uint64
	for first < end {
		w, low := first/64, first%64
		width := min(64-low, end-first)
		mask := (^uint64(0) >> (64 - width)) << low
		flip := b.words[w] & mask
		if set {
			flip = ^b.words[w] & mask
		}
		if flip != 0 {
			b.words[w] ^= flip
			n += uint64(bits.OnesCount64(flip))
			b.touch(int(w * 8 / Page))
		}
		first += width
	}
	if set {
		b.count += n
	} else {
		b.count -= n
	}
	return n
}

func (b *Bitmap) touch(page int) { b.changed[page/64] |= 1 << (page % 64) }

// next is the first marked block at or after from.
func (b *Bitmap) next(from uint64) (uint64, bool) {
	if from >= b.blocks {
		return 0, false
	}
	w := from / 64
	word := b.words[w] &^ (1<<(from%64) - 1)
	for word == 0 {
		if w++; w >= uint64(len(b.words)) {
			return 0, false
		}
		word = b.words[w]
	}
	return w*64 + uint64(bits.TrailingZeros64(word)), true
}

// NextRun is the first run of marked blocks at or after cursor (bytes), at most maxBytes long (at least one block); it ends where the volume
// ends. ok is false when there is none.
func (b *Bitmap) NextRun(cursor, maxBytes uint64) (off, length uint64, ok bool) {
	first, ok := b.next(cursor / Block)
	if !ok {
		return 0, 0, false
	}
	end := first + 1
	limit := min(first+max(maxBytes/Block, 1), b.blocks)
	for end < limit && b.has(end) {
		end++
	}
	return first * Block, min(end*Block, b.size) - first*Block, true
}

// Changed is the first page at or after from that differs from what was written last.
func (b *Bitmap) Changed(from int) (page int, ok bool) {
	for p := from; p < b.Pages(); p++ {
		if b.changed[p/64] == 0 {
			p |= 63
			continue
		}
		if b.changed[p/64]&(1<<(p%64)) != 0 {
			return p, true
		}
	}
	return 0, false
}

// PageOf is the page that holds the bit of offset off (bytes).
func PageOf(off uint64) int { return int(off / Block / BlocksPerPage) }

// AppendPage appends the Page bytes of page n and takes it as written: the caller writes it, or calls Touch if it fails.
func (b *Bitmap) AppendPage(dst []byte, n int) []byte {
	for _, w := range b.words[n*Page/8 : (n+1)*Page/8] {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	b.changed[n/64] &^= 1 << (n % 64)
	return dst
}

// Touch notes that page n must be written again.
func (b *Bitmap) Touch(n int) { b.touch(n) }

// LoadPage puts page n as it was read from disk in place of what is there; the page counts as written. Bits beyond the end are dropped.
func (b *Bitmap) LoadPage(n int, data []byte) error {
	if n < 0 || n >= b.Pages() || len(data) != Page {
		return fmt.Errorf("bitmap page %d of %d bytes does not fit a bitmap of %d pages", n, len(data), b.Pages())
	}
	base := n * Page / 8
	for i := range Page / 8 {
		w := binary.LittleEndian.Uint64(data[i*8:]) & b.valid(uint64(base+i))
		b.count += uint64(bits.OnesCount64(w)) - uint64(bits.OnesCount64(b.words[base+i]))
		b.words[base+i] = w
	}
	b.changed[n/64] &^= 1 << (n % 64)
	return nil
}

// valid masks the bits of word w that stand for blocks of the volume.
func (b *Bitmap) valid(w uint64) uint64 {
	if end := w*64 + 64; end > b.blocks {
		if w*64 >= b.blocks {
			return 0
		}
		return 1<<(b.blocks-w*64) - 1
	}
	return ^uint64(0)
}
