package export

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// memory is a Device in memory that completes each request from a goroutine of its own, as a volume does.
type memory struct {
	mu      sync.Mutex
	data    []byte
	flushes atomic.Int64
	fua     atomic.Int64
	broken  atomic.Bool
}

func (m *memory) Size() uint64 { return uint64(len(m.data)) }

func (m *memory) Submit(r *Request) { go func() { r.Done(m.do(r)) }() }

func (m *memory) do(r *Request) error {
	if m.broken.Load() {
		return errors.New("revoked")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.FUA {
		m.fua.Add(1)
	}
	switch r.Op {
	case Read:
		copy(r.Data, m.data[r.Offset:])
	case Write:
		copy(m.data[r.Offset:], r.Data)
	case Flush:
		m.flushes.Add(1)
	case WriteZeroes, Discard:
		clear(m.data[r.Offset:][:r.Length])
	}
	return nil
}

func serve(t *testing.T, m *memory, readOnly func() bool) (uri string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	socket := filepath.Join(t.TempDir(), "nbd")
	ended := make(chan error, 1)
	go func() {
		ended <- ServeNBD(ctx, NBDOptions{Socket: socket, Name: "data", Device: m, ReadOnly: readOnly, Log: slog.Default()})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("ServeNBD: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("ServeNBD did not end")
		}
	})
	for end := time.Now().Add(5 * time.Second); ; {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no socket")
		}
		time.Sleep(time.Millisecond)
	}
	return "nbd+unix:///data?socket=" + socket
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// TestNBDForeignClients copies a random image in and out with nbdcopy (several connections), asks nbdinfo and lets qemu-io write zeroes,
// discard and flush.
func TestNBDForeignClients(t *testing.T) {
	m := &memory{data: make([]byte, 16<<20)}
	uri := serve(t, m, func() bool { return false })
	dir := t.TempDir()
	image := make([]byte, len(m.data))
	_, _ = rand.Read(image)
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, image, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := run(t, "nbdinfo", uri); !bytes.Contains([]byte(s), []byte("can_fua: true")) {
		t.Errorf("nbdinfo: %s", s)
	}
	run(t, "nbdcopy", "--flush", in, uri)
	if m.flushes.Load() == 0 {
		t.Error("nbdcopy --flush brought no flush")
	}
	run(t, "nbdcopy", uri, out)
	got, _ := os.ReadFile(out)
	if !bytes.Equal(got, image) {
		t.Error("the image came back changed")
	}
	run(t, "qemu-io", "-f", "raw", "-t", "none", "-c", "write -P 7 -f 4097 513", "-c", "read -P 7 4097 513",
		"-c", "write -z 8192 4096", "-c", "read -P 0 8192 4096", "-c", "discard 65536 65536", "-c", "flush", uri)
	if m.fua.Load() == 0 {
		t.Error("a FUA write did not arrive as FUA")
	}
}

// TestNBDReadOnly: while the volume is mounted a client may read and not write.
func TestNBDReadOnly(t *testing.T) {
	m := &memory{data: make([]byte, 1<<20)}
	uri := serve(t, m, func() bool { return true })
	if s := run(t, "nbdinfo", uri); !bytes.Contains([]byte(s), []byte("is_read_only: true")) {
		t.Errorf("nbdinfo: %s", s)
	}
	if err := exec.Command("qemu-io", "-f", "raw", "-c", "write 0 4096", uri).Run(); err == nil {
		t.Error("a write to a read-only export succeeded")
	}
}

