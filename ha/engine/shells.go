package engine

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/heart"
)

// The engine reaches its machine through these four small interfaces. realShells joins them to the packages beside this one; tests put in
// fakes that behave.

// wish is one virtual address that this node is to hold.
type wish struct {
	Device  string
	Address netip.Prefix
}

// addressShell holds virtual addresses in the kernel.
type addressShell interface {
	// Converge makes the kernel hold exactly these of ours and announces them.
	Converge(ctx context.Context, wishes []wish) error
	// DropAll takes every address of ours off at once.
	DropAll() error
	Held() ([]wish, error)
	// Devices are the names of this machine's network devices.
	Devices() ([]string, error)
	// Announce tells the networks where these addresses are, those of them that the kernel has.
	Announce(wishes []wish)
	// Conflict asks, about 200 ms, who else answers for them: prefix to MAC, and the devices that could not be asked.
	Conflict(ctx context.Context, wishes []wish) (found map[netip.Prefix]string, failed map[string]error)
	// Label is the label an address of ours bears on that device.
	Label(device string) string
	// Run watches and announces until ctx ends; changed is called when the kernel's set of our addresses changed.
	Run(ctx context.Context, changed func())
}

// serviceState is one service as its manager knows it.
type serviceState struct {
	Name  string
	State string // running starting stopping stopped failed
	Error string
}

// serviceShell runs services.
type serviceShell interface {
	Adopt()
	Start(ctx context.Context, name string) error
	Stop(ctx context.Context, name string) error
	Kill(names ...string)
	States() []serviceState
	// Run monitors until ctx ends; changed is called after each change of a state and does not block.
	Run(ctx context.Context, changed func())
}

// callback is a function that is set later than it may be called.
type callback struct{ f atomic.Pointer[func()] }

func (c *callback) set(f func()) { c.f.Store(&f) }

func (c *callback) call() {
	if f := c.f.Load(); f != nil {
		(*f)()
	}
}

// mountShell mounts filesystems.
type mountShell interface {
	Mount(ctx context.Context, device, point, filesystem string) error
	Unmount(ctx context.Context, point string) error
	Lazy(point string) error
	Mounted(point string) (device string, ok bool)
	KillHolders(point string) error
}

// probeTarget is whom a probe round asks.
type probeTarget struct {
	Peer    []netip.Addr
	MACs    map[string]string // the peer's, by device, as its beats named them
	Virtual []wish
}

// checkShell asks reference points and the peer's kernel.
type checkShell interface {
	SetReferences(points []ha.Reference)
	Every(d time.Duration)
	References() []ha.ReferenceFact
	// Run asks until ctx ends; changed is called at each new answer.
	Run(ctx context.Context, changed func())
	// Probe runs one round of length d: when the peer's kernel, and when a virtual address, last answered.
	Probe(ctx context.Context, t probeTarget, d time.Duration) (kernel, address ha.Instant)
}

// heartLink is one connection to the heart process.
type heartLink interface {
	Send(o heart.Order) error
	// Reports is closed when the connection is lost.
	Reports() <-chan heart.Report
	Close() error
}

// shells is everything that an engine acts through.
type shells struct {
	addresses addressShell
	services  serviceShell
	mounts    mountShell
	checks    checkShell
	dialHeart func(ctx context.Context) (heartLink, error)
	reached   func(point string) // called before and after each step; nil = the rehearsals' dieAt
}
