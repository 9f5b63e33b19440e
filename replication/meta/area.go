package meta

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"evenkeel/replication"
	"evenkeel/replication/activity"
	"evenkeel/replication/dirty"
	"evenkeel/replication/disk"
)

// The errors of Open and Create. ErrCorrupt and ErrNoMetadata make a copy unknown, never new.
var (
	ErrNoMetadata = errors.New("the disk bears no metadata of a volume: it is blank or another disk; run volume create if it is to become one")
	ErrCorrupt    = errors.New("the disk's metadata are damaged in both places: its data may be good, but nobody knows how old they are")
	ErrUsed       = errors.New("the disk already belongs to a volume: run volume create with --force if its data may go")
)

// ErrForeign is a disk that bears somebody else's data.
type ErrForeign struct {
	What string // ext4, xfs, ...
}

// Error names what was found.
func (e ErrForeign) Error() string {
	return fmt.Sprintf("the disk holds %s: it is not touched; use another disk, keep a filesystem with volume create --adopt, or wipe what nobody needs with wipefs -a", e.What)
}

// ErrTooSmall is a disk, or the room behind an adopted filesystem, that does not hold the metadata. Both figures are bytes.
type ErrTooSmall struct {
	Need uint64
	Have uint64
}

// Error says how much is needed.
func (e ErrTooSmall) Error() string {
	return fmt.Sprintf("the disk has %d bytes and %d are needed: enlarge it, or shrink the filesystem on it, by %d bytes", e.Have, e.Need, e.Need-e.Have)
}

// Area is an open metadata area. Its methods may be called from several goroutines; Save and LogTransaction take effect in the order in
// which they are called.
type Area struct {
	disk disk.Disk
	geo  geometry

	super    sync.Mutex // guards the fields up to ring
	name     areaName   // set once, before the area is shared
	state    replication.State
	sequence uint64
	slot     int // the slot that is stable and newest; the next save begins with the other one
	sidecar  *keeper

	ring   sync.Mutex // guards the three below
	record uint64
	table  []activity.Extent
	lost   bool       // the ring is damaged: what was hot is not known
	bits   sync.Mutex // one writer of pages at a time
}

// Options say what Create marks.
type Options struct {
	Volume     [16]byte // random name of the volume, equal on both nodes where it is known
	Node       string
	First      bool                     // this copy holds the data
	Generation replication.GenerationID // random; used with First
	At         int64                    // Unix seconds
	Adopt      bool                     // a foreign filesystem stays where it is, if it ends before the area
	Force      bool                     // metadata of an earlier volume may go
}

// Create marks a disk: an empty ring, a clean bitmap, both superblocks, all stable when it returns.
func Create(d disk.Disk, o Options) (*Area, error) {
	geo := geometryOf(d.Size())
	if geo.data == 0 {
		return nil, ErrTooSmall{Need: (2+ringBlocks+uint64(geo.pages)+1)*block + DataMin, Have: d.Size()}
	}
	if err := mayMark(d, geo, o); err != nil {
		return nil, err
	}
	a := &Area{disk: d, geo: geo, slot: 1}
	if _, err := rand.Read(a.name[:]); err != nil {
		return nil, fmt.Errorf("cannot name the metadata area: %w", err)
	}
	a.state = replication.New(o.Volume, o.Node, geo.data, o.First, o.Generation, o.At)
	a.state.DiskID = a.name
	if err := a.format(dirty.New(geo.data), nil); err != nil {
		return nil, fmt.Errorf("cannot write the metadata: %w", err)
	}
	return a, nil
}

// mayMark refuses a disk that bears data nobody gave up.
func mayMark(d disk.Disk, geo geometry, o Options) error {
	found, err := Recognise(d)
	if err != nil {
		return err
	}
	_, err = Open(d)
	ours := err == nil || errors.Is(err, ErrCorrupt)
	switch {
	case ours && !o.Force:
		return ErrUsed
	case found.What == "":
		return nil
	case !o.Adopt:
		return ErrForeign{What: found.What}
	case found.Size == 0:
		return fmt.Errorf("%s cannot be adopted: only a filesystem whose size can be read can", found.What)
	case found.Size > geo.data:
		return ErrTooSmall{Need: found.Size + (geo.size - geo.data), Have: d.Size()}
	}
	return nil
}

