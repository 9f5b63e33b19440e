package disk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func file(t testing.TB, size int64, o Options) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestAgainstModel runs random requests of any alignment, direct and buffered, against a slice of bytes.
func TestAgainstModel(t *testing.T) {
	for _, buffered := range []bool{false, true} {
		const size = 4 << 20
		f := file(t, size, Options{Buffered: buffered})
		t.Log(f.Describe(), "|", f.Identity())
		chance := rand.New(rand.NewPCG(1, 2))
		model := make([]byte, size)
		for step := range 120 {
			off := chance.Uint64N(size)
			n := min(chance.Uint64N(1<<18), size-off)
			if step%3 == 0 {
				off, n = off/Align*Align, n/Align*Align
			}
			p := model[off : off+n]
			var err error
			switch step % 5 {
			case 0:
				clear(p)
				err = f.WriteZeroes(off, n, step%2 == 0)
			default:
				for i := range p {
					p[i] = byte(chance.Uint32())
				}
				err = f.WriteAt(p, off, step%2 == 0)
			}
			if err != nil {
				t.Fatal(step, err)
			}
		}
		got := Alloc(size)
		if err := errors.Join(f.Flush(), f.ReadAt(got, 0)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, model) {
			t.Fatal("the disk differs from the model")
		}
		if err := f.ReadAt(got[3:1000], 77); err != nil || !bytes.Equal(got[3:1000], model[77:77+997]) {
			t.Fatal("an unaligned read differs", err)
		}
	}
}

// TestNeighboursInOneBlock: unaligned writes side by side in the same blocks at once lose nothing of each other.
func TestNeighboursInOneBlock(t *testing.T) {
	f := file(t, 1<<20, Options{})
	var all sync.WaitGroup
	for w := range 16 {
		all.Go(func() {
			for i := range 32 {
				p := bytes.Repeat([]byte{byte(w + 1)}, 100)
				if err := f.WriteAt(p, uint64(i*1600+w*100), false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	got := make([]byte, 32*1600)
	if err := f.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		if want := byte(i%1600/100 + 1); b != want {
			t.Fatalf("byte %d is %d, want %d", i, b, want)
		}
	}
}

func TestExclusive(t *testing.T) {
	f := file(t, 1<<20, Options{})
	if _, err := Open(f.path, Options{}); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Fatal("a second opener:", err)
	}
	r, err := Open(f.path, Options{ReadOnly: true})
	if err != nil {
		t.Fatal("reading beside it:", err)
	}
	defer r.Close()
	if err := r.WriteAt(make([]byte, Align), 0, false); err == nil {
		t.Fatal("a read-only disk took a write")
	}
}

func TestBadPaths(t *testing.T) {
	for path, want := range map[string]string{
		filepath.Join(t.TempDir(), "none"): "no such file",
		t.TempDir():                        "neither",
		"/dev/null":                        "neither",
	} {
		if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestBeyondTheEnd(t *testing.T) {
	f := file(t, 1<<20+100, Options{})
	if f.Size() != 1<<20 {
		t.Fatalf("size %d: the part of a block at the end does not count", f.Size())
	}
	p := make([]byte, 10)
	for _, err := range []error{f.ReadAt(p, 1<<20-5), f.WriteAt(p, 1<<20-5, false), f.WriteZeroes(^uint64(0), 2, false)} {
		if err == nil || !strings.Contains(err.Error(), "beyond the end") {
			t.Error(err)
		}
	}
}

// TestFailedFlushIsForGood breaks the descriptor below the disk.
func TestFailedFlushIsForGood(t *testing.T) {
	f := file(t, 1<<20, Options{})
	good := f.fd
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	f.fd = pipe[1] // fdatasync of a pipe fails
	err := f.Flush()
	f.fd = good
	if NoFlush {
		t.Skip("this build does not flush")
	}
	if err == nil {
		t.Fatal("the flush did not fail")
	}
	for _, err := range []error{f.Flush(), f.WriteAt(make([]byte, Align), 0, false), f.WriteZeroes(0, Align, true)} {
		if !errors.Is(err, ErrFlushed) {
			t.Error("after a failed flush:", err)
		}
	}
}

func TestBuffers(t *testing.T) {
	for _, n := range []int{1, 511, 4096, 4097, 1 << 20, 1<<22 + 1} {
		b := Alloc(n)
		if len(b) != n || !Aligned(b) {
			t.Errorf("%d: len %d aligned %v", n, len(b), Aligned(b))
		}
		Free(b)
	}
	if Alloc(0) != nil {
		t.Error("no bytes need no buffer")
	}
	Free(make([]byte, 100)) // not ours: dropped
	if n := testing.AllocsPerRun(100, func() { Free(Alloc(Align)) }); n > 1 {
		t.Errorf("%v allocations for a pooled buffer", n)
	}
}

func BenchmarkWrite4k(b *testing.B) {
	f := file(b, 64<<20, Options{})
	p := Alloc(Align)
	b.ReportAllocs()
	for i := range b.N {
		if err := f.WriteAt(p, uint64(i%16384)*Align, false); err != nil {
			b.Fatal(err)
		}
	}
}

// TestFlushesBesideAFailingOne: the kernel tells one caller only that writes were lost. A flush beside that one waits for what it hears, and fails as well; so
// does all that follows.
func TestFlushesBesideAFailingOne(t *testing.T) {
	f := file(t, 1<<20, Options{})
	hears, told, second := make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
	var calls atomic.Int32
	f.stable = func(int) error {
		if calls.Add(1) > 1 {
			second <- struct{}{}
			return nil // it was told already
		}
		close(hears)
		<-told
		return unix.EIO
	}
	results := make(chan error, 2)
	go func() { results <- f.Flush() }()
	<-hears
	go func() { results <- f.Flush() }()
	select {
	case <-second: // beside the first
	case <-time.After(50 * time.Millisecond): // it waits
	}
	close(told)
	for range 2 {
		if err := <-results; err == nil {
			t.Error("a flush succeeded beside one that failed")
		}
	}
	if err := f.Flush(); !errors.Is(err, ErrFlushed) {
		t.Error("a later flush:", err)
	}
	if err := f.WriteAt(make([]byte, Align), 0, false); !errors.Is(err, ErrFlushed) {
		t.Error("a later write:", err)
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("the kernel was asked %d times", n)
	}
}
