package export

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// KernelOptions describes a kernel device.
type KernelOptions struct {
	Name   string
	RunDir string // the FUSE mount points are below it
	Device Device
	Kind   string // auto or fuse
	Log    *slog.Logger
}

// Kernel is a block device of the kernel whose blocks are a Device.
//
//	/dev/loopN  -->  RunDir/NAME.fuse.RANDOM/evenkeel-disk  -->  this process  -->  Device
type Kernel struct {
	path   string
	dir    string
	server *fuse.Server
	closed chan struct{}
	once   sync.Once
	log    *slog.Logger
}

// armEvery is how often an open device is looked at until somebody mounted it.
const armEvery = 100 * time.Millisecond

// closeDeadline bounds each wait of Close.
const closeDeadline = 3 * time.Second

// OpenKernel makes the kernel device. What a killed predecessor left mounted is taken out of the way first.
func OpenKernel(o KernelOptions) (*Kernel, error) {
	if o.Kind != "" && o.Kind != "auto" && o.Kind != "fuse" {
		return nil, fmt.Errorf("export %q is not known: enter auto or fuse", o.Kind)
	}
	CleanLeftovers(o.RunDir, o.Name)
	// The name is unique on the machine: several nodes may share a kernel, and the kernel shows a loop device's file by name only.
	dir := filepath.Join(o.RunDir, o.Name+".fuse."+rand.Text()[:12])
	if err := makeMountPoint(dir); err != nil {
		return nil, err
	}
	server, err := serveFUSE(dir, o.Device)
	if err != nil {
		_ = os.Remove(dir)
		return nil, err
	}
	k := &Kernel{dir: dir, server: server, closed: make(chan struct{}), log: o.Log}
	k.path, err = attachLoop(filepath.Join(dir, fuseFileName))
	if err != nil {
		k.unmount()
		return nil, err
	}
	go k.arm()
	return k, nil
}

// arm ends when the device will clear itself, or is closed.
func (k *Kernel) arm() {
	tick := time.NewTicker(armEvery)
	defer tick.Stop()
	for !clearsItself(k.path) {
		select {
		case <-k.closed:
			return
		case <-tick.C:
		}
	}
}

// Path is the device's path.
func (k *Kernel) Path() string { return k.path }

// Kind is the way it is made: fuse.
func (k *Kernel) Kind() string { return "fuse" }

// Close removes the device. If it is still in use, it returns ErrBusy and leaves everything as it is; with lazy it lets go of it at once, and the
// kernel removes it when its last user is gone.
func (k *Kernel) Close(lazy bool) error {
	if !lazy && loopBusy(k.path) {
		return fmt.Errorf("cannot close %s: %w", k.path, ErrBusy)
	}
	k.once.Do(func() {
		close(k.closed)
		detachLoop(k.path)
		if !lazy && !waitFree(k.path, closeDeadline) {
			k.log.Warn("the loop device still holds its file", "device", k.path)
		}
		k.unmount()
	})
	return nil
}

// unmount takes the FUSE file system away. It is detached, so that a user that is still there gets answers until it is gone.
func (k *Kernel) unmount() {
	if err := unix.Unmount(k.dir, unix.MNT_DETACH); err != nil {
		k.log.Warn("cannot unmount", "dir", k.dir, "why", err)
	}
	if err := os.Remove(k.dir); err != nil {
		k.log.Warn("cannot remove the mount point", "dir", k.dir, "why", err)
	}
}

// CleanLeftovers takes away what processes of this volume that were killed left: their loop devices (one that is still mounted clears itself at its
// last close) and their dead FUSE mounts; and devices whose FUSE file system is detached already, of whichever volume.
func CleanLeftovers(runDir, name string) {
	entries, _ := os.ReadDir(runDir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), name+".fuse.") {
			continue
		}
		dir := filepath.Join(runDir, e.Name())
		path := loopOf(filepath.Join(dir, fuseFileName))
		_ = unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH) // force: whoever still waits for the predecessor gets an error, the device too
		if path != "" {
			detachLoop(path)
		}
		_ = os.Remove(dir)
	}
	for orphan := loopOf("/" + fuseFileName); orphan != ""; {
		detachLoop(orphan)
		next := loopOf("/" + fuseFileName)
		if next == orphan { // still in use: it clears itself when that ends
			break
		}
		orphan = next
	}
}
