// Package linktest makes cables for tests that can be cut, made noisy or made slow, in one direction or both: a serial one of two
// pseudo-terminals, and an Ethernet one of a veth pair between two processes. Imported by tests only.
package linktest

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// Cable is what both worlds can do.
type Cable interface {
	// CutToA and CutToB drop what goes to that end, without a trace that the sender could see.
	CutToA(cut bool)
	CutToB(cut bool)
}

// SerialCable joins two pseudo-terminals.
type SerialCable struct {
	A, B     string // device paths
	toA, toB lane
}

// lane is one direction of a cable.
type lane struct {
	cut    atomic.Bool
	noise  atomic.Bool
	passed atomic.Int64 // bytes
}

// Serial makes a null-modem cable. It is gone when the test ends. Baud paces it; 0 = as fast as the kernel is.
func Serial(t testing.TB, baud int) *SerialCable {
	t.Helper()
	mA, sA := terminal(t)
	mB, sB := terminal(t)
	c := &SerialCable{A: sA, B: sB}
	go c.toB.carry(mA, mB, baud)
	go c.toA.carry(mB, mA, baud)
	return c
}

// Echo makes a serial device with an echo plug.
func Echo(t testing.TB) string {
	t.Helper()
	m, s := terminal(t)
	var l lane
	go l.carry(m, m, 0)
	return s
}

// terminal opens a pseudo-terminal, raw from the start, for a fresh one echoes. Its far side stays open, so that the relay does not see the end when
// the process under test closes its own.
func terminal(t testing.TB) (master *os.File, path string) {
	t.Helper()
	m, s, err := pty.Open()
	if err != nil {
		t.Fatalf("no pseudo-terminal: %v", err)
	}
	tio, err := unix.IoctlGetTermios(int(s.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	tio.Iflag, tio.Oflag, tio.Lflag = unix.IGNPAR, 0, 0
	if err := unix.IoctlSetTermios(int(s.Fd()), unix.TCSETS, tio); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); s.Close() })
	return m, s.Name()
}

// CutToA drops what goes to A.
func (c *SerialCable) CutToA(cut bool) { c.toA.cut.Store(cut) }

// CutToB drops what goes to B.
func (c *SerialCable) CutToB(cut bool) { c.toB.cut.Store(cut) }

// noiseEvery is in how many bytes noise flips a bit: often enough that no beat gets through whole.
const noiseEvery = 16

// Noise flips bits of whatever passes, in both directions.
func (c *SerialCable) Noise(on bool) { c.toA.noise.Store(on); c.toB.noise.Store(on) }

// Passed is how many bytes went to B since the start.
func (c *SerialCable) Passed() int64 { return c.toB.passed.Load() }

// carry ends when the terminals are closed.
func (l *lane) carry(from, to *os.File, baud int) {
	buf := make([]byte, 256)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if baud > 0 {
			time.Sleep(time.Duration(n) * 10 * time.Second / time.Duration(baud))
		}
		if l.cut.Load() {
			continue
		}
		if l.noise.Load() {
			for i := 0; i < n; i += noiseEvery {
				buf[i] ^= 0x10
			}
		}
		l.passed.Add(int64(n))
		if err := to.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil && !os.IsTimeout(err) {
			return
		}
	}
}
