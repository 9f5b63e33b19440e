package volume

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"evenkeel/replication/control"
	"evenkeel/replication/export"
)

// childEnv names the folder of a child process that is a whole volume process to be killed.
const childEnv = "EVENKEEL_VOLUME_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

// child runs one side; while it is primary it writes stamped blocks and says on its output what was acknowledged.
func child(dir string) {
	fatal := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
	}
	var c control.Config
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	fatal(err)
	fatal(json.Unmarshal(b, &c))
	certificate, err := os.ReadFile(filepath.Join(dir, "node.crt"))
	fatal(err)
	key, err := os.ReadFile(filepath.Join(dir, "node.key"))
	fatal(err)
	server, client, err := pinnedFrom(certificate, key)
	fatal(err)
	ready := make(chan *loop, 1)
	go stamp(ready)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError + 4}))
	fatal(runWith(context.Background(), Options{Config: c, Server: server, Client: client, Log: log}, ready))
}

// stampBlocks is how many blocks the child writes, round and round; stampDepth at once.
const (
	stampBlocks = 512
	stampDepth  = 8
	stampStride = 40 << 10 // bytes between two stamps: many extents and bitmap blocks
)

// stamp writes block n%stampBlocks with stamp n, in batches of stampDepth with a flush after each.
func stamp(ready chan *loop) {
	l := <-ready
	n := uint64(time.Now().UnixNano()) / stampBlocks * stampBlocks
	for ; ; n += stampDepth {
		for !l.serving.Load() {
			time.Sleep(time.Millisecond) // until the parent promotes
		}
		done := make(chan error, stampDepth+1)
		for i := range uint64(stampDepth) {
			data := alloc(4096)
			binary.LittleEndian.PutUint64(data, n+i)
			off := (n + i) % stampBlocks * stampStride
			l.submitNow(&export.Request{Op: export.Write, Offset: off, Length: 4096, Data: data, Done: func(err error) {
				if err == nil {
					fmt.Printf("w %d\n", n+i)
				}
				done <- err
			}})
		}
		for range stampDepth {
			<-done
		}
		l.submitNow(&export.Request{Op: export.Flush, Done: func(err error) {
			if err == nil {
				fmt.Printf("f %d\n", n+stampDepth)
			}
			done <- err
		}})
		<-done
	}
}

// doomed is a side in a process of its own.
type doomed struct {
	*side
	dir  string
	cmd  *exec.Cmd
	acks chan map[uint64]uint64 // by block: what the process said before it was killed
	said chan struct{}          // closed at its first acknowledged flush
	// flushed instead of written acknowledgements are kept
	flushed bool
}

