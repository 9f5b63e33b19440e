package lab

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// serialFaults is what is wrong with the serial line.
type serialFaults struct {
	CutTo map[string]bool `json:"cut_to"`        // what goes to that node vanishes
	Noise float64         `json:"noise_percent"` // of the bytes get a flipped bit
	Baud  int             `json:"baud"`
	// paused counts the frozen machines at its ends: then nothing moves. off are the ends whose machine has no power.
	paused int
	off    map[string]bool
	// dropped counts the bytes that vanished in cuts, pauses and ports without power.
	dropped uint64
}

// deaf says whether what goes to a node vanishes.
func (f serialFaults) deaf(to string) bool { return f.CutTo[to] || f.off[to] || f.paused > 0 }

// bauds are the rates that `lab baud` takes.
var bauds = []int{1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200}

// chunkTime is how much the relay moves at once: a byte waits for no more than this.
const chunkTime = 4 * time.Millisecond

// serialLine is the virtual null-modem cable: a pseudo-terminal for each node, and a relay paced at the baud rate, 10
// bits per byte. What is cut is dropped, never queued. The relay keeps both slave sides open, else it would
// read an error while no node has the port open, and sets them raw, else a fresh one echoes.
type serialLine struct {
	ends map[string]*serialEnd
	done sync.WaitGroup

	mu     sync.Mutex
	faults serialFaults
}

// serialEnd is one node's port.
type serialEnd struct{ master, slave *os.File }

// newSerialLine makes the ports and starts the relay.
func newSerialLine() (*serialLine, error) {
	l := &serialLine{ends: map[string]*serialEnd{}, faults: serialFaults{CutTo: map[string]bool{}, off: map[string]bool{}, Baud: 115200}}
	for _, n := range nodes {
		master, slave, err := pty.Open()
		if err != nil {
			l.close()
			return nil, fmt.Errorf("a pseudo-terminal for the serial line cannot be made: %w", err)
		}
		l.ends[n] = &serialEnd{master, slave}
		if err := makeRaw(slave); err != nil {
			l.close()
			return nil, err
		}
	}
	for from, to := range map[string]string{"a": "b", "b": "a"} {
		l.done.Go(func() { l.relay(from, to) })
	}
	return l, nil
}

// close ends the relay.
func (l *serialLine) close() {
	for _, e := range l.ends {
		_ = e.master.Close()
		_ = e.slave.Close()
	}
	l.done.Wait()
}

// path is the device that becomes a node's /dev/ttyS0.
func (l *serialLine) path(node string) string { return l.ends[node].slave.Name() }

// power notes that a node's port has power or not. What came before the power is forgotten.
func (l *serialLine) power(node string, on bool) error {
	l.set(func(f *serialFaults) { f.off[node] = !on })
	return unix.IoctlSetInt(int(l.ends[node].slave.Fd()), unix.TCFLSH, unix.TCIOFLUSH)
}

// set changes the faults.
func (l *serialLine) set(change func(*serialFaults)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.faults)
}

// state is a copy of the faults.
func (l *serialLine) state() serialFaults {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.faults
	f.CutTo, f.off = maps.Clone(f.CutTo), maps.Clone(f.off)
	return f
}

// relay moves bytes one way until the line is closed. A node that does not read loses what does not fit its buffer, as a port
// without flow control does.
func (l *serialLine) relay(from, to string) {
	var free time.Time // when the line has sent what it was given
	buf := make([]byte, 64)
	for {
		f := l.state()
		n, err := l.ends[from].master.Read(buf[:chunk(f.Baud, len(buf))])
		if err != nil {
			return
		}
		if now := time.Now(); free.Before(now) {
			free = now
		}
		free = free.Add(lineTime(n, f.Baud))
		time.Sleep(time.Until(free))
		if f = l.state(); f.deaf(to) {
			l.set(func(f *serialFaults) { f.dropped += uint64(n) })
			continue
		}
		disturb(buf[:n], f.Noise)
		_ = l.ends[to].master.SetWriteDeadline(time.Now().Add(chunkTime))
		_, _ = l.ends[to].master.Write(buf[:n])
	}
}

// chunk is how many bytes the line carries in chunkTime, at least 1 and at most limit.
func chunk(baud, limit int) int {
	return max(1, min(limit, int(float64(baud)/10*chunkTime.Seconds())))
}

// lineTime is how long n bytes take on the line.
func lineTime(n, baud int) time.Duration {
	return time.Duration(n) * 10 * time.Second / time.Duration(baud)
}

// disturb flips one bit in a percentage of the bytes.
func disturb(p []byte, percent float64) {
	for i := range p {
		if percent > 0 && rand.Float64()*100 < percent {
			p[i] ^= 1 << rand.IntN(8)
		}
	}
}

// makeRaw lets every byte through unchanged.
func makeRaw(tty *os.File) error {
	t, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return fmt.Errorf("the serial line's settings cannot be read: %w", err)
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, t)
}
