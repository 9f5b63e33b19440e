// Package faulty is the fault layer of the lab and of tests: a disk with a volatile cache in this process's memory, which SIGKILL loses, and
// with errors, slowness and fullness on command. It is switched on only by root's evenkeel.toml.
package faulty

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"evenkeel/replication/disk"
)

// Limit bounds the held bytes; beyond it all of them are written through.
const Limit = 64 << 20

// pollEvery is how often the control file is looked at, at most.
const pollEvery = 50 * time.Millisecond

// Control is the control file's JSON. An absent or unreadable file means ok.
type Control struct {
	// Mode is ok, error (every call fails), slow (every call waits), full (writes fail), hang (no call ends before the mode is another) or
	// through (nothing is held: for figures of what lies above).
	Mode string `json:"mode"`
	// Seed chooses which sectors of 4 KiB reach the disk at once: about one in four.
	Seed uint64 `json:"seed"`
	// DelayMS is the wait of slow; 0 = 200 ms.
	DelayMS int64 `json:"delay_ms"`
}

const sector = disk.Align

type layer struct {
	under disk.Disk
	path  string
	limit int // bytes: Limit, but in tests

	mu     sync.RWMutex // guards held; held over the writes below, so reads never see a gap
	held   map[uint64][]byte
	chance *rand.Rand
	broken error // the failed flush

	ctl     sync.Mutex
	control Control
	looked  time.Time
	stamp   time.Time
}

// Wrap puts the layer over d; controlFile need not exist.
func Wrap(d disk.Disk, controlFile string) disk.Disk {
	l := &layer{under: d, path: controlFile, limit: Limit, held: map[uint64][]byte{}}
	l.chance = rand.New(rand.NewPCG(l.now().Seed, 1))
	return l
}

// now is the control in force.
func (l *layer) now() Control {
	l.ctl.Lock()
	defer l.ctl.Unlock()
	if time.Since(l.looked) < pollEvery {
		return l.control
	}
	l.looked = time.Now()
	info, err := os.Stat(l.path)
	if err != nil {
		l.control, l.stamp = Control{}, time.Time{}
		return l.control
	}
	if info.ModTime().Equal(l.stamp) {
		return l.control
	}
	var c Control
	if b, err := os.ReadFile(l.path); err == nil && json.Unmarshal(b, &c) == nil {
		l.control, l.stamp = c, info.ModTime()
	}
	return l.control
}

// suffer plays the fault in force before a call.
func (l *layer) suffer(write bool) error {
	c := l.now()
	for c.Mode == "hang" { // a fault without a deadline is what it plays
		time.Sleep(pollEvery)
		c = l.now()
	}
	switch {
	case c.Mode == "error":
		return syscall.EIO
	case c.Mode == "full" && write:
		return syscall.ENOSPC
	case c.Mode == "slow":
		delay := time.Duration(c.DelayMS) * time.Millisecond
		if delay <= 0 {
			delay = 200 * time.Millisecond
		}
		time.Sleep(delay)
	}
	return nil
}

func (l *layer) Size() uint64 { return l.under.Size() }

