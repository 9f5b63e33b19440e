package engine

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/address"
	"evenkeel/ha/check"
	"evenkeel/ha/heart"
	"evenkeel/ha/mount"
	"evenkeel/ha/service"
)

// realShells joins the engine to the packages that act on this machine.
func realShells(o Options) (shells, func(), error) {
	keeper, err := address.NewKeeper(o.Log)
	if err != nil {
		return shells{}, nil, fmt.Errorf("reach the kernel's addresses: %w: the engine must run as root", err)
	}
	services := &realServices{}
	services.Manager = service.NewManager(o.Config.RunDir, o.Catalogue, o.Log, services.notify)
	socket := filepath.Join(o.Config.RunDir, heart.SocketName)
	return shells{
		addresses: realAddresses{keeper}, services: services, mounts: realMounts{}, checks: realChecks{check.NewReferences(o.Log)},
		dialHeart: func(ctx context.Context) (heartLink, error) { return heart.Dial(ctx, socket) },
	}, func() { keeper.Close() }, nil
}

type realAddresses struct{ *address.Keeper }

func (a realAddresses) Converge(ctx context.Context, wishes []wish) error {
	list := keeperWishes(wishes)
	changes, err := a.Keeper.Converge(ctx, list)
	if len(changes) > 0 {
		a.Keeper.Announce(list)
	}
	return err
}

func (a realAddresses) DropAll() error {
	a.Keeper.Announce(nil)
	return a.Keeper.DropAll()
}

func (a realAddresses) Announce(wishes []wish) { a.Keeper.Announce(keeperWishes(wishes)) }

func (a realAddresses) Held() ([]wish, error) {
	held, err := a.Keeper.Held()
	var list []wish
	for _, w := range held {
		list = append(list, wish(w))
	}
	return list, err
}

func (a realAddresses) Devices() (names []string, err error) {
	devices, err := net.Interfaces()
	for _, d := range devices {
		names = append(names, d.Name)
	}
	return names, err
}

func (a realAddresses) Conflict(ctx context.Context, wishes []wish) (map[netip.Prefix]string, map[string]error) {
	return a.Keeper.Conflict(ctx, keeperWishes(wishes))
}

func (a realAddresses) Label(device string) string { return address.Label(device) }

func (a realAddresses) Run(ctx context.Context, changed func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Keeper.Run(ctx)
	}()
	a.Watch(ctx, func(address.Wish) { changed() })
	<-done
}

func keeperWishes(wishes []wish) []address.Wish {
	var list []address.Wish
	for _, w := range wishes {
		list = append(list, address.Wish(w))
	}
	return list
}

// realServices passes the manager's call-back on once the engine listens.
type realServices struct {
	*service.Manager
	changed callback
}

func (s *realServices) notify() { s.changed.call() }

func (s *realServices) Adopt() { s.Manager.Adopt() }

func (s *realServices) States() []serviceState {
	var list []serviceState
	for _, state := range s.Manager.States() {
		list = append(list, serviceState{state.Name, state.State, state.Error})
	}
	return list
}

func (s *realServices) Run(ctx context.Context, changed func()) {
	s.changed.set(changed)
	s.Manager.Run(ctx)
}

type realMounts struct{}

func (realMounts) Mount(ctx context.Context, device, point, filesystem string) error {
	return mount.Mount(ctx, device, point, filesystem)
}
func (realMounts) Unmount(ctx context.Context, point string) error { return mount.Unmount(ctx, point) }
func (realMounts) Lazy(point string) error                         { return mount.Lazy(point) }
func (realMounts) Mounted(point string) (string, bool)             { return mount.Mounted(point) }

func (realMounts) KillHolders(point string) error {
	_, err := mount.KillHolders(point)
	return err
}

type realChecks struct{ points *check.References }

func (c realChecks) SetReferences(points []ha.Reference) { c.points.Set(points) }

func (c realChecks) Every(d time.Duration) { c.points.Every(d) }

func (c realChecks) References() []ha.ReferenceFact { return c.points.Facts() }

func (c realChecks) Run(ctx context.Context, changed func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.points.Run(ctx)
	}()
	for {
		select {
		case <-done:
			return
		case <-c.points.Changed():
			changed()
		}
	}
}

func (c realChecks) Probe(ctx context.Context, t probeTarget, d time.Duration) (kernel, address ha.Instant) {
	target := check.Target{PeerAddresses: t.Peer, PeerMACs: t.MACs}
	for _, w := range t.Virtual {
		target.Virtual = append(target.Virtual, check.Virtual{Device: w.Device, Address: w.Address.Addr()})
	}
	r := check.Probe(ctx, target, d)
	return r.KernelAt, r.AddressAt
}
