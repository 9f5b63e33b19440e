package volume

import (
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"evenkeel/replication/wire"
)

// slowLine is a connection that takes so many bytes for each write deadline that it is given, as a line of some speed would; then the time is over.
type slowLine struct {
	net.Conn
	t         *testing.T
	allowance int

	mu          sync.Mutex
	left, total int
	deadlines   int
	reached     map[int]chan struct{} // closed when that many bytes were taken
}

func (l *slowLine) SetWriteDeadline(at time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if left := time.Until(at); left < writeDeadline/2 || left > writeDeadline {
		l.t.Errorf("a deadline %v ahead, want %v", left, writeDeadline)
	}
	l.left = l.allowance
	l.deadlines++
	return nil
}

func (l *slowLine) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(b) > l.left {
		return 0, os.ErrDeadlineExceeded
	}
	l.left -= len(b)
	l.total += len(b)
	if c := l.reached[l.total]; c != nil {
		close(c)
	}
	return len(b), nil
}

func (l *slowLine) Close() error { return nil }

// spend lets the time of the newest deadline pass.
func (l *slowLine) spend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = 0
}

// TestASlowLineIsNotADeadOne: a deadline is for a bounded number of bytes, however many are queued behind them; each batch begins with a new one, also
// after a silence that was longer.
func TestASlowLineIsNotADeadOne(t *testing.T) {
	const size, first, more = 512 << 10, 16, 1
	each := wire.HeaderSize + size
	queued := make(chan struct{})
	line := &slowLine{t: t, allowance: 2 * deadlineBytes, reached: map[int]chan struct{}{first * each: queued}}
	o := newOutbox(line)
	m := outMessage{Header: wire.Header{Kind: wire.KindWrite, Length: size}, payload: make([]byte, size)}
	for range first { // one batch
		o.post(m)
	}
	ended := make(chan error, 1)
	go func() { ended <- o.drain() }()
	select {
	case <-queued:
	case err := <-ended:
		t.Fatalf("ended after %d of %d bytes: %v", line.total, first*each, err)
	}
	line.spend()
	for range more {
		o.post(m)
	}
	o.finish(time.Minute)
	if err := <-ended; !errors.Is(err, errFinished) || line.total != (first+more)*each {
		t.Errorf("%d of %d bytes: %v", line.total, (first+more)*each, err)
	}
	if most := line.total/deadlineBytes + 2; line.deadlines > most {
		t.Errorf("%d deadlines, want at most %d", line.deadlines, most)
	}
}

// TestADeadLineEnds: what the line does not take in time ends it.
func TestADeadLineEnds(t *testing.T) {
	o := newOutbox(&slowLine{t: t, allowance: deadlineBytes})
	for range 2 { // together too long for the line, and no new deadline between them
		o.post(outMessage{Header: wire.Header{Kind: wire.KindWrite, Length: deadlineBytes - 1<<10}, payload: make([]byte, deadlineBytes-1<<10)})
	}
	o.finish(time.Minute)
	if err := o.drain(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}