// format writes everything anew around bits and the table of hot extents; old superblocks go first and the new ones come last, so a crash
// half-way leaves a disk without metadata.
func (a *Area) format(bits *dirty.Bitmap, table []activity.Extent) error {
	b := disk.Alloc(1 << 20)
	defer disk.Free(b)
	clear(b[:ringBlocks*block])
	for slot := range 2 {
		if err := a.disk.WriteAt(b[:block], a.geo.super(slot), true); err != nil {
			return err
		}
	}
	if err := a.disk.WriteAt(b[:ringBlocks*block], a.geo.ring, false); err != nil {
		return err
	}
	for n := 0; n < a.geo.pages; {
		chunk := min(a.geo.pages-n, len(b)/block)
		for i := range chunk {
			page := b[i*block : (i+1)*block]
			clear(page)
			if n+i < bits.Pages() {
				bits.AppendPage(page[:bitsAt:block], n+i)
			}
			encodePage(page, n+i, a.name)
		}
		if err := a.disk.WriteAt(b[:chunk*block], a.geo.bits+uint64(n)*block, false); err != nil {
			return err
		}
		n += chunk
	}
	a.record = 0 // of the new ring
	if err := a.LogTransaction(activity.Transaction{Table: table}); err != nil {
		return err
	}
	return a.Save(a.state)
}

// Open finds the area of a disk. The errors are ErrNoMetadata, ErrCorrupt, ErrForeign, ErrTooSmall, or an I/O error.
func Open(d disk.Disk) (*Area, error) {
	return openAt(d, geometryOf(d.Size()))
}

func openAt(d disk.Disk, geo geometry) (*Area, error) {
	if geo.data == 0 {
		return nil, ErrTooSmall{Need: (3+ringBlocks+uint64(geo.pages))*block + DataMin, Have: d.Size()}
	}
	a := &Area{disk: d, geo: geo}
	found, traces, err := a.readSuperblocks()
	switch {
	case err != nil:
		return nil, err
	case found:
		return a, a.readRing()
	case traces:
		return nil, ErrCorrupt
	}
	foreign, err := Recognise(d)
	if err != nil {
		return nil, err
	}
	if foreign.What != "" {
		return nil, ErrForeign{What: foreign.What}
	}
	return nil, ErrNoMetadata
}

// readSuperblocks takes the newer valid one. traces: there was none, but there had been one.
func (a *Area) readSuperblocks() (found, traces bool, err error) {
	b := disk.Alloc(block)
	defer disk.Free(b)
	for slot := range 2 {
		if err := a.disk.ReadAt(b, a.geo.super(slot)); err != nil {
			return false, false, fmt.Errorf("cannot read the metadata: %w", err)
		}
		traces = traces || string(b[:8]) == magicSuper
		s, ok := parseSuperblock(b)
		if !ok || s.slot != uint32(slot) || s.size != a.geo.size || s.data != a.geo.data ||
			s.ring != ringBlocks || s.pages != uint32(a.geo.pages) || found && s.sequence <= a.sequence {
			continue
		}
		state, err := replication.ParseState(s.record)
		if err != nil {
			continue
		}
		found, a.state, a.sequence, a.slot, a.name = true, state, s.sequence, slot, s.name
	}
	// Neither slot's neighbours agree: pages of an area that bears this name prove that there was one.
	if !found && !traces {
		if err := a.disk.ReadAt(b, a.geo.bits); err != nil {
			return false, false, fmt.Errorf("cannot read the metadata: %w", err)
		}
		traces = string(b[:8]) == magicBits
	}
	return found, traces, nil
}

// readRing finds the newest record.
func (a *Area) readRing() error {
	b := disk.Alloc(ringBlocks * block)
	defer disk.Free(b)
	if err := a.disk.ReadAt(b, a.geo.ring); err != nil {
		return fmt.Errorf("cannot read the log of hot extents: %w", err)
	}
	var bad [ringBlocks]bool
	for i := range uint64(ringBlocks) {
		n, table, ok := parseRing(b[i*block:(i+1)*block], a.name)
		bad[i] = !ok || n%ringBlocks != i
		if !bad[i] && n > a.record {
			a.record, a.table = n, table
		}
	}
	a.lost = a.ringLost(b, bad)
	return nil
}

