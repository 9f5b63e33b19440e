package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"evenkeel/replication/control"
	"evenkeel/replication/export"
	"evenkeel/replication/meta"
)

// fill makes the first bytes of a lone primary different from zero, so that a resync has something to move.
func (s *side) fill(bytes int) {
	s.t.Helper()
	for off := 0; off < bytes; off += 1 << 20 {
		must(s.t, s.write(uint64(off), pattern(off>>20+1, 1<<20)))
	}
	must(s.t, s.flush())
}

func TestAResyncPausesResumesAndItsTargetIsNotUsable(t *testing.T) {
	p := newPair(t, testSize)
	p.a.config.Rate = 4 << 20
	p.a.start()
	p.a.promote(1)
	p.a.fill(16 << 20)
	p.b.start()
	ctx := context.Background()
	p.b.until("syncing", func(s control.Status) bool { return s.Connection == "SyncTarget" && s.Resync != nil })
	must(t, p.b.client.Pause(ctx))
	p.a.until("paused", func(s control.Status) bool { return s.Resync != nil && s.Resync.Paused })
	must(t, p.a.write(0, pattern(99, 1<<20))) // writes go on being mirrored
	force := control.Promote{Epoch: control.Epoch{Counter: 2, Node: "b"}, Force: true}
	if _, err := p.b.client.Promote(ctx, force); err == nil {
		t.Fatal("a SyncTarget was promoted")
	}
	p.a.end() // the source is lost in the middle
	st := p.b.until("lost", disconnected)
	if st.Disk != "Inconsistent" || st.Licence {
		t.Fatalf("a target without its source is %s, licence %t", st.Disk, st.Licence)
	}
	force.Force = false
	if _, err := p.b.client.Promote(ctx, force); err == nil || !strings.Contains(err.Error(), "Inconsistent") {
		t.Fatalf("promotion of an Inconsistent disk: %v", err)
	}
	p.a.config.Rate = 0
	p.a.start()
	must(t, p.b.client.Resume(ctx))
	p.b.until("in sync", inSync)
	p.a.end()
	p.b.end()
	p.equal()
}

func TestTheEnginesSilenceRevokes(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	p.a.loop.box.post(call(func(l *loop) { l.aliveAt = l.now.Add(-engineSilence - time.Second) }))
	p.a.until("revoked", func(s control.Status) bool {
		return s.Role == "Secondary" && strings.Contains(s.Problem, "engine_silent")
	})
	if err := p.a.write(0, pattern(1, 4096)); err == nil {
		t.Fatal("a revoked volume took a write")
	}
}

func (s *side) fault(mode string) {
	s.t.Helper()
	must(s.t, os.WriteFile(s.config.Faults, []byte(`{"mode":"`+mode+`","seed":1}`), 0o600))
}

func TestALocalDiskErrorHandsOver(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	must(t, p.a.write(0, pattern(1, 4096)))
	p.a.fault("error")
	time.Sleep(60 * time.Millisecond) // the control file is looked at every 50 ms
	if err := p.a.write(4096, pattern(2, 4096)); err == nil {
		t.Fatal("a write to a broken disk succeeded")
	}
	st := p.a.until("failed", func(s control.Status) bool { return s.ProblemCode == "disk_failed" })
	if st.Disk != "Failed" || st.Role != "Secondary" {
		t.Fatalf("%s %s", st.Role, st.Disk)
	}
	if a := p.a.outdate(p.b.request(2)); a.Result != "failed" {
		t.Fatalf("answer: %+v", a)
	}
	p.b.until("licence", func(s control.Status) bool { return s.Licence })
	_, err := p.b.client.Promote(context.Background(), control.Promote{Epoch: control.Epoch{Counter: 2, Node: "b"}, Permission: "failed"})
	must(t, err)
	if string(p.b.read(0, 4096)) != string(pattern(1, 4096)) {
		t.Fatal("the acknowledged write is missing")
	}
}

// A disk that takes longer to store a state than the peer takes silence for does not cost the connection.
func TestASlowDiskKeepsTheConnection(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	before := p.b.status()
	must(t, os.WriteFile(p.a.config.Faults, []byte(`{"mode":"slow","delay_ms":900}`), 0o600))
	time.Sleep(60 * time.Millisecond) // the control file is looked at every 50 ms
	p.a.inLoop(func(l *loop) {
		began := time.Now()
		l.advanceMark()
		if took := time.Since(began); took < deadAfter {
			t.Errorf("nothing proven: the mark was stored within %v", took)
		}
	})
	p.a.fault("ok")
	if now := p.b.status(); now.Session != before.Session || now.Connection != "Connected" {
		t.Errorf("session %d became %d, %s", before.Session, now.Session, now.Connection)
	}
}

