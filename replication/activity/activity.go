// Package activity decides which extents of a volume are hot: a write may be under way there, so after a crash they count as out of sync.
// It is a pure core. A write needs its extents hot; making one hot is a transaction that must be durable before the write; an extent that
// leaves has its bitmap pages written before the transaction that forgets it.
//
//	Activate -> Transaction:  1. write EvictedPages   2. write the transaction   3. Committed   4. the write
//	Release when the write is stable on every copy that receives (after the peer's flush, not after its acknowledgement).
package activity

import "slices"

// ExtentSize is an extent in bytes; Slots is how many can be hot by default, which bounds the resync after a crash to 1 GiB.
const (
	ExtentSize = 4 << 20
	Slots      = 256
	// MaxUpdates bounds the extents that one transaction can name, so that it fits one block of the log.
	MaxUpdates = 64
)

// Extent is the number of an extent: offset / ExtentSize.
type Extent = uint32

// Free is the content of an empty slot.
const Free Extent = ^Extent(0)

// Update puts an extent into a slot.
type Update struct {
	Slot   uint16
	Extent Extent
}

// Transaction is what must be durable before the writes that asked for it begin.
type Transaction struct {
	// Evicted are the extents that leave: their bitmap pages are written first.
	Evicted []Extent
	Updates []Update
	// Table is the extent of every slot after the updates, Free where it is empty. Transactions are written in the order of their making.
	Table []Extent
}

// Log is the set of hot extents.
type Log struct {
	slots   []slot
	byExt   map[Extent]int
	clock   uint64
	pending int // slots in a transaction that is not committed
}

type slot struct {
	extent  Extent
	refs    int    // writes under way or not yet stable everywhere
	used    uint64 // when it was asked for last, for the choice of what leaves
	pending bool   // its transaction is not durable yet
}

// New is an empty log of n slots.
func New(n int) *Log {
	l := &Log{slots: make([]slot, n), byExt: make(map[Extent]int, n)}
	for i := range l.slots {
		l.slots[i].extent = Free
	}
	return l
}

// ExtentsOf are the first and last extent that a range of bytes touches; length must not be 0.
func ExtentsOf(off, length uint64) (first, last Extent) {
	return Extent(off / ExtentSize), Extent((off + length - 1) / ExtentSize)
}

// Hold takes a reference on every extent of [first, last] if all of them are hot and committed; the common way, without allocation.
func (l *Log) Hold(first, last Extent) bool {
	for e := first; e <= last; e++ {
		if i, ok := l.byExt[e]; !ok || l.slots[i].pending {
			return false
		}
	}
	l.clock++
	for e := first; e <= last; e++ {
		s := &l.slots[l.byExt[e]]
		s.refs++
		s.used = l.clock
	}
	return true
}

// Activate makes room for the extents that are not hot yet. ok is false when too few slots can be had now: wait for a Release, or for
// Committed of what is pending. The new ones are pending until Committed; then Hold succeeds. An empty transaction needs no write.
func (l *Log) Activate(extents []Extent) (t Transaction, ok bool) {
	var missing, keep []Extent
	for _, e := range extents {
		if _, hot := l.byExt[e]; hot {
			keep = append(keep, e)
		} else if !slices.Contains(missing, e) {
			missing = append(missing, e)
		}
	}
	if len(missing) > MaxUpdates {
		return Transaction{}, false
	}
	victims := l.victims(len(missing), keep)
	if len(victims) < len(missing) {
		return Transaction{}, false
	}
	l.clock++
	for n, e := range missing {
		i := victims[n]
		if old := l.slots[i].extent; old != Free {
			t.Evicted = append(t.Evicted, old)
			delete(l.byExt, old)
		}
		l.slots[i] = slot{extent: e, used: l.clock, pending: true}
		l.byExt[e] = i
		l.pending++
		t.Updates = append(t.Updates, Update{Slot: uint16(i), Extent: e})
	}
	t.Table = l.Table()
	return t, true
}

// victims are up to n slots that may change: free ones first, then those unused for longest.
func (l *Log) victims(n int, keep []Extent) []int {
	var free []int
	for i, s := range l.slots {
		if s.refs == 0 && !s.pending && (s.extent == Free || !slices.Contains(keep, s.extent)) {
			free = append(free, i)
		}
	}
	slices.SortFunc(free, func(a, b int) int {
		x, y := l.slots[a], l.slots[b]
		if (x.extent == Free) != (y.extent == Free) {
			if x.extent == Free {
				return -1
			}
			return 1
		}
		return int(int64(x.used - y.used))
	})
	return free[:min(n, len(free))]
}

// Committed notes that the transaction is durable.
func (l *Log) Committed(t Transaction) {
	for _, u := range t.Updates {
		if s := &l.slots[u.Slot]; s.pending && s.extent == u.Extent {
			s.pending = false
			l.pending--
		}
	}
}

// Release gives back one reference on every extent of [first, last].
func (l *Log) Release(first, last Extent) {
	for e := first; e <= last; e++ {
		i, ok := l.byExt[e]
		if !ok || l.slots[i].refs == 0 {
			panic("activity: an extent was released that nobody held")
		}
		l.slots[i].refs--
	}
}

// Pending says whether a transaction waits for Committed.
func (l *Log) Pending() bool { return l.pending > 0 }

// Table is the extent of every slot, Free where it is empty.
func (l *Log) Table() []Extent {
	t := make([]Extent, len(l.slots))
	for i, s := range l.slots {
		t[i] = s.extent
	}
	return t
}

// Hot are the hot extents, pending ones included, in order.
func (l *Log) Hot() []Extent {
	var hot []Extent
	for e := range l.byExt {
		hot = append(hot, e)
	}
	slices.Sort(hot)
	return hot
}

// Restore puts the table read after a crash or an orderly stop in place.
func (l *Log) Restore(table []Extent) {
	*l = *New(len(l.slots))
	for i, e := range table {
		if _, twice := l.byExt[e]; i < len(l.slots) && e != Free && !twice {
			l.slots[i].extent = e
			l.byExt[e] = i
		}
	}
}
