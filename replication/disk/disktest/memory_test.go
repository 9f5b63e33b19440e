package disktest

import (
	"bytes"
	"errors"
	"testing"

	"evenkeel/replication/disk"
)

// TestCrash: what is stable survives every seed, what is not survives some.
func TestCrash(t *testing.T) {
	m := New(8 * Sector)
	one, two := bytes.Repeat([]byte{1}, Sector), bytes.Repeat([]byte{2}, Sector)
	for _, err := range []error{m.WriteAt(one, 0, false), m.Flush(), m.WriteAt(two, 0, false), m.WriteAt(two, Sector, true)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	kept, lost := 0, 0
	for seed := range uint64(50) {
		got := make([]byte, 2*Sector)
		if err := m.Crash(seed).ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[Sector:], two) {
			t.Fatal("a FUA write was lost")
		}
		switch got[0] {
		case 1:
			lost++
		case 2:
			kept++
		default:
			t.Fatal("flushed data were lost")
		}
	}
	if kept == 0 || lost == 0 {
		t.Fatalf("kept %d, lost %d: chance must do both", kept, lost)
	}
}

func TestScript(t *testing.T) {
	m := New(8 * Sector)
	m.StopAfter(2)
	if err := m.WriteAt([]byte{1}, 0, false); err != nil {
		t.Fatal(err)
	}
	if err := m.WriteAt([]byte{1}, 1, true); !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
	if err := m.ReadAt([]byte{1}, 0); !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
	f := New(8 * Sector)
	bad := errors.New("EIO")
	f.Fail(func(n int) error {
		if n == 1 {
			return bad
		}
		return nil
	})
	if err := errors.Join(f.WriteAt([]byte{1}, 0, false)); err != nil {
		t.Fatal(err)
	}
	if err := f.Flush(); !errors.Is(err, bad) {
		t.Fatal(err)
	}
	if err := f.WriteAt([]byte{1}, 0, false); !errors.Is(err, disk.ErrFlushed) {
		t.Fatal("after a failed flush:", err)
	}
}
