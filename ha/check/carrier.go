package check

import (
	"context"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// deviceFor is the device that the kernel would send to an address by; false if it has no way.
func deviceFor(to netip.Addr) (*netlink.LinkAttrs, bool) {
	routes, err := netlink.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return nil, false
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return nil, false
	}
	return link.Attrs(), true
}

// noCarrier says whether the way to an address leads through a device that is down or has no carrier, or whether there
// is no way. IFF_RUNNING may lag behind a cable by a second; IFF_LOWER_UP does not.
func noCarrier(to netip.Addr) bool {
	link, ok := deviceFor(to)
	return !ok || link.RawFlags&unix.IFF_LOWER_UP == 0 || link.RawFlags&unix.IFF_UP == 0
}

// watchCarrier delivers when a device changed. The kernel's subscription may end by itself: then the questions' own
// look at the carrier is all there is, at most a second later.
func watchCarrier(ctx context.Context) (changes <-chan struct{}, stop func()) {
	out := make(chan struct{}, 1)
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		return out, func() {}
	}
	var forward sync.WaitGroup
	forward.Go(func() { // owned by the caller of stop
		for range updates {
			signal(out)
		}
	})
	return out, sync.OnceFunc(func() { close(done); forward.Wait() })
}
