package volume

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"evenkeel/replication/control"
	"evenkeel/replication/disk"
)

// run runs a real client; the test needs it.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%s is not installed: make deps", name)
	}
	c := exec.Command(name, args...)
	c.Dir = t.TempDir() // fio leaves a file where it runs
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestNBDClientsOnAPair(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	uri := "nbd+unix:///data?socket=" + p.a.status().Socket
	if out := run(t, "nbdinfo", "--json", uri); !strings.Contains(out, "export-size") {
		t.Fatalf("nbdinfo: %s", out)
	}
	out := run(t, "qemu-io", "-f", "raw", "-c", "write -P 0x5a 1M 3M", "-c", "write -f -P 0x11 4096 512", "-c", "write -z 2M 64k", "-c", "discard 3M 64k",
		"-c", "flush", "-c", "read -P 0x5a 1M 1M", "-c", "read -P 0 2M 64k", "-c", "read -P 0x11 4096 512", uri)
	if strings.Contains(out, "failed") {
		t.Fatalf("qemu-io: %s", out)
	}
	run(t, "fio", "--name=x", "--ioengine=nbd", "--uri="+uri, "--rw=randwrite", "--bs=4k", "--size=8M", "--iodepth=16", "--verify=crc32c", "--verify_fatal=1", "--minimal")
	must(t, p.a.client.Demote(context.Background()))
	if _, err := os.Stat(filepath.Join(p.a.config.RunDir, control.NBDSocketName("data"))); p.a.status().Socket != "" {
		t.Fatalf("a secondary serves NBD: %v", err)
	}
	p.a.end()
	p.b.end()
	p.equal()
}

func TestKernelDevice(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("a kernel device needs root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Fatal("a kernel device needs FUSE")
	}
	p := newPair(t, testSize)
	p.both()
	ctx := context.Background()
	if _, err := p.a.client.OpenDevice(ctx, control.DeviceOpen{Kind: "auto"}); err == nil {
		t.Fatal("a secondary made a device")
	}
	p.a.promote(1)
	d, err := p.a.client.OpenDevice(ctx, control.DeviceOpen{Kind: "auto"})
	must(t, err)
	f, err := os.OpenFile(d.Path, os.O_RDWR|os.O_SYNC|syscall.O_EXCL, 0)
	must(t, err)
	data := bytes.Repeat([]byte{0x77}, 256<<10)
	_, err = f.WriteAt(data, 1<<20)
	must(t, err)
	must(t, f.Sync())
	if err := p.a.client.Demote(ctx); err == nil {
		t.Error("demoted under an open device")
	}
	must(t, f.Close())
	must(t, p.a.client.CloseDevice(ctx, control.DeviceClose{}))
	must(t, p.a.client.Demote(ctx))
	p.a.end()
	p.b.end()
	p.equal()
	if !bytes.Equal(p.b.image()[1<<20:1<<20+len(data)], data) {
		t.Fatal("what the kernel wrote is not on the peer")
	}
}

func TestRevokeUnderAnOpenDevice(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("a kernel device needs root")
	}
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	ctx := context.Background()
	d, err := p.a.client.OpenDevice(ctx, control.DeviceOpen{})
	must(t, err)
	f, err := os.OpenFile(d.Path, os.O_RDWR|os.O_SYNC|syscall.O_EXCL, 0)
	must(t, err)
	defer f.Close()
	must(t, p.a.client.Revoke(ctx, control.Revoke{Reason: "test"}))
	if _, err := f.WriteAt(make([]byte, 4096), 0); err == nil {
		t.Fatal("a write to a revoked device succeeded")
	}
	must(t, p.a.client.CloseDevice(ctx, control.DeviceClose{Lazy: true}))
	if got := p.a.status().Device; got != "" {
		t.Fatalf("the device %s is still there", got)
	}
}

// A device that was given up lazily under somebody who holds it open takes nothing any more, though the volume stays primary and has a new one: two
// mounts of one disk destroy it.
func TestAnAbandonedDeviceIsDead(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	ctx := context.Background()
	first, err := p.a.client.OpenDevice(ctx, control.DeviceOpen{})
	must(t, err)
	old, err := os.OpenFile(first.Path, os.O_RDWR|syscall.O_DIRECT, 0)
	must(t, err)
	defer old.Close()
	block := disk.Alloc(disk.Align)
	if _, err := old.WriteAt(block, 0); err != nil {
		t.Fatal(err)
	}
	must(t, p.a.client.CloseDevice(ctx, control.DeviceClose{Lazy: true}))
	second, err := p.a.client.OpenDevice(ctx, control.DeviceOpen{})
	must(t, err)
	if second.Path == first.Path {
		t.Fatalf("nothing proven: both are %s", first.Path)
	}
	if _, err := old.WriteAt(block, 0); err == nil {
		t.Error("an abandoned device took a write")
	}
	must(t, p.a.write(0, pattern(1, 4096)))
	must(t, p.a.client.CloseDevice(ctx, control.DeviceClose{}))
}
