package meta

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"evenkeel/replication"
	"evenkeel/replication/activity"
	"evenkeel/replication/dirty"
	"evenkeel/replication/disk/disktest"
)

const testSize = 4 << 20

func create(t testing.TB, d *disktest.Memory, first bool) *Area {
	t.Helper()
	a, err := Create(d, Options{Volume: [16]byte{1, 2}, Node: "a", First: first, Generation: replication.GenerationID{9}, At: 1_790_000_000})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCreateAndOpen(t *testing.T) {
	d := disktest.New(testSize)
	made := create(t, d, true)
	a, err := Open(d.Crash(1))
	if err != nil {
		t.Fatal("what Create returned is not stable:", err)
	}
	if a.State() != made.State() || a.State().Disk != replication.UpToDate || a.State().Size != a.DataSize() {
		t.Fatalf("opened %+v, created %+v", a.State(), made.State())
	}
	data, meta := AreaSize(testSize)
	if data != a.DataSize() || meta != a.MetaSize() || data+meta != testSize {
		t.Fatalf("AreaSize says %d + %d", data, meta)
	}
	b, damaged, err := a.LoadBitmap()
	if err != nil || damaged != 0 || b.Count() != 0 {
		t.Fatalf("a first copy's bitmap: %d set, %d damaged, %v", b.Count(), damaged, err)
	}
	second, _ := Open(func() *disktest.Memory { d := disktest.New(testSize); create(t, d, false); return d }())
	if b, _, _ := second.LoadBitmap(); b.Bytes() != second.DataSize() {
		t.Fatal("a second copy waits for a full sync: every bit counts as set")
	}
}

// TestAreaSize: the bitmap covers the data for any size of disk, and nothing overlaps.
func TestAreaSize(t *testing.T) {
	for _, size := range []uint64{0, 4096, 1 << 20, 1<<20 + 19*4096, 1<<20 + 20*4096, 256 << 20, 1<<30 + 12345, 1 << 40} {
		g := geometryOf(size)
		if g.data == 0 {
			continue
		}
		if got := uint64(dirty.New(g.data).Pages()); got > uint64(g.pages) {
			t.Errorf("%d: %d pages are needed, %d are there", size, got, g.pages)
		}
		if g.data%block != 0 || g.bits+uint64(g.pages)*block != g.super(1) || g.super(1)+block != g.size || g.size > size {
			t.Errorf("%d: the pieces do not fit: %+v", size, g)
		}
	}
	var small ErrTooSmall
	if _, err := Create(disktest.New(1<<20), Options{}); !errors.As(err, &small) || small.Need <= 1<<20 {
		t.Errorf("a disk of 1 MiB: %v", err)
	}
	if _, err := Create(disktest.New(small.Need), Options{Node: "a"}); err != nil {
		t.Errorf("the %d bytes that were asked for are not enough: %v", small.Need, err)
	}
}

// TestSaveAtEveryCrashPoint stops the disk before and in each change of a run of saves, tears what was in its cache, and expects the last save
// that returned, or the one under way.
func TestSaveAtEveryCrashPoint(t *testing.T) {
	base := disktest.New(testSize)
	create(t, base, true)
	for stop := 1; stop < 16; stop++ {
		for seed := range uint64(4) {
			d := base.Clone()
			a, err := Open(d)
			if err != nil {
				t.Fatal(err)
			}
			d.StopAfter(stop)
			saved, tried := uint64(0), uint64(0)
			for err == nil {
				s := a.State().Advance()
				tried = s.Mark.Counter
				if err = a.Save(s); err == nil {
					saved = tried
				}
			}
			after, err := Open(d.Crash(seed))
			if err != nil {
				t.Fatalf("stop %d seed %d: %v", stop, seed, err)
			}
			if got := after.State().Mark.Counter; got < saved || got > tried {
				t.Fatalf("stop %d seed %d: found mark %d, saved %d, tried %d", stop, seed, got, saved, tried)
			}
		}
	}
}

// TestSaveCoversData: a state never speaks of data that a power cut can take.
func TestSaveCoversData(t *testing.T) {
	d := disktest.New(testSize)
	a := create(t, d, true)
	if err := d.WriteAt([]byte("data"), 0, false); err != nil {
		t.Fatal(err)
	}
	if err := a.Save(a.State().Advance()); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		got := make([]byte, 4)
		if err := d.Crash(seed).ReadAt(got, 0); err != nil || string(got) != "data" {
			t.Fatalf("seed %d: %q %v", seed, got, err)
		}
	}
}

