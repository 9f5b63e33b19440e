package dirty

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// model is the bitmap as a slice of booleans.
type model []bool

func (m model) count() (n uint64) {
	for _, b := range m {
		if b {
			n++
		}
	}
	return n
}

// TestAgainstModel holds random sets and clears against the plain meaning: set on touch, cleared only where covered in full.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Uint64Range(1, 3*BlocksPerPage*Block/1000).Draw(t, "size")
		b, m := New(size), make(model, (size+Block-1)/Block)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			off := rapid.Uint64Range(0, size+Block).Draw(t, "off")
			length := rapid.Uint64Range(0, size).Draw(t, "length")
			set := rapid.Bool().Draw(t, "set")
			before, want := m.count(), uint64(0)
			for i := range m {
				start := uint64(i) * Block
				end := min(start+Block, size)
				switch {
				case set && length > 0 && off < end && off+length > start:
					m[i] = true
				case !set && length > 0 && off <= start && off+length >= end:
					m[i] = false
				}
			}
			var got uint64
			if set {
				got, want = b.Set(off, length), m.count()-before
			} else {
				got, want = b.Clear(off, length), before-m.count()
			}
			if got != want || b.Count() != m.count() {
				t.Fatalf("off %d length %d set %v: changed %d, want %d; count %d, want %d", off, length, set, got, want, b.Count(), m.count())
			}
		}
		same(t, b, m)
		exchange(t, b, size)
	})
}

// same reads the bitmap back by runs.
func same(t *rapid.T, b *Bitmap, m model) {
	got := make(model, len(m))
	var bytes uint64
	most := rapid.Uint64Range(1, 1<<20).Draw(t, "max")
	for cursor := uint64(0); ; {
		off, length, ok := b.NextRun(cursor, most)
		if !ok {
			break
		}
		if length > max(most/Block, 1)*Block {
			t.Fatalf("a run of %d bytes, at most %d were asked for", length, most)
		}
		for i := off / Block; i*Block < off+length; i++ {
			got[i] = true
		}
		bytes += length
		cursor = (off + length + Block - 1) / Block * Block
	}
	if !slices.Equal(got, m) || bytes != b.Bytes() {
		t.Fatalf("runs differ from the model, or Bytes() = %d and the runs sum to %d", b.Bytes(), bytes)
	}
}

// exchange sends the bitmap in small pieces, by runs and by pages, and expects it whole at the other end.
func exchange(t *rapid.T, b *Bitmap, size uint64) {
	other := New(size)
	piece := rapid.IntRange(1, 64).Draw(t, "piece")
	for from, to, done := uint64(0), uint64(0), false; !done; {
		var data []byte
		var next uint64
		data, next, done = b.EncodeRuns(nil, from, piece)
		if len(data) > piece+20 {
			t.Fatalf("a piece of %d bytes, about %d were asked for", len(data), piece)
		}
		merged, err := other.MergeRuns(data, to)
		if err != nil {
			t.Fatal(err)
		}
		from, to = next, max(merged, to)
		if len(data) > 0 && to != next && !done {
			t.Fatalf("the cursors part: %d and %d", to, next)
		}
	}
	if !slices.Equal(other.words, b.words) || other.Count() != b.Count() {
		t.Fatal("the exchanged bitmap differs")
	}
	loaded := New(size)
	for n := range b.Pages() {
		if err := loaded.LoadPage(n, b.AppendPage(nil, n)); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(loaded.words, b.words) || loaded.Count() != b.Count() {
		t.Fatal("the bitmap read from its pages differs")
	}
	if n, ok := b.Changed(0); ok {
		t.Fatalf("page %d is said to be changed after it was taken", n)
	}
}

func TestChangedPages(t *testing.T) {
	b := New(4 * BlocksPerPage * Block)
	if _, ok := b.Changed(0); ok {
		t.Fatal("a new bitmap has changed pages")
	}
	b.Set(2*BlocksPerPage*Block, 1)
	if n, ok := b.Changed(0); !ok || n != 2 || PageOf(2*BlocksPerPage*Block) != 2 {
		t.Fatalf("changed page %d %v, want 2", n, ok)
	}
	b.AppendPage(nil, 2)
	b.Set(2*BlocksPerPage*Block, 1)
	if _, ok := b.Changed(0); ok {
		t.Fatal("setting a set bit changes nothing")
	}
	b.Touch(3)
	if n, _ := b.Changed(3); n != 3 {
		t.Fatal("a touched page must be written")
	}
}

// TestPageHoldsWholeExtents: the hot extents of 4 MiB must not lie on two pages.
func TestPageHoldsWholeExtents(t *testing.T) {
	if BlocksPerPage*Block%(4<<20) != 0 {
		t.Fatal("an extent can lie on two pages")
	}
}

func FuzzMergeRuns(f *testing.F) {
	f.Add([]byte{0, 1, 5, 3}, uint64(0))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1}, uint64(7))
	f.Fuzz(func(t *testing.T, data []byte, cursor uint64) {
		b := New(100 * Block)
		next, err := b.MergeRuns(data, cursor)
		if err == nil && len(data) > 0 && next > 100 || b.Count() > 100 {
			t.Fatalf("cursor %d and %d blocks after data for 100", next, b.Count())
		}
	})
}

func BenchmarkSet(b *testing.B) {
	m := New(1 << 40)
	for i := range b.N {
		m.Set(uint64(i)*4096*977%(1<<40), 4096)
	}
}
