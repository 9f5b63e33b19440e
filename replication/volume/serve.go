package volume

import (
	"context"
	"errors"
	"path/filepath"

	"evenkeel/replication/control"
	"evenkeel/replication/export"
)

// nbdServer is the NBD socket; it exists only while primary.
type nbdServer struct {
	socket string
	stop   context.CancelFunc
}

// startServing opens the NBD socket.
func (l *loop) startServing() error {
	if l.server != nil {
		return nil
	}
	ctx, stop := context.WithCancel(l.meetCtx)
	s := &nbdServer{socket: filepath.Join(l.config.RunDir, control.NBDSocketName(l.config.Name)), stop: stop}
	l.server = s
	o := export.NBDOptions{Socket: s.socket, Name: l.config.Name, Device: l.device(), ReadOnly: l.mounted.Load, Log: l.log}
	l.tasks.Go(func() {
		if err := export.ServeNBD(ctx, o); err != nil {
			l.box.post(call(func(l *loop) {
				l.log.Error("the NBD server ended", "why", err)
				l.server = nil
				l.changed()
			}))
		}
	})
	return nil
}

// stopServing closes the NBD socket and every client.
func (l *loop) stopServing() {
	if l.server != nil {
		l.server.stop()
		l.server = nil
	}
}

// openKernel makes the kernel device, beside the loop: the kernel reads from it meanwhile.
func (l *loop) openKernel(kind string, mount bool, done func(control.Device, error)) {
	switch {
	case !l.serving.Load():
		done(control.Device{}, refused("secondary", "volume %s is not primary: it has no device", l.config.Name))
		return
	case l.kernel != nil && !l.kernelDevice.good():
		l.closeKernelThen(true, func(error) { l.openKernel(kind, mount, done) }) // a dead one: lazy, it always ends
		return
	case l.kernel != nil:
		l.mounted.Store(l.mounted.Load() || mount)
		done(control.Device{Path: l.kernel.Path(), Kind: l.kernel.Kind()}, nil)
		return
	case l.opening:
		done(control.Device{}, refused("busy", "volume %s: its device is being made", l.config.Name))
		return
	}
	l.opening = true
	l.mounted.Store(mount)
	if kind == "" || kind == "auto" {
		kind = l.config.Export
	}
	o := export.KernelOptions{Name: l.config.Name, RunDir: l.config.RunDir, Kind: kind, Log: l.log}
	device := l.device()
	o.Device = device
	l.tasks.Go(func() {
		k, err := export.OpenKernel(o)
		l.box.post(call(func(l *loop) { l.kernelOpened(k, device, err, done) }))
	})
}

func (l *loop) kernelOpened(k *export.Kernel, d *device, err error, done func(control.Device, error)) {
	l.opening = false
	if err != nil {
		l.mounted.Store(false)
		done(control.Device{}, err)
		return
	}
	l.kernel, l.kernelDevice = k, d
	l.changed()
	done(control.Device{Path: k.Path(), Kind: k.Kind()}, nil)
}

// closeKernelThen removes the kernel device beside the loop, which must go on answering it; done gets the result. A lazy one is abandoned: whoever still
// uses it gets errors, for the next mount may come before that one is gone, and two kernels' caches over one disk destroy it.
func (l *loop) closeKernelThen(lazy bool, done func(error)) {
	k := l.kernel
	if k == nil {
		done(nil)
		return
	}
	if lazy {
		l.kernelDevice.abandoned.Store(true)
	}
	l.tasks.Go(func() {
		err := k.Close(lazy)
		l.box.post(call(func(l *loop) {
			if err == nil && l.kernel == k {
				l.kernelDevice.abandoned.Store(true) // somebody may still hold it open, who asked for no exclusive access
				l.kernel = nil
				l.mounted.Store(false)
			}
			l.changed()
			done(err)
		}))
	})
}

func flushRequest(done func(error)) *export.Request {
	return &export.Request{Op: export.Flush, Done: done}
}

// deviceError makes a refusal of a device that is in use.
func deviceError(err error) error {
	if errors.Is(err, export.ErrBusy) {
		return refused("in_use", "%v: unmount it first, or close it lazily", err)
	}
	return err
}