// TestLogAtEveryCrashPoint: after a crash anywhere, every extent whose transaction returned is hot or its bits are set.
func TestLogAtEveryCrashPoint(t *testing.T) {
	base := disktest.New(26 << 20)
	create(t, base, true)
	lost := 0
	for stop := 1; stop < 50; stop += 2 {
		d := base.Clone()
		a, err := Open(d)
		if err != nil {
			t.Fatal(err)
		}
		bits, _, err := a.LoadBitmap()
		if err != nil {
			t.Fatal(err)
		}
		log := activity.New(2)
		d.StopAfter(stop)
		var written []activity.Extent
		for e := activity.Extent(0); err == nil; e++ {
			tr, ok := log.Activate([]activity.Extent{e % 6})
			if !ok {
				t.Fatal("no slot")
			}
			var images []Image
			for _, out := range tr.Evicted {
				n := dirty.PageOf(uint64(out) * activity.ExtentSize)
				images = append(images, Image{n, a.PageImage(bits, n)})
			}
			if err = a.WritePages(images); err != nil {
				break
			}
			if err = d.Flush(); err != nil {
				break
			}
			if err = a.LogTransaction(tr); err != nil {
				break
			}
			log.Committed(tr)
			written = append(written, e%6)
			bits.Set(uint64(e%6)*activity.ExtentSize, 4096) // a lone write
		}
		lost += len(written)
		after, err := Open(d.Crash(uint64(stop)))
		if err != nil {
			t.Fatal(err)
		}
		found, damaged, err := after.LoadBitmap()
		if err != nil || damaged > 1 {
			t.Fatal(damaged, err)
		}
		for _, e := range written {
			if !found.Any(uint64(e)*activity.ExtentSize, 4096) && !slices.Contains(after.HotExtents(), e) {
				t.Fatalf("stop %d: extent %d was written alone and is neither hot nor set", stop, e)
			}
		}
	}
	if lost == 0 {
		t.Fatal("nothing was ever written: the test proves nothing")
	}
}

