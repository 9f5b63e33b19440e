package heart

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"evenkeel/ha"
)

const (
	renewEvery = 500 * time.Millisecond
	renewValid = 2 * time.Second // the kernel counts whole seconds and drops the address up to half a second later
	grantFor   = 250 * time.Millisecond
)

// renewer extends the kernel lifetime of virtual addresses while the loop allows it. What the loop allows ends by itself: after the machine stood
// still, the loop has to look at the clock before an address lives on.
type renewer struct {
	renew func(device, address, label string, valid time.Duration) error
	log   *slog.Logger
	grant atomic.Pointer[grant]
}

type grant struct {
	list  []Renewal
	until ha.Instant
}

func newRenewer(renew func(string, string, string, time.Duration) error, log *slog.Logger) *renewer {
	return &renewer{renew: renew, log: log}
}

// allow replaces the grant.
func (r *renewer) allow(list []Renewal, until ha.Instant) {
	r.grant.Store(&grant{list: list, until: until})
}

func (r *renewer) run(ctx context.Context) {
	if r.renew == nil {
		return
	}
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	failing := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		g := r.grant.Load()
		if g == nil {
			continue
		}
		for _, a := range g.list {
			if Now() >= g.until {
				break
			}
			err := r.renew(a.Device, a.Address, a.Label, renewValid)
			if err != nil && !failing[a.Address] {
				r.log.Warn("a virtual address was not renewed", "address", a.Address, "device", a.Device, "why", err)
			}
			failing[a.Address] = err != nil
		}
	}
}