// ringLost: no record is left, though the first was written with the area; or a block is damaged where no crash can tear one, which is any but the
// next record's. A block that was never written is zero.
func (a *Area) ringLost(b []byte, bad [ringBlocks]bool) bool {
	for i := range uint64(ringBlocks) {
		written := a.record >= ringBlocks || i > 0 && i <= a.record
		damaged := bad[i] && (written || !bytes.Equal(b[i*block:(i+1)*block], make([]byte, block)))
		if damaged && i != (a.record+1)%ringBlocks {
			return true
		}
	}
	return a.record == 0
}

// DataSize is what the disk offers for data, in bytes; State().Size is what the pair uses of it.
func (a *Area) DataSize() uint64 { return a.geo.data }

// MetaSize is what the area takes of the disk, in bytes.
func (a *Area) MetaSize() uint64 { return a.geo.size - a.geo.data }

// State is the state as the last save left it.
func (a *Area) State() replication.State {
	a.super.Lock()
	defer a.super.Unlock()
	return a.state
}

// Save makes s durable, and every write that completed before it first: what a state says of the data is never ahead of them. When it returns
// without an error, s is what Open will find. After an error the disk is not to be relied upon: detach.
func (a *Area) Save(s replication.State) error {
	a.super.Lock()
	defer a.super.Unlock()
	if err := a.disk.Flush(); err != nil {
		return fmt.Errorf("cannot save the volume's state: %w", err)
	}
	b := disk.Alloc(block)
	defer disk.Free(b)
	next := 1 - a.slot
	for _, slot := range []int{next, a.slot} {
		superblock{
			slot: uint32(slot), sequence: a.sequence + 1, size: a.geo.size, data: a.geo.data,
			ring: ringBlocks, pages: uint32(a.geo.pages), name: a.name, record: s.Encode(),
		}.encode(b)
		if err := a.disk.WriteAt(b, a.geo.super(slot), slot == next); err != nil {
			return fmt.Errorf("cannot save the volume's state: %w", err)
		}
	}
	a.state, a.slot, a.sequence = s, next, a.sequence+1
	a.sidecar.follow(a)
	return nil
}

// HotExtents are the extents that were hot when the process ended, from the ring: after a crash they count as out of sync.
func (a *Area) HotExtents() []activity.Extent {
	a.ring.Lock()
	defer a.ring.Unlock()
	var hot []activity.Extent
	for _, e := range a.table {
		if e != activity.Free {
			hot = append(hot, e)
		}
	}
	return hot
}

// ringIsLost says that nobody knows what was hot.
func (a *Area) ringIsLost() bool {
	a.ring.Lock()
	defer a.ring.Unlock()
	return a.lost
}

// Table is the newest record's table, for activity.Log.Restore.
func (a *Area) Table() []activity.Extent {
	a.ring.Lock()
	defer a.ring.Unlock()
	return append([]activity.Extent(nil), a.table...)
}

// LogTransaction makes a transaction durable; the pages of t.Evicted must have been written with WritePages before. Call it in the order in
// which the transactions were made.
func (a *Area) LogTransaction(t activity.Transaction) error {
	a.ring.Lock()
	defer a.ring.Unlock()
	if len(t.Table) > slotsMax {
		return fmt.Errorf("a log of %d slots does not fit a record of %d", len(t.Table), slotsMax)
	}
	if a.lost { // what LoadBitmap said is durable before anything is logged: from here on the ring tells the truth again
		if err := errors.Join(a.disk.WriteZeroes(a.geo.ring, ringBlocks*block, false), a.disk.Flush()); err != nil {
			return fmt.Errorf("cannot clear the log of hot extents: %w", err)
		}
		a.record, a.lost = 0, false
	}
	b := disk.Alloc(block)
	defer disk.Free(b)
	n := a.record + 1
	encodeRing(b, n, a.name, t.Table)
	if err := a.disk.WriteAt(b, a.geo.ring+n%ringBlocks*block, true); err != nil {
		return fmt.Errorf("cannot write the log of hot extents: %w", err)
	}
	a.record, a.table = n, t.Table
	return nil
}