func TestDamage(t *testing.T) {
	geo := geometryOf(testSize)
	rot := []byte{0xde, 0xad}
	t.Run("one superblock", func(t *testing.T) {
		for slot := range 2 {
			d := disktest.New(testSize)
			a := create(t, d, true)
			if err := a.Save(a.State().Advance()); err != nil {
				t.Fatal(err)
			}
			d.Poke(geo.super(slot)+100, rot)
			after, err := Open(d)
			if err != nil || after.State().Mark.Counter != 1 {
				t.Fatalf("slot %d: the other slot must be as new: %v", slot, err)
			}
		}
	})
	t.Run("both superblocks", func(t *testing.T) {
		d := disktest.New(testSize)
		create(t, d, true)
		d.Poke(geo.super(0)+100, rot)
		d.Poke(geo.super(1)+100, rot)
		if _, err := Open(d); !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if _, err := Create(d, Options{Node: "a"}); !errors.Is(err, ErrUsed) {
			t.Fatal("damaged metadata are not a blank disk:", err)
		}
		if _, err := Create(d, Options{Node: "a", Force: true}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("bitmap page", func(t *testing.T) {
		d := disktest.New(testSize)
		create(t, d, true)
		d.Poke(geo.bits+200, rot)
		a, err := Open(d)
		if err != nil {
			t.Fatal(err)
		}
		b, damaged, err := a.LoadBitmap()
		if err != nil || damaged != 1 || b.Bytes() != a.DataSize() {
			t.Fatalf("damaged %d, set %d, %v", damaged, b.Bytes(), err)
		}
	})
	t.Run("blank", func(t *testing.T) {
		if _, err := Open(disktest.New(testSize)); !errors.Is(err, ErrNoMetadata) {
			t.Fatal(err)
		}
	})
	t.Run("failed flush", func(t *testing.T) {
		d := disktest.New(testSize)
		a := create(t, d, true)
		d.Fail(func(int) error { return fmt.Errorf("EIO") })
		before := a.State()
		if err := a.Save(before.Advance()); err == nil || a.State() != before {
			t.Fatal("a save that failed must say so and change nothing")
		}
	})
}

func TestForeign(t *testing.T) {
	put := func(at int, magic string, more ...func(*disktest.Memory)) *disktest.Memory {
		d := disktest.New(testSize)
		d.Poke(uint64(at), []byte(magic))
		for _, f := range more {
			f(d)
		}
		return d
	}
	for _, s := range signatures {
		var foreign ErrForeign
		if _, err := Open(put(s.at, s.magic)); !errors.As(err, &foreign) || foreign.What != s.what {
			t.Errorf("%s: Open says %v", s.what, err)
		}
		if _, err := Create(put(s.at, s.magic), Options{Node: "a"}); !errors.As(err, &foreign) {
			t.Errorf("%s: Create says %v", s.what, err)
		}
	}
	for _, s := range tails {
		var foreign ErrForeign
		at := int(s.at(testSize))
		if _, err := Create(put(at, s.magic), Options{Node: "a"}); !errors.As(err, &foreign) || foreign.What != s.what {
			t.Errorf("%s at the end: Create says %v", s.what, err)
		}
		if _, err := Open(put(at, s.magic)); !errors.As(err, &foreign) {
			t.Errorf("%s at the end: Open says %v", s.what, err)
		}
	}
	ext := func(blocks byte) *disktest.Memory {
		return put(0x438, "\x53\xef", func(d *disktest.Memory) { d.Poke(1024+4, []byte{0, blocks}) }) // blocks*256 of 1 KiB
	}
	if _, err := Create(ext(12), Options{Node: "a", First: true, Adopt: true}); err != nil {
		t.Error("a filesystem of 3 MiB on 4 MiB can be adopted:", err)
	}
	var small ErrTooSmall
	if _, err := Create(ext(16), Options{Node: "a", First: true, Adopt: true}); !errors.As(err, &small) || small.Need <= testSize {
		t.Error("a filesystem that fills the disk needs more room:", err)
	}
}

func TestSidecar(t *testing.T) {
	dir := t.TempDir()
	d := disktest.New(testSize)
	a := create(t, d, true)
	if err := a.Keep(dir, "data", "disk 1"); err != nil {
		t.Fatal(err)
	}
	old := d.Clone()
	s := a.State().Connect(1)
	s.Flags &^= replication.Fresh
	if err := a.Save(s.Rotate(replication.GenerationID{7}, 1)); err != nil || a.SidecarError() != nil {
		t.Fatal(err, a.SidecarError())
	}
	if _, _, err := OpenChecked(d, dir, "data", "disk 1"); err != nil {
		t.Fatal("the right disk:", err)
	}
	if got, _, err := OpenChecked(old, dir, "data", "disk 1"); !errors.Is(err, ErrWentBack) || got == nil {
		t.Fatal("an older image of it:", err)
	}
	if again, _, err := OpenChecked(old, dir, "data", "disk 1"); err != nil || again.State().Disk != replication.Inconsistent ||
		!again.State().Flags.Has(replication.FullSync) {
		t.Fatal("it is said once, and its data are not trusted from then on:", err)
	}
	other := disktest.New(testSize)
	create(t, other, true)
	if _, _, err := OpenChecked(other, dir, "data", "disk 1"); !errors.Is(err, ErrSwapped) {
		t.Fatal("another volume's disk:", err)
	}
	if _, _, err := OpenChecked(disktest.New(testSize), dir, "data", "disk 1"); !errors.Is(err, ErrNoMetadata) {
		t.Fatal("a blank disk:", err)
	}
}

// TestMovedEnd: a disk that was enlarged keeps its area, its bits and its hot extents.
func TestMovedEnd(t *testing.T) {
	dir := t.TempDir()
	d := disktest.New(testSize)
	a := create(t, d, true)
	if err := a.Keep(dir, "data", ""); err != nil {
		t.Fatal(err)
	}
	bits, _, _ := a.LoadBitmap()
	bits.Set(8192, 1)
	if err := errors.Join(a.WriteBitmap(bits), a.LogTransaction(activity.Transaction{Table: []activity.Extent{activity.Free, 0}})); err != nil {
		t.Fatal(err)
	}
	grow := func(size uint64) *disktest.Memory {
		big := disktest.New(size)
		all := make([]byte, testSize)
		if err := d.ReadAt(all, 0); err != nil {
			t.Fatal(err)
		}
		big.Poke(0, all)
		return big
	}
	var small ErrTooSmall
	if _, _, err := OpenChecked(grow(testSize+4096), dir, "data", ""); !errors.As(err, &small) {
		t.Fatal("the old and the new area would overlap:", err)
	}
	big := grow(2 * testSize)
	moved, found, err := OpenChecked(big, dir, "data", "")
	if err != nil || !found.Moved || moved.State() != a.State() {
		t.Fatal(found, err)
	}
	after, err := Open(big.Crash(3))
	if err != nil {
		t.Fatal(err)
	}
	got, damaged, err := after.LoadBitmap()
	if err != nil || damaged != 0 || got.Count() != 1 || !got.Any(8192, 1) || !slices.Equal(after.HotExtents(), []activity.Extent{0}) {
		t.Fatal("bits or hot extents were lost", got.Count(), damaged, err, after.HotExtents())
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for _, err := range []error{ErrNoMetadata, ErrCorrupt, ErrUsed, ErrForeign{"x"}, ErrTooSmall{2, 1}, ErrSwapped, ErrWentBack} {
		if !strings.Contains(err.Error(), ":") {
			t.Errorf("%v: says what, but neither why nor what to do", err)
		}
	}
}

// TestLostRing: when nobody knows what was hot, every block counts as out of sync, until the ring is written again. One torn record is no loss.
func TestLostRing(t *testing.T) {
	zero, noise := make([]byte, block), bytes.Repeat([]byte{0xa5}, block)
	for _, c := range []struct {
		name    string
		records int // beside the one of Create
		spoil   map[uint64][]byte
		all     []byte // into every block
		lost    bool
	}{
		{"whole", 20, nil, nil, false},
		{"all zero", 20, nil, zero, true},
		{"all zero, young", 2, nil, zero, true},
		{"all noise", 20, nil, noise, true},
		{"the next torn", 20, map[uint64][]byte{22 % ringBlocks: noise}, nil, false},
		{"the next torn, young", 2, map[uint64][]byte{4: noise}, nil, false},
		{"the newest torn", 20, map[uint64][]byte{21 % ringBlocks: noise}, nil, false},
		{"the newest two", 20, map[uint64][]byte{21 % ringBlocks: noise, 20 % ringBlocks: noise}, nil, true},
		{"the newest two zero, young", 2, map[uint64][]byte{3: noise, 2: zero}, nil, true},
		{"an old one", 20, map[uint64][]byte{10: noise}, nil, true},
	} {
		d := disktest.New(testSize)
		a := create(t, d, true)
		for range c.records {
			if err := a.LogTransaction(activity.Transaction{Table: []activity.Extent{0}}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range uint64(ringBlocks) {
			if c.all != nil {
				d.Poke(a.geo.ring+i*block, c.all)
			} else if b := c.spoil[i]; b != nil {
				d.Poke(a.geo.ring+i*block, b)
			}
		}
		for round := range 3 { // as attach does: bits, then an empty record
			a, err := Open(d)
			if err != nil {
				t.Fatal(c.name, err)
			}
			bits, damaged, err := a.LoadBitmap()
			if want := c.lost && round == 0; err != nil || (damaged > 0) != want || (bits.Bytes() == a.DataSize()) != want {
				t.Fatalf("%s, round %d: damaged %d, %d bytes set, %v", c.name, round, damaged, bits.Bytes(), err)
			}
			bits.Clear(0, a.DataSize())
			if err := errors.Join(a.WriteBitmap(bits), a.ClearLog()); err != nil {
				t.Fatal(c.name, err)
			}
		}
	}
}