func (d *doomed) spawn() {
	d.t.Helper()
	d.cmd = exec.Command(os.Args[0], "-test.run=^$")
	d.cmd.Env = append(os.Environ(), childEnv+"="+d.dir)
	d.cmd.Stderr = os.Stderr
	out, err := d.cmd.StdoutPipe()
	must(d.t, err)
	must(d.t, d.cmd.Start())
	d.acks, d.said = make(chan map[uint64]uint64, 1), make(chan struct{})
	said := d.said
	go func() { // ends with the process's output
		d.acks <- readStamps(bufio.NewScanner(out), d.flushed, said)
	}()
	d.t.Cleanup(func() { d.cmd.Process.Kill() })
	d.client = control.NewClient(filepath.Join(d.config.RunDir, control.SocketName("data")))
	for end := time.Now().Add(10 * time.Second); ; {
		if _, err := d.client.Status(context.Background()); err == nil {
			break
		}
		if time.Now().After(end) {
			d.t.Fatal("the child does not answer")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// readStamps keeps, by block, the newest stamp that was acknowledged, or covered by an acknowledged flush; said is closed at the first flush.
func readStamps(lines *bufio.Scanner, onlyFlushed bool, said chan struct{}) map[uint64]uint64 {
	var once sync.Once
	written, flushed := map[uint64]uint64{}, map[uint64]uint64{}
	for lines.Scan() {
		var kind string
		var n uint64
		if c, _ := fmt.Sscanf(strings.TrimSpace(lines.Text()), "%s %d", &kind, &n); c != 2 {
			continue
		}
		if kind == "w" {
			written[n%stampBlocks] = max(written[n%stampBlocks], n)
			continue
		}
		for block, stamp := range written {
			flushed[block] = stamp
		}
		once.Do(func() { close(said) })
	}
	if onlyFlushed {
		return flushed
	}
	return written
}

// writes waits until something was acknowledged, and then for the instant of the cut, which nobody awaits.
func (d *doomed) writes(until time.Duration) {
	d.t.Helper()
	select {
	case <-d.said:
	case <-time.After(10 * time.Second):
		d.t.Fatal("nothing is acknowledged")
	}
	time.Sleep(until)
}

// kill is the power cut: SIGKILL, and the fault layer's unflushed writes are gone.
func (d *doomed) kill() map[uint64]uint64 {
	d.t.Helper()
	must(d.t, d.cmd.Process.Kill())
	_ = d.cmd.Wait() // killed, as asked
	return <-d.acks
}

// holds checks that nothing acknowledged is missing in an image.
func holds(t *testing.T, who string, image []byte, acks map[uint64]uint64) {
	t.Helper()
	missing := 0
	for block, stamp := range acks {
		if got := binary.LittleEndian.Uint64(image[block*stampStride:]); got < stamp {
			missing++
		}
	}
	if missing > 0 {
		t.Fatalf("%s misses %d of %d acknowledged blocks", who, missing, len(acks))
	}
	if len(acks) == 0 {
		t.Fatalf("%s: nothing was acknowledged, so nothing was proven", who)
	}
}

func newDoomed(t *testing.T, p *pair) *doomed {
	certificate, key := makeCertificate(t)
	server, client, err := pinnedFrom(certificate, key)
	must(t, err)
	d := &doomed{side: p.a, dir: t.TempDir()}
	p.a.opts.Server, p.a.opts.Client, p.b.opts.Server, p.b.opts.Client = server, client, server, client
	b, err := json.Marshal(p.a.config)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(d.dir, "config.json"), b, 0o600))
	must(t, os.WriteFile(filepath.Join(d.dir, "node.crt"), certificate, 0o600))
	must(t, os.WriteFile(filepath.Join(d.dir, "node.key"), key, 0o600))
	return d
}

func TestPowerCutAloneKeepsWhatWasFlushed(t *testing.T) {
	p := newPair(t, testSize)
	d := newDoomed(t, p)
	d.flushed = true
	for round := range 4 {
		d.spawn()
		d.promote(uint64(round + 1))
		d.writes(time.Duration(40*round) * time.Millisecond)
		acks := d.kill()
		d.spawn()
		st := d.status()
		if st.Disk != "UpToDate" || !st.NeverHadPeer {
			t.Fatalf("round %d: %s after the cut: %s", round, st.Disk, st.Problem)
		}
		d.kill()
		holds(t, fmt.Sprintf("round %d", round), d.image(), acks)
	}
}

func TestPowerCutOfThePrimaryLosesNothing(t *testing.T) {
	p := newPair(t, testSize)
	d := newDoomed(t, p)
	d.spawn()
	p.b.start()
	p.b.until("in sync", inSync)
	for round := range 4 {
		epoch := uint64(2*round + 1)
		d.promote(epoch)
		d.writes(time.Duration(50*round) * time.Millisecond)
		acks := d.kill()
		p.b.until("licence", func(s control.Status) bool { return s.Licence && disconnected(s) })
		_, err := p.b.client.Promote(context.Background(), control.Promote{Epoch: control.Epoch{Counter: epoch + 1, Node: "b"}, Permission: "dead"})
		must(t, err)
		holds(t, fmt.Sprintf("round %d: b", round), p.b.read(0, testSize-(1<<20)), acks)
		must(t, p.b.write(uint64(round)*stampStride+8192, pattern(round, 4096)))
		d.spawn()
		d.until("in sync", inSync)
		p.b.until("in sync", inSync)
		must(t, p.b.client.Demote(context.Background()))
		d.until("peer secondary", func(s control.Status) bool { return s.PeerRole == "Secondary" })
	}
	p.b.end()
	must(t, d.client.Disconnect(context.Background()))
	d.kill()
	p.equal()
}

// TestKilledWhileTheDeviceAppears: SIGKILL at any moment of the making of the kernel device ends the process. One that waited for a request that it was to
// answer itself never ended, and held the disk until the machine was restarted.
func TestKilledWhileTheDeviceAppears(t *testing.T) {
	p := newPair(t, testSize)
	d := newDoomed(t, p)
	t.Cleanup(func() { export.CleanLeftovers(d.config.RunDir, "data") })
	for round := range 24 {
		d.spawn()
		d.promote(uint64(round + 1))
		opened := make(chan struct{})
		go func() { // ends with the process
			defer close(opened)
			_, _ = d.client.OpenDevice(context.Background(), control.DeviceOpen{Kind: "auto"})
		}()
		time.Sleep(time.Duration(round) * time.Millisecond) // the instant of the kill; nothing is awaited
		must(t, d.cmd.Process.Kill())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = d.cmd.Wait() // killed, as asked
		}()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatalf("killed %d ms into the making of its device, the process does not end", round)
		}
		<-opened
	}
}

func TestPowerCutOfBothLosesNothing(t *testing.T) {
	p := newPair(t, testSize)
	d := newDoomed(t, p)
	d.flushed = true // both lose their unflushed writes; a flush is the promise
	d.spawn()
	p.b.start()
	p.b.until("in sync", inSync)
	d.promote(1)
	d.writes(150 * time.Millisecond)
	acks := d.kill()
	p.b.end()
	d.spawn()
	p.b.start()
	d.until("in sync", inSync)
	p.b.until("in sync", inSync)
	d.promote(2)
	p.b.until("peer primary", func(s control.Status) bool { return s.PeerRole == "Primary" })
	more := d.kill()
	for block, stamp := range more {
		acks[block] = max(acks[block], stamp)
	}
	p.b.end()
	holds(t, "b", p.b.image(), acks)
}