// ClearLog makes an empty table durable: after an orderly stop, when nothing is under way and the bitmap is written.
func (a *Area) ClearLog() error { return a.LogTransaction(activity.Transaction{}) }

// LoadBitmap reads the bitmap for the volume's present size. Pages that cannot be trusted count as all set; damaged says how many. With the
// log of hot extents lost, all are.
// Hot extents are not in it: see HotExtents.
func (a *Area) LoadBitmap() (m *dirty.Bitmap, damaged int, err error) {
	s := a.State()
	m = dirty.New(s.Size)
	b := disk.Alloc(1 << 20)
	defer disk.Free(b)
	for n := 0; n < m.Pages(); {
		chunk := min(m.Pages()-n, len(b)/block)
		if err := a.disk.ReadAt(b[:chunk*block], a.geo.bits+uint64(n)*block); err != nil {
			return nil, 0, fmt.Errorf("cannot read the bitmap: %w", err)
		}
		for i := range chunk {
			bits, ok := parsePage(b[i*block:(i+1)*block], n+i, a.name)
			if !ok {
				damaged++
				m.Set(uint64(n+i)*dirty.BlocksPerPage*dirty.Block, dirty.BlocksPerPage*dirty.Block)
			} else if err := m.LoadPage(n+i, bits); err != nil {
				return nil, 0, err
			}
		}
		n += chunk
	}
	if a.ringIsLost() {
		damaged = m.Pages()
		m.Set(0, s.Size)
	}
	if s.Flags.Has(replication.FullSync) {
		m.SetAll()
	}
	return m, damaged, nil
}

// PageImage takes page n of a bitmap for WritePages: the caller makes it where it guards the bitmap, and writes it where it may wait.
func (a *Area) PageImage(m *dirty.Bitmap, n int) []byte {
	b := disk.Alloc(block)
	m.AppendPage(b[:bitsAt:block], n)
	encodePage(b, n, a.name)
	return b
}

// Image is a page's number and its PageImage.
type Image struct {
	Page int
	Data []byte // from PageImage; WritePages gives it back to the pool
}

// pagesAtOnce bounds how many neighbouring pages are written in one stroke: 1 MiB.
const pagesAtOnce = 256

// WritePages writes pages, neighbours together. After an error the caller must Touch the pages.
func (a *Area) WritePages(images []Image) error {
	a.bits.Lock()
	defer a.bits.Unlock()
	var failed error
	for len(images) > 0 {
		n := 1
		for n < len(images) && n < pagesAtOnce && images[n].Page == images[0].Page+n {
			n++
		}
		if failed == nil {
			failed = a.writeRun(images[:n])
		}
		for _, im := range images[:n] {
			disk.Free(im.Data)
		}
		images = images[n:]
	}
	if failed != nil {
		return fmt.Errorf("cannot write the bitmap: %w", failed)
	}
	return nil
}

// writeRun writes neighbouring pages.
func (a *Area) writeRun(images []Image) error {
	at := a.geo.bits + uint64(images[0].Page)*block
	if len(images) == 1 {
		return a.disk.WriteAt(images[0].Data, at, false)
	}
	run := disk.Alloc(len(images) * block)
	defer disk.Free(run)
	for i, im := range images {
		copy(run[i*block:], im.Data)
	}
	return a.disk.WriteAt(run, at, false)
}

// WriteBitmap writes every page that changed since it was written last, and flushes: before an orderly stop, and before a state is saved that
// relies on the bits.
func (a *Area) WriteBitmap(m *dirty.Bitmap) error {
	n, ok := m.Changed(0)
	for ok {
		var images []Image
		for ; ok && len(images) < pagesAtOnce; n, ok = m.Changed(n + 1) {
			images = append(images, Image{Page: n, Data: a.PageImage(m, n)})
		}
		if err := a.WritePages(images); err != nil {
			for _, im := range images {
				m.Touch(im.Page)
			}
			return err
		}
	}
	return a.disk.Flush()
}
