package faulty

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"evenkeel/replication/disk"
	"evenkeel/replication/disk/disktest"
)

func command(t *testing.T, d disk.Disk, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d.(*layer).looked = time.Time{} // the look of 50 ms is not what is tested
}

// TestReadsSeeHeld: random requests of any alignment look like a plain disk from above.
func TestReadsSeeHeld(t *testing.T) {
	const size = 1 << 20
	d := Wrap(disktest.New(size), filepath.Join(t.TempDir(), "none"))
	model := make([]byte, size)
	chance := rand.New(rand.NewPCG(3, 4))
	for step := range 500 {
		off := chance.Uint64N(size)
		n := min(chance.Uint64N(40000), size-off)
		p := model[off : off+n]
		var err error
		switch step % 7 {
		case 0:
			clear(p)
			err = d.WriteZeroes(off, n, true)
		case 1:
			err = d.Flush()
		default:
			for i := range p {
				p[i] = byte(chance.Uint32())
			}
			err = d.WriteAt(p, off, step%7 == 2)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, n)
		if err := d.ReadAt(got, off); err != nil || !bytes.Equal(got, p) {
			t.Fatalf("step %d: what was written is not what is read (%v)", step, err)
		}
	}
	under := d.(*layer).under
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, size)
	if err := under.ReadAt(got, 0); err != nil || !bytes.Equal(got, model) {
		t.Fatal("an orderly close loses nothing", err)
	}
}

// TestKillLosesUnflushed: what was not flushed is partly gone below, what was flushed or FUA is there.
func TestKillLosesUnflushed(t *testing.T) {
	if disk.NoFlush {
		t.Skip("this build does not flush")
	}
	under := disktest.New(1 << 20)
	d := Wrap(under, filepath.Join(t.TempDir(), "none"))
	fill := func(off, n uint64, b byte, fua bool) {
		if err := d.WriteAt(bytes.Repeat([]byte{b}, int(n)), off, fua); err != nil {
			t.Fatal(err)
		}
	}
	fill(0, 1<<18, 1, false)
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	fill(1<<18, 1<<18, 2, true)
	fill(1<<19, 1<<19, 3, false)
	got := make([]byte, 1<<20)
	if err := under.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	count := map[byte]int{}
	for _, b := range got {
		count[b]++
	}
	if count[1] != 1<<18 || count[2] != 1<<18 {
		t.Errorf("flushed %d, FUA %d bytes are below, want all", count[1], count[2])
	}
	if count[3] == 0 || count[3] == 1<<19 {
		t.Errorf("unflushed: %d bytes are below, want some", count[3])
	}
}

func TestModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.json")
	d := Wrap(disktest.New(1<<20), path)
	p := make([]byte, 4096)
	write := func() error { return d.WriteAt(p, 0, false) }
	for _, c := range []struct {
		mode        string
		write, read error
	}{{"ok", nil, nil}, {"error", syscall.EIO, syscall.EIO}, {"full", syscall.ENOSPC, nil}, {"slow", nil, nil}} {
		command(t, d, path, fmt.Sprintf(`{"mode":%q,"seed":1,"delay_ms":1}`, c.mode))
		if err := write(); !errors.Is(err, c.write) {
			t.Errorf("%s: write says %v", c.mode, err)
		}
		if err := d.ReadAt(p, 0); !errors.Is(err, c.read) {
			t.Errorf("%s: read says %v", c.mode, err)
		}
		if err := os.Remove(path); err != nil { // a new file each time, so the time of its change differs
			t.Fatal(err)
		}
		d.(*layer).stamp = time.Time{}
	}
	command(t, d, path, `{"mode":"error"}`)
	if err := d.Flush(); !disk.NoFlush && !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	command(t, d, path, `{"mode":"ok"}`)
	d.(*layer).stamp = time.Time{}
	d.(*layer).looked = time.Time{}
	if err := write(); !disk.NoFlush && err == nil {
		t.Fatal("a failed flush is for good")
	}
}

func TestBound(t *testing.T) {
	d := Wrap(disktest.New(4<<20), filepath.Join(t.TempDir(), "none"))
	d.(*layer).limit = 1 << 20
	p := make([]byte, 1<<16)
	for i := range uint64(64) {
		if err := d.WriteAt(p, i<<16, false); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(d.(*layer).held) * sector; n > 1<<20 || n == 0 {
		t.Fatalf("%d bytes are held, at most 1 MiB may be", n)
	}
}
