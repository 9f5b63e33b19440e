package dirty

import (
	"encoding/binary"
	"errors"
)

// The exchange at a handshake sends a bitmap as runs: pairs of unsigned varints (blocks unset, blocks set) from the cursor on.

// ErrExchange says that bytes from the peer are no runs of a bitmap of this size.
var ErrExchange = errors.New("the peer's bitmap does not fit this volume: the bytes are damaged or count beyond its end")

// EncodeRuns appends runs from block cursor on, until dst has about maxBytes more (at least one run) or the bitmap ends. next is the cursor of
// the following call; done says that none is needed.
func (b *Bitmap) EncodeRuns(dst []byte, cursor uint64, maxBytes int) (out []byte, next uint64, done bool) {
	limit := len(dst) + maxBytes
	for {
		first, ok := b.next(cursor)
		if !ok {
			return dst, b.blocks, true
		}
		end := b.runEnd(first)
		dst = binary.AppendUvarint(dst, first-cursor)
		dst = binary.AppendUvarint(dst, end-first)
		cursor = end
		if len(dst) >= limit {
			_, more := b.next(cursor)
			return dst, cursor, !more
		}
	}
}

// runEnd is the first block from first on that is not set.
func (b *Bitmap) runEnd(first uint64) uint64 {
	for first < b.blocks {
		if first%64 == 0 && b.words[first/64] == ^uint64(0) {
			first += 64
			continue
		}
		if !b.has(first) {
			return first
		}
		first++
	}
	return min(first, b.blocks)
}

// MergeRuns sets what EncodeRuns encoded from cursor on and returns the next cursor. On an error nothing is said of what was set before it:
// a bit too many is never wrong.
func (b *Bitmap) MergeRuns(data []byte, cursor uint64) (next uint64, err error) {
	for len(data) > 0 {
		var part [2]uint64
		for i := range part {
			v, n := binary.Uvarint(data)
			if n <= 0 {
				return cursor, ErrExchange
			}
			part[i], data = v, data[n:]
		}
		gap, run := part[0], part[1]
		if cursor > b.blocks || gap > b.blocks-cursor || run == 0 || run > b.blocks-cursor-gap {
			return cursor, ErrExchange
		}
		cursor += gap
		b.change(cursor, cursor+run, true)
		cursor += run
	}
	return cursor, nil
}
