package volume

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"evenkeel/replication/control"
	"evenkeel/replication/disk"
)

// TestTheDiskIsLetGoAtTheEnd: nobody else has the disk while the process runs; afterwards it is free, also one that was given up before.
func TestTheDiskIsLetGoAtTheEnd(t *testing.T) {
	for _, detached := range []bool{false, true} {
		s := newPair(t, testSize).a
		s.start()
		if detached {
			must(t, s.client.Detach(t.Context(), control.Detach{}))
		}
		if _, err := disk.Open(s.config.Backing, disk.Options{}); err == nil || !strings.Contains(err.Error(), "locked") {
			t.Fatalf("detached %v: opened beside the process: %v", detached, err)
		}
		s.end()
		f, err := disk.Open(s.config.Backing, disk.Options{})
		if err != nil {
			t.Fatalf("detached %v: after the end: %v", detached, err)
		}
		must(t, f.Close())
	}
}

// countedDisk counts how often it was closed.
type countedDisk struct {
	disk.Disk
	closed int
}

func (d *countedDisk) Close() error {
	d.closed++
	return nil
}

// TestADiskInUseIsNotClosed: the number of a closed file may be another file's a moment later, so a disk that something still writes to stays open.
func TestADiskInUseIsNotClosed(t *testing.T) {
	for _, c := range []struct {
		name   string
		busy   func(l *loop)
		closed int
	}{
		{"nothing runs", func(*loop) {}, 1},
		{"metadata are being written", func(l *loop) { l.activating = true }, 0},
		{"a write of the peer's is under way", func(l *loop) { l.incomingCount = 1 }, 0},
		{"a request is under way", func(l *loop) { l.inFlight.add(512) }, 0},
	} {
		l, err := newLoop(Options{Config: control.Config{Name: "data", Node: "a", Backing: "/none"}, Log: slog.Default()})
		must(t, err)
		d := &countedDisk{}
		l.disk = d
		c.busy(l)
		l.close(20 * time.Millisecond)
		if d.closed != c.closed {
			t.Errorf("%s: closed %d times, want %d", c.name, d.closed, c.closed)
		}
	}
}