// A disk that fails in a flush, while the peer's part of it is still due, ends the flush once.
func TestAFailedFlushEndsOnce(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	must(t, p.a.write(0, pattern(1, 4096)))
	thaw := p.b.hang()
	defer thaw()
	var ended atomic.Int32
	p.a.inLoop(func(l *loop) {
		l.inFlight.add(512)
		r := &export.Request{Op: export.Flush, Done: func(error) { ended.Add(1) }}
		(*submitted)(&op{from: l.device(), req: r}).happen(l)
		if l.round == nil || !l.round.localDue || !l.round.remoteDue {
			t.Error("no flush is under way on both sides")
			return
		}
		l.flushedHere(l.round, errors.New("injected"))
	})
	p.a.inLoop(func(*loop) {})
	if n := ended.Load(); n != 1 {
		t.Errorf("the flush ended %d times", n)
	}
}

func TestThePeersDiskErrorHolds(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	p.b.fault("error")
	time.Sleep(60 * time.Millisecond) // the control file is looked at every 50 ms
	done := p.a.do(&export.Request{Op: export.Write, Offset: 0, Length: 4096, Data: pattern(2, 4096)})
	notDone(t, p.a, done)
	a := p.b.outdate(p.a.request(1))
	if a.Result != "failed" {
		t.Fatalf("answer: %+v", a)
	}
	must(t, p.a.client.PeerOutdated(context.Background(), a))
	p.a.permit("failed", 1)
	must(t, <-done)
}

func TestOtherClusterAndOtherSizeAreRefused(t *testing.T) {
	p := newPair(t, testSize)
	p.b.config.ClusterID = 9
	p.a.start()
	p.b.start()
	st := p.b.until("refused", func(s control.Status) bool { return s.ProblemCode == "other_cluster" })
	t.Log(st.Problem)
	if st.Disk != "Inconsistent" {
		t.Fatalf("a refused side changed: %s", st.Disk)
	}
	p.b.end()
	small := newPair(t, testSize)
	must(t, os.Truncate(small.b.config.Backing, testSize/2))
	_, err := Create(CreateOptions{Name: "data", Node: "b", Backing: small.b.config.Backing, Force: true})
	must(t, err)
	small.a.start()
	small.b.start()
	st = small.b.until("refused", func(s control.Status) bool { return s.ProblemCode == "refuse" })
	t.Log(st.Problem)
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "disk")
	create := func(o CreateOptions) error {
		o.Name, o.Node, o.Backing = "data", "a", path
		_, err := Create(o)
		return err
	}
	if err := create(CreateOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing disk: %v", err)
	}
	must(t, os.WriteFile(path, make([]byte, 64<<10), 0o600))
	var small meta.ErrTooSmall
	if err := create(CreateOptions{First: true}); !errors.As(err, &small) {
		t.Errorf("a disk that is too small: %v", err)
	}
	must(t, os.Truncate(path, testSize))
	must(t, create(CreateOptions{First: true, Filesystem: "ext4"}))
	if err := create(CreateOptions{First: true}); !errors.Is(err, meta.ErrUsed) {
		t.Errorf("a disk in use by a volume: %v", err)
	}
	i, err := Inspect(path)
	must(t, err)
	if !strings.Contains(i.String(), "UpToDate") {
		t.Errorf("inspect: %s", i)
	}
	run(t, "e2fsck", "-fn", path)
	foreign := filepath.Join(dir, "foreign")
	must(t, os.WriteFile(foreign, nil, 0o600))
	must(t, os.Truncate(foreign, testSize))
	run(t, "mkfs.ext4", "-q", "-F", foreign)
	path = foreign
	var other meta.ErrForeign
	if err := create(CreateOptions{First: true}); !errors.As(err, &other) {
		t.Errorf("a foreign filesystem: %v", err)
	}
	if err := create(CreateOptions{First: true, Adopt: true}); !errors.As(err, &small) {
		t.Errorf("a filesystem that reaches into the metadata: %v", err)
	}
	t.Log(create(CreateOptions{First: true, Adopt: true}))
}

func TestVerbsOfAProcessThatIsGone(t *testing.T) {
	c := control.NewClient(filepath.Join(t.TempDir(), "nobody.sock"))
	if _, err := c.Status(context.Background()); !control.IsGone(err) {
		t.Fatalf("got %v", err)
	}
	if err := c.StreamStatus(context.Background(), func(control.Status) {}); !control.IsGone(err) {
		t.Fatalf("got %v", err)
	}
}