// TestKernelDevice makes a filesystem on the loop device, writes and reads a file, sees EIO after a revoke, and that nothing is left.
func TestKernelDevice(t *testing.T) {
	m := &memory{data: make([]byte, 32<<20)}
	dir, point := t.TempDir(), t.TempDir()
	k, err := OpenKernel(KernelOptions{Name: "data", RunDir: dir, Device: m, Kind: "auto", Log: slog.Default()})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close(true)
	run(t, "mkfs.ext4", "-q", k.Path())
	if err := unix.Mount(k.Path(), point, "ext4", 0, "errors=remount-ro"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(point, unix.MNT_DETACH)
	if err := writeSynced(filepath.Join(point, "f"), "hello"); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(false); !errors.Is(err, ErrBusy) {
		t.Fatalf("closing a mounted device: %v, want ErrBusy", err)
	}
	m.broken.Store(true)
	if err := writeSynced(filepath.Join(point, "g"), "lost"); err == nil {
		t.Error("an fsync succeeded after the device was revoked")
	}
	m.broken.Store(false)
	if err := unix.Unmount(point, 0); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(false); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if !waitFree(k.Path(), 2*time.Second) {
		t.Errorf("%s still holds its file", k.Path())
	}
	if m.flushes.Load() == 0 {
		t.Error("no flush reached the device")
	}
}

// TestKernelReadsItsOwnBytes reads many blocks at once through the loop device: each answer is the block that was asked for. Answers once
// held another request's bytes (see fuseDisk.Read), and a mount that read such a block of its journal stopped its recovery there.
func TestKernelReadsItsOwnBytes(t *testing.T) {
	m := &memory{data: make([]byte, 32<<20)}
	for off := 0; off < len(m.data); off += 8 {
		binary.LittleEndian.PutUint64(m.data[off:], uint64(off))
	}
	k, err := OpenKernel(KernelOptions{Name: "data", RunDir: t.TempDir(), Device: m, Kind: "auto", Log: slog.Default()})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close(true)
	fd, err := unix.Open(k.Path(), unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var readers sync.WaitGroup
	for n := range 16 {
		readers.Go(func() { readOwn(t, fd, len(m.data), uint64(n)) })
	}
	readers.Wait()
}

// readOwn reads blocks by chance and fails at the first word that is not its own offset.
func readOwn(t *testing.T, fd, size int, seed uint64) {
	chance := mathrand.New(mathrand.NewPCG(seed, 1))
	b := alignedBytes(32 << 10)
	for range 2000 {
		n := (1 + chance.IntN(len(b)/bufferAlign)) * bufferAlign
		start := chance.IntN((size-n)/bufferAlign) * bufferAlign
		if got, err := unix.Pread(fd, b[:n], int64(start)); err != nil || got != n {
			t.Errorf("a read of %d bytes at %d: %d bytes, %v", n, start, got, err)
			return
		}
		for off := 0; off < n; off += 8 {
			if word := binary.LittleEndian.Uint64(b[off:]); word != uint64(start+off) {
				t.Errorf("the bytes at %d are those of %d", start+off, word)
				return
			}
		}
	}
}

func writeSynced(path, text string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Sync()
}

// FuzzNBDOption: no option, whatever its bytes, does more than an answer or an error.
func FuzzNBDOption(f *testing.F) {
	f.Add(uint32(nbdOptGo), []byte{0, 0, 0, 4, 'd', 'a', 't', 'a', 0, 0})
	f.Add(uint32(nbdOptInfo), []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0})
	f.Add(uint32(nbdOptList), []byte("x"))
	f.Fuzz(func(t *testing.T, opt uint32, data []byte) {
		s := &nbdServer{NBDOptions: NBDOptions{Name: "data", Device: &memory{}, ReadOnly: func() bool { return false }}}
		_, _ = s.option(discardConn{}, opt, data, true)
	})
}

// FuzzNBDRequest: a request that passes the check lies inside the device.
func FuzzNBDRequest(f *testing.F) {
	f.Add(uint16(0), uint16(nbdCmdWrite), uint64(4096), uint32(4096))
	f.Add(uint16(1), uint16(nbdCmdWriteZeroes), ^uint64(0), ^uint32(0))
	f.Fuzz(func(t *testing.T, flags, cmd uint16, off uint64, n uint32) {
		const size = 1 << 20
		r := nbdRequest{flags: flags, cmd: cmd, offset: off, length: n}
		if r.check(size, false) == 0 && cmd != nbdCmdFlush && (off > size || off+uint64(n) > size) {
			t.Fatalf("%+v accepted", r)
		}
	})
}