// ReadAt reads the disk and lays the held sectors over it.
func (l *layer) ReadAt(p []byte, off uint64) error {
	if err := l.suffer(false); err != nil {
		return err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.read(p, off)
}

func (l *layer) read(p []byte, off uint64) error {
	if err := l.under.ReadAt(p, off); err != nil {
		return err
	}
	end := off + uint64(len(p))
	for s := off / sector; len(l.held) > 0 && s*sector < end; s++ {
		if b, ok := l.held[s]; ok {
			from := max(off, s*sector)
			copy(p[from-off:], b[from-s*sector:])
		}
	}
	return nil
}

// WriteAt holds the sectors that the write touches, but for those that chance lets through. fua: all go through, stable.
func (l *layer) WriteAt(p []byte, off uint64, fua bool) error {
	if err := l.suffer(true); err != nil {
		return err
	}
	if l.now().Mode == "through" {
		if err := l.punch(off, uint64(len(p)), func() error { return nil }); err != nil {
			return err
		}
		return l.under.WriteAt(p, off, fua)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	if len(p) == 0 {
		return nil
	}
	first, last := off/sector, (off+uint64(len(p))-1)/sector
	whole := disk.Alloc(int((last - first + 1) * sector))
	defer disk.Free(whole)
	if off%sector != 0 || len(p)%sector != 0 {
		if err := l.read(whole, first*sector); err != nil {
			return err
		}
	}
	copy(whole[off-first*sector:], p)
	if fua && !disk.NoFlush {
		for s := first; s <= last; s++ {
			l.drop(s)
		}
		return l.under.WriteAt(whole, first*sector, true)
	}
	return l.hold(whole, first)
}

// hold keeps the sectors of b, or lets them through in runs.
func (l *layer) hold(b []byte, first uint64) error {
	for i := 0; i < len(b); {
		run := i
		for run < len(b) && l.chance.IntN(4) == 0 {
			l.drop(first + uint64(run/sector))
			run += sector
		}
		if run > i {
			if err := l.under.WriteAt(b[i:run], first*sector+uint64(i), false); err != nil {
				return err
			}
			i = run
			continue
		}
		l.keep(first+uint64(i/sector), b[i:i+sector])
		i += sector
	}
	if len(l.held)*sector > l.limit {
		return l.settle(0, l.Size()/sector+1)
	}
	return nil
}

func (l *layer) keep(s uint64, data []byte) {
	b, ok := l.held[s]
	if !ok {
		b = disk.Alloc(sector)
		l.held[s] = b
	}
	copy(b, data)
}

func (l *layer) drop(s uint64) {
	if b, ok := l.held[s]; ok {
		disk.Free(b)
		delete(l.held, s)
	}
}

// settle writes the held sectors of [first, end) to the disk, neighbours together.
func (l *layer) settle(first, end uint64) error {
	if len(l.held) == 0 {
		return nil
	}
	var sectors []uint64
	for s := range l.held {
		if s >= first && s < end {
			sectors = append(sectors, s)
		}
	}
	slices.Sort(sectors)
	buf := disk.Alloc(1 << 20)
	defer disk.Free(buf)
	for len(sectors) > 0 {
		n := 0
		for n < len(sectors) && sectors[n] == sectors[0]+uint64(n) && n < len(buf)/sector {
			copy(buf[n*sector:], l.held[sectors[n]])
			n++
		}
		if err := l.under.WriteAt(buf[:n*sector], sectors[0]*sector, false); err != nil {
			return err
		}
		for _, s := range sectors[:n] {
			l.drop(s)
		}
		sectors = sectors[n:]
	}
	return nil
}

// Flush writes everything through and flushes the disk.
func (l *layer) Flush() error {
	err := l.suffer(true)
	if disk.NoFlush {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	if err == nil {
		err = l.settle(0, l.Size()/sector+1)
	}
	if err == nil {
		err = l.under.Flush()
	}
	if err != nil {
		l.broken = err
	}
	return err
}

// WriteZeroes settles what is held of the range first, then acts on the disk at once.
func (l *layer) WriteZeroes(off, length uint64, unmap bool) error {
	return l.punch(off, length, func() error { return l.under.WriteZeroes(off, length, unmap) })
}

func (l *layer) punch(off, length uint64, act func() error) error {
	if err := l.suffer(true); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	if err := l.settle(off/sector, (off+length+sector-1)/sector); err != nil {
		return err
	}
	return act()
}

// Close is orderly: what is held goes to the disk, as a drive's cache does at an orderly power-off.
func (l *layer) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.settle(0, l.Size()/sector+1)
	if cerr := l.under.Close(); err == nil {
		err = cerr
	}
	return err
}
