// Package disktest is a disk in memory for tests: it knows what a power cut would leave, and fails where a script says so.
package disktest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"evenkeel/replication/disk"
)

// Sector is the unit that a power cut keeps or loses, in bytes.
const Sector = 512

// ErrStopped is what every call returns once the script stopped the disk.
var ErrStopped = errors.New("the disk was stopped by the test")

// Memory is a disk in memory with a volatile write cache.
type Memory struct {
	mu      sync.Mutex
	current []byte              // what reads see
	stable  []byte              // what surely survives
	pending map[uint64][][]byte // by sector: the versions since it was stable, oldest first
	left    int                 // changes until the disk stops; -1 = never
	changes int
	fail    func(change int) error
	broken  bool // a flush failed
}

var _ disk.Disk = (*Memory)(nil)

// New is a disk of size bytes, all zero.
func New(size uint64) *Memory { return from(make([]byte, size)) }

func from(content []byte) *Memory {
	return &Memory{current: content, stable: slices.Clone(content), pending: map[uint64][][]byte{}, left: -1}
}

// Clone is a copy as reads see it, all of it stable.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return from(slices.Clone(m.current))
}

// Crash is what a power cut at this instant leaves: each sector holds what was stable or any version written since, as the seed says.
func (m *Memory) Crash(seed uint64) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	chance := rand.New(rand.NewPCG(seed, 0x6b65656c))
	after := slices.Clone(m.stable)
	sectors := make([]uint64, 0, len(m.pending))
	for s := range m.pending {
		sectors = append(sectors, s)
	}
	slices.Sort(sectors)
	for _, s := range sectors {
		versions := m.pending[s]
		if i := chance.IntN(len(versions) + 1); i > 0 {
			copy(after[s*Sector:], versions[i-1])
		}
	}
	return from(after)
}

// StopAfter lets n more changes (writes, flushes, zeroes) happen; the next one takes effect in the cache only, and from it on every call fails.
func (m *Memory) StopAfter(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = n
}

// Changes counts the changes so far, so that a test can walk every crash point.
func (m *Memory) Changes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changes
}

// Fail asks f before each change (numbered from 0); its error is the call's. A failed flush is for good.
func (m *Memory) Fail(f func(change int) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = f
}

// Poke overwrites bytes below everything, as rot or a stray program would.
func (m *Memory) Poke(off uint64, p []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(m.current[off:], p)
	copy(m.stable[off:], p)
	for s := off / Sector; s <= (off+uint64(len(p)))/Sector; s++ {
		delete(m.pending, s)
	}
}

// Size is the size in bytes.
func (m *Memory) Size() uint64 { return uint64(len(m.current)) }

// Close does nothing.
func (m *Memory) Close() error { return nil }

// ReadAt fills p.
func (m *Memory) ReadAt(p []byte, off uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left == 0 {
		return ErrStopped
	}
	if err := m.check(off, uint64(len(p))); err != nil {
		return err
	}
	copy(p, m.current[off:])
	return nil
}

func (m *Memory) check(off, n uint64) error {
	if off > m.Size() || n > m.Size()-off {
		return fmt.Errorf("the range %d+%d lies beyond the end of the disk (%d bytes)", off, n, m.Size())
	}
	return nil
}

// begin is the script's word on one change. stopped: it happens, but nobody hears of it.
func (m *Memory) begin() (stopped bool, err error) {
	if m.broken {
		return false, disk.ErrFlushed
	}
	if m.left == 0 {
		return false, ErrStopped
	}
	n := m.changes
	m.changes++
	if m.left > 0 {
		m.left--
		stopped = m.left == 0
	}
	if m.fail != nil {
		err = m.fail(n)
	}
	return stopped, err
}

// WriteAt writes into the cache, or through it.
func (m *Memory) WriteAt(p []byte, off uint64, fua bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(off, uint64(len(p))); err != nil {
		return err
	}
	stopped, err := m.begin()
	if err != nil {
		return err
	}
	copy(m.current[off:], p)
	for s := off / Sector; s*Sector < off+uint64(len(p)); s++ {
		now := slices.Clone(m.current[s*Sector : min((s+1)*Sector, m.Size())])
		if fua && !stopped {
			copy(m.stable[s*Sector:], now)
			delete(m.pending, s)
		} else {
			m.pending[s] = append(m.pending[s], now)
		}
	}
	if stopped {
		return ErrStopped
	}
	return nil
}

// Flush makes the cache stable.
func (m *Memory) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	stopped, err := m.begin()
	if err != nil {
		m.broken = true
		return err
	}
	if stopped {
		return ErrStopped
	}
	for s := range m.pending {
		copy(m.stable[s*Sector:(s+1)*Sector], m.current[s*Sector:])
	}
	clear(m.pending)
	return nil
}

// WriteZeroes zeroes the range.
func (m *Memory) WriteZeroes(off, length uint64, _ bool) error {
	if off > m.Size() || length > m.Size()-off {
		return m.check(off, length)
	}
	return m.WriteAt(make([]byte, length), off, false)
}
