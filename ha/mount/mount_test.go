package mount

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain runs the tests in a mount namespace of their own: what they leave mounted ends with them.
func TestMain(m *testing.M) {
	const inside = "MOUNTTEST_INSIDE"
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	if os.Getuid() != 0 {
		fmt.Println("skipped: these tests mount, which needs root")
		os.Exit(0)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if cmd.Run() != nil {
		os.Exit(1)
	}
}

// disk is a loop device with ext4 on it, and a mount point.
func disk(t *testing.T) (device, point string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "disk")
	command(t, "truncate", "-s", "16M", file)
	command(t, "mkfs.ext4", "-q", file)
	device = command(t, "losetup", "--find", "--show", file)
	point = filepath.Join(dir, "a point")
	t.Cleanup(func() {
		_, _ = KillHolders(point)
		_ = Lazy(point)
		_ = Unseal(point)
		command(t, "losetup", "-d", device)
	})
	return device, point
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// holder is a process that holds something at the point; it is running when holder returns.
func holder(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script+"; echo ready; exec sleep 1000")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the holder says %q: %v", line, err)
	}
	return cmd
}

func TestMountAndUnmount(t *testing.T) {
	device, point := disk(t)
	if err := Mount(t.Context(), device, point, "ext4"); err != nil {
		t.Fatal(err)
	}
	if got, ok := Mounted(point); !ok || got != device {
		t.Fatalf("mounted: %q %v", got, ok)
	}
	if err := Mount(t.Context(), device, point, "ext4"); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if err := Mount(t.Context(), "/dev/other", point, "ext4"); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("another device: %v", err)
	}
	options := command(t, "findmnt", "-no", "OPTIONS", point)
	if !strings.Contains(options, "noatime") || !strings.Contains(options, "errors=remount-ro") {
		t.Errorf("options: %s", options)
	}
	for range 2 {
		if err := Unmount(t.Context(), point); err != nil {
			t.Error(err)
		}
	}
	if _, ok := Mounted(point); ok {
		t.Error("still mounted")
	}
}

// TestTheBareFolderIsClosed: while the volume is not mounted nothing can be written where it belongs; mounted, everything can.
func TestTheBareFolderIsClosed(t *testing.T) {
	device, point := disk(t)
	file := filepath.Join(point, "entry")
	if err := Mount(t.Context(), device, point, "ext4"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Errorf("on the volume: %v", err)
	}
	if err := Unmount(t.Context(), point); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("on no volume"), 0o600); !errors.Is(err, os.ErrPermission) {
		t.Errorf("on the bare folder: %v, want no permission", err)
	}
	if err := Mount(t.Context(), device, point, "ext4"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); string(got) != "kept" {
		t.Errorf("mounted again: %q, %v", got, err)
	}
	if err := errors.Join(Unmount(t.Context(), point), Unseal(point), os.Remove(point)); err != nil {
		t.Errorf("opened and removed: %v", err)
	}
}

func TestHoldersAreFoundAndKilled(t *testing.T) {
	device, point := disk(t)
	if err := Mount(t.Context(), device, point, "ext4"); err != nil {
		t.Fatal(err)
	}
	open := holder(t, fmt.Sprintf("exec 5>%q", point+"/file"))
	inside := holder(t, fmt.Sprintf("cd %q", point))
	holder(t, "true") // a bystander
	if err := Unmount(t.Context(), point); err == nil || !strings.Contains(err.Error(), "busy") {
		t.Errorf("a busy mount: %v", err)
	}
	found, err := KillHolders(point)
	if err != nil || len(found) != 2 {
		t.Fatalf("holders %v, %v", found, err)
	}
	for _, h := range found {
		if h.PID != open.Process.Pid && h.PID != inside.Process.Pid || h.Name != "sleep" {
			t.Errorf("%v is no holder", h)
		}
	}
	if err := Unmount(t.Context(), point); err != nil {
		t.Error(err)
	}
	if _, err := Holders(point); err == nil {
		t.Error("nothing is mounted, and that has holders?")
	}
}

func TestMappingIsAHolder(t *testing.T) {
	device, point := disk(t)
	if err := Mount(t.Context(), device, point, "ext4"); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(point+"/file", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	page, err := syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	found, err := Holders(point)
	if err != nil || len(found) != 1 || found[0].PID != os.Getpid() {
		t.Errorf("holders %v, %v", found, err)
	}
	if err := syscall.Munmap(page); err != nil {
		t.Fatal(err)
	}
}

func TestLazyTakesABusyMountAway(t *testing.T) {
	device, point := disk(t)
	if err := Mount(t.Context(), device, point, "ext4"); err != nil {
		t.Fatal(err)
	}
	cmd := holder(t, fmt.Sprintf("exec 5>%q", point+"/file"))
	began := time.Now()
	if err := Lazy(point); err != nil {
		t.Fatal(err)
	}
	t.Logf("lazy unmount took %v (stated: 7 ms)", time.Since(began))
	if _, ok := Mounted(point); ok {
		t.Error("still mounted")
	}
	if err := Lazy(point); err != nil {
		t.Errorf("the second time: %v", err)
	}
	_ = cmd.Process.Kill()
	_, _ = cmd.Process.Wait()
}

func TestMountRefuses(t *testing.T) {
	device, point := disk(t)
	if err := Mount(t.Context(), device, point, "vfat"); err == nil || !strings.Contains(err.Error(), "ext4") {
		t.Errorf("vfat: %v", err)
	}
	if err := os.WriteFile(device, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Mount(t.Context(), device, point, "ext4"); err == nil || !strings.Contains(err.Error(), "e2fsck") {
		t.Errorf("a wiped filesystem: %v", err)
	}
	if _, ok := Mounted(point); ok {
		t.Error("it is mounted all the same")
	}
}

func TestRunHasADeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := run(ctx, "sleep", "1000"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command that does not end: %v", err)
	}
	if _, err := run(t.Context(), "no-such-program"); err == nil || !strings.Contains(err.Error(), "install") {
		t.Errorf("a program that is not there: %v", err)
	}
}

func TestParse(t *testing.T) {
	m, ok := parse(`36 35 98:0 /mnt1 /a\040b\134c rw,noatime master:1 - ext4 /dev/root rw,errors=continue`)
	if !ok || m.point != `/a b\c` || m.device != "/dev/root" || m.dev != "98:0" {
		t.Errorf("%+v %v", m, ok)
	}
	for _, bad := range []string{"", "1 2 3 4 5 6 7", "1 2 3:4 / / rw -"} {
		if _, ok := parse(bad); ok {
			t.Errorf("%q was read", bad)
		}
	}
}
