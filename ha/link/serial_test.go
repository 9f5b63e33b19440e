package link

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"evenkeel/ha"
	"evenkeel/ha/link/linktest"
)

// running starts a serial link; got counts what it received.
func running(t *testing.T, path string, got func(Received)) Link {
	t.Helper()
	l := New(Setup{Kind: ha.LinkSerial, Name: path, Baud: 115200, Receive: got})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Error("the link does not end")
		}
	})
	return l
}

// eventually looks again until ok, at most 5 s.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s in 5 s", what)
		}
	}
}

func TestBytesPassBothWays(t *testing.T) {
	cable := linktest.Serial(t, 0)
	var atA, atB atomic.Pointer[string]
	keep := func(to *atomic.Pointer[string]) func(Received) {
		return func(r Received) {
			s := string(r.Bytes)
			if old := to.Load(); old != nil {
				s = *old + s
			}
			to.Store(&s)
		}
	}
	a, b := running(t, cable.A, keep(&atA)), running(t, cable.B, keep(&atB))
	all := "\x00\x03\x04\r\n\x11\x13\x1a\xff text"
	arrived := func(l Link, p *atomic.Pointer[string]) func() bool {
		return func() bool {
			if err := l.Send([]byte(all)); err != nil && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrDown) {
				t.Fatal(err)
			}
			s := p.Load()
			return s != nil && strings.Contains(*s, all)
		}
	}
	eventually(t, "bytes at B", arrived(a, &atB))
	eventually(t, "bytes at A", arrived(b, &atA))
}

// Nobody reads at the far end: Send must answer at once for ever, and the link must still end (the cleanup of running checks that).
func TestAStuckLineHoldsNobodyUp(t *testing.T) {
	_, s, err := openRaw(t)
	if err != nil {
		t.Fatal(err)
	}
	l := running(t, s, func(Received) {})
	beat, busy := make([]byte, 1000), 0
	eventually(t, "busy line", func() bool {
		began := time.Now()
		if errors.Is(l.Send(beat), ErrBusy) {
			busy++
		}
		if d := time.Since(began); d > time.Second {
			t.Fatalf("Send took %v", d)
		}
		return busy > 100
	})
}

func TestAHangUpIsNamed(t *testing.T) {
	m, s, err := openRaw(t)
	if err != nil {
		t.Fatal(err)
	}
	var got atomic.Int64
	l := running(t, s, func(r Received) { got.Add(int64(len(r.Bytes))) })
	eventually(t, "bytes", func() bool { m.Write([]byte("x")); return got.Load() > 0 })
	m.Close()
	eventually(t, "sentence", func() bool { p := l.Status().Problem; return strings.Contains(p, s) })
	if err := l.Send([]byte("x")); !errors.Is(err, ErrDown) {
		t.Errorf("Send on a line that hung up: %v", err)
	}
}

func TestALineIsUsedByOneHeartOnly(t *testing.T) {
	cable := linktest.Serial(t, 0)
	p, err := openSerial(cable.A, 115200)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openSerial(cable.A, 115200); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second open: %v", err)
	}
	p.Close()
	if p, err = openSerial(cable.A, 115200); err != nil {
		t.Fatalf("open after close: %v", err)
	}
	p.Close()
	if _, err := openSerial(cable.A, 12345); err == nil || !strings.Contains(err.Error(), "12345 baud") {
		t.Errorf("odd rate: %v", err)
	}
	plainFile := t.TempDir() + "/file"
	if err := os.WriteFile(plainFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSerial(plainFile, 9600); err == nil || !strings.Contains(err.Error(), plainFile) {
		t.Errorf("a plain file: %v", err)
	}
}

// openRaw opens a pseudo-terminal whose far side nobody holds but the test.
func openRaw(t *testing.T) (master *os.File, path string, err error) {
	t.Helper()
	m, s, err := pty.Open()
	if err != nil {
		return nil, "", err
	}
	defer s.Close()
	t.Cleanup(func() { m.Close() })
	tio, err := unix.IoctlGetTermios(int(s.Fd()), unix.TCGETS)
	if err != nil {
		return nil, "", err
	}
	tio.Iflag, tio.Oflag, tio.Lflag = unix.IGNPAR, 0, 0
	return m, s.Name(), unix.IoctlSetTermios(int(s.Fd()), unix.TCSETS, tio)
}
