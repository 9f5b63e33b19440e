package activity

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestNeverColdUnderAWrite runs random writes against the rules: a held extent is in the newest committed table, and what leaves is named.
func TestNeverColdUnderAWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := New(rapid.IntRange(1, 8).Draw(t, "slots"))
		committed := l.Table()
		held := map[Extent]int{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			e := Extent(rapid.IntRange(0, 12).Draw(t, "extent"))
			if rapid.Bool().Draw(t, "release") && held[e] > 0 {
				l.Release(e, e)
				held[e]--
				continue
			}
			if !l.Hold(e, e) {
				before := l.Hot()
				tr, ok := l.Activate([]Extent{e})
				if !ok {
					if busy(held) < len(l.slots) {
						t.Fatalf("refused with %d of %d slots in use", busy(held), len(l.slots))
					}
					continue
				}
				check(t, before, l.Hot(), tr)
				if l.Hold(e, e) {
					t.Fatal("an extent can be held before its transaction is durable")
				}
				committed = tr.Table
				l.Committed(tr)
				if !l.Hold(e, e) {
					t.Fatal("a committed extent cannot be held")
				}
			}
			held[e]++
			for x, n := range held {
				if n > 0 && !slices.Contains(committed, x) {
					t.Fatalf("extent %d is written to and not in the log", x)
				}
			}
		}
		again := New(len(l.slots))
		again.Restore(committed)
		if !slices.Equal(again.Hot(), l.Hot()) || l.Pending() {
			t.Fatalf("restored %v, want %v", again.Hot(), l.Hot())
		}
	})
}

func busy(held map[Extent]int) (n int) {
	for _, h := range held {
		if h > 0 {
			n++
		}
	}
	return n
}

func check(t *rapid.T, before, after []Extent, tr Transaction) {
	for _, e := range before {
		if !slices.Contains(after, e) && !slices.Contains(tr.Evicted, e) {
			t.Fatalf("extent %d left and is not named as evicted", e)
		}
	}
	for _, u := range tr.Updates {
		if tr.Table[u.Slot] != u.Extent {
			t.Fatal("the table does not hold the update")
		}
	}
}

func TestOldestLeaves(t *testing.T) {
	l := New(2)
	for _, e := range []Extent{7, 8} {
		tr, _ := l.Activate([]Extent{e})
		l.Committed(tr)
	}
	l.Hold(7, 7)
	l.Release(7, 7)
	tr, ok := l.Activate([]Extent{9})
	if !ok || !slices.Equal(tr.Evicted, []Extent{8}) {
		t.Fatalf("evicted %v, want 8, which was used longest ago", tr.Evicted)
	}
}

func TestTooManyAtOnce(t *testing.T) {
	l := New(2)
	if _, ok := l.Activate([]Extent{1, 2, 3}); ok || len(l.Hot()) != 0 {
		t.Fatal("three extents do not fit two slots, and nothing may change")
	}
	if tr, ok := l.Activate([]Extent{1, 1}); !ok || len(tr.Updates) != 1 {
		t.Fatal("an extent named twice takes one slot")
	}
}

func BenchmarkHoldRelease(b *testing.B) {
	l := New(Slots)
	tr, _ := l.Activate([]Extent{5})
	l.Committed(tr)
	b.ReportAllocs()
	for range b.N {
		if !l.Hold(5, 5) {
			b.Fatal("cold")
		}
		l.Release(5, 5)
	}
}
