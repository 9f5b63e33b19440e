package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/tarm/serial"
	"golang.org/x/sys/unix"
)

// port is what we need of an open serial line. Read returns (0, io.EOF) both after readTimeout without a byte and at once when the line
// hung up; Close must not be called while a Read runs, it would wait for it.
type port interface {
	io.ReadWriteCloser
	Flush() error // drop what is queued in either direction
}

const (
	readTimeout = 100 * time.Millisecond // the kernel's shortest
	hangUps     = 5                      // immediate ends of file in a row that mean: hung up
	reopenFirst = 100 * time.Millisecond
	reopenMost  = 2 * time.Second
	closeWait   = time.Second // for a writer that the line does not let go
)

type serialLink struct {
	noted
	setup Setup
	open  func(name string, baud int) (port, error)
	up    atomic.Bool // the line is open
	out   chan []byte // at most one beat waits; the writer owns the one before
	spare chan []byte // the buffer that is free
}

// Send copies p for the writer. While the one before has not left, p is dropped.
func (l *serialLink) Send(p []byte) error {
	if !l.up.Load() {
		return ErrDown
	}
	var buf []byte
	select {
	case buf = <-l.spare:
	default:
	}
	select {
	case l.out <- append(buf[:0], p...):
		return nil
	default:
		return ErrBusy
	}
}

// HeardFrom has no meaning on a serial line.
func (l *serialLink) HeardFrom(netip.Addr) {}

func (l *serialLink) Run(ctx context.Context) {
	wait := reopenFirst
	for ctx.Err() == nil {
		began := time.Now()
		l.problem(l.session(ctx))
		if time.Since(began) > reopenMost {
			wait = reopenFirst
		}
		if !pause(ctx, wait) {
			return
		}
		wait = min(wait*2, reopenMost)
	}
}

// session opens the line and serves it until it hangs up or ctx ends; it returns why it is not open any more.
func (l *serialLink) session(ctx context.Context) string {
	p, err := l.open(l.setup.Name, l.setup.Baud)
	if err != nil {
		return err.Error()
	}
	if err := p.Flush(); err != nil {
		p.Close()
		return fmt.Sprintf("serial line %s cannot be used: %v; check that it is a serial device", l.setup.Name, err)
	}
	select {
	case <-l.out: // a beat of before the line was open
	default:
	}
	l.problem("")
	l.up.Store(true)
	defer l.up.Store(false)
	ctx, stop := context.WithCancel(ctx)
	written := make(chan struct{})
	go func() { defer close(written); l.writer(ctx, p) }()
	why := l.reader(ctx, p)
	stop()
	if letGo(p, written) {
		p.Close()
	} else {
		go p.Close() // it waits for the writer, which ends when the line lets it go
	}
	return why
}

// letGo waits for the writer, at most closeWait, and says whether it ended; flushing frees one that the line holds up.
func letGo(p port, written <-chan struct{}) bool {
	for end := time.Now().Add(closeWait); time.Now().Before(end); {
		select {
		case <-written:
			return true
		case <-time.After(10 * time.Millisecond):
			_ = p.Flush() // only to free the writer; the line is given up anyway
		}
	}
	return false
}

func (l *serialLink) writer(ctx context.Context, p port) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-l.out:
			if _, err := p.Write(b); err != nil {
				return // the reader sees the same end
			}
			select {
			case l.spare <- b:
			default:
			}
		}
	}
}

func (l *serialLink) reader(ctx context.Context, p port) string {
	buf := make([]byte, 4096)
	ends := 0
	for ctx.Err() == nil {
		began := time.Now()
		n, err := p.Read(buf)
		if n > 0 {
			l.setup.Receive(Received{Bytes: buf[:n]})
		}
		switch {
		case n > 0 || errors.Is(err, io.EOF) && time.Since(began) >= readTimeout*4/5:
			ends = 0
		case err != nil && !errors.Is(err, io.EOF):
			return fmt.Sprintf("serial line %s failed: %v; check the cable and the device", l.setup.Name, err)
		default:
			if ends++; ends >= hangUps {
				return fmt.Sprintf("serial line %s hung up; check the cable and the device", l.setup.Name)
			}
		}
	}
	return ""
}

// held is an open port with the lock that keeps a second heart off it.
type held struct {
	port
	lock *os.File
}

func (h held) Close() error { return errors.Join(h.lock.Close(), h.port.Close()) }

// openSerial opens the line by tarm/serial, which never makes it our controlling terminal, and locks it against our like.
func openSerial(name string, baud int) (port, error) {
	lock, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("serial line %s cannot be opened: %w; check the device on the Heartbeat page", name, plain(err))
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("serial line %s is used by another process: end that, or choose another line", name)
	}
	p, err := serial.OpenPort(&serial.Config{Name: name, Baud: baud, ReadTimeout: readTimeout})
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("serial line %s cannot be set to %d baud: %w; check device and rate on the Heartbeat page", name, baud, plain(err))
	}
	return held{port: p, lock: lock}, nil
}

// plain drops the operation and path that our sentence names already.
func plain(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
