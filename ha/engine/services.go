package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/config"
	"evenkeel/ha/control"
)

// serviceRetry is how long a service that failed is left alone.
const serviceRetry = 30 * time.Second

// serviceWork is the one call in flight for a service.
type serviceWork struct {
	busy    bool
	retryAt ha.Instant
}

// placement is which services a procedure starts and stops, in order.
type placement struct {
	before, after []string // started before and after the addresses come on
	stop          []string // stopped when the role goes: those of the master only
}

// placement reads the settings and root's catalogue.
func (e *engine) placement() placement {
	before, after := e.placed(ha.MasterSide)
	p := placement{before: before, after: after}
	staying := e.namesOn(ha.SlaveSide)
	for _, name := range slices.Backward(append(slices.Clone(before), after...)) {
		if !slices.Contains(staying, name) {
			p.stop = append(p.stop, name)
		}
	}
	return p
}

// serviceState is what the manager said last of a service.
func (e *engine) serviceState(name string) serviceState {
	for _, s := range e.services {
		if s.Name == name {
			return s
		}
	}
	return serviceState{Name: name, State: "stopped"}
}

// refreshServices takes the manager's states and tells of a service that failed.
func (e *engine) refreshServices() {
	before := map[string]string{}
	for _, s := range e.services {
		before[s.Name] = s.State
	}
	e.services = e.shells.services.States()
	for _, s := range e.services {
		if s.State == "failed" && before[s.Name] != "failed" {
			e.note(control.Event{Log: "failover", Code: "service.failed", Severity: ha.Critical,
				Text: fmt.Sprintf("Service %s failed: %s.", s.Name, orElse(s.Error, "it ended"))})
		}
	}
}

// keepServices converges the services to the placement of the steady state; a procedure that runs decides for itself.
func (e *engine) keepServices(f ha.Facts, p ha.Plan) {
	if e.run.running() || p.Services == ha.MasterSide && (p.Role != ha.Master || e.incomplete()) {
		return
	}
	var wanted []string
	if p.Services != "" {
		wanted = e.namesOn(p.Services)
	}
	known := map[string]bool{}
	for _, s := range e.settings.Services {
		known[s.Name] = true
		state := e.serviceState(s.Name).State
		switch want := slices.Contains(wanted, s.Name); {
		case want && (state == "stopped" || state == "failed"):
			e.moveService(f, s.Name, e.shells.services.Start)
		case !want && (state == "running" || state == "starting"):
			e.moveService(f, s.Name, e.shells.services.Stop)
		}
	}
	for _, s := range e.services { // taken out of the settings
		if !known[s.Name] && (s.State == "running" || s.State == "starting") {
			e.moveService(f, s.Name, e.shells.services.Stop)
		}
	}
}

// moveService starts or stops one service, one call at a time.
func (e *engine) moveService(f ha.Facts, name string, call func(ctx context.Context, name string) error) {
	work := e.serving[name]
	if work == nil {
		work = &serviceWork{}
		e.serving[name] = work
	}
	if work.busy || f.Now < work.retryAt {
		return
	}
	work.busy = true
	e.goRun("service "+name, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, limitServices)
		defer cancel()
		err := call(ctx, name)
		e.post(func() {
			work.busy = false
			e.refreshServices()
			if err != nil {
				work.retryAt = now().Add(serviceRetry)
				e.log.Warn("service not moved", "service", name, "error", err)
			}
		})
	})
}

// namesOn lists the services of the settings that run on a side. What is placed on the slave runs on the master while there is no slave to
// run it.
func (e *engine) namesOn(side ha.Side) []string {
	var names []string
	for _, s := range e.settings.Services {
		alone := side == ha.MasterSide && s.Placement == ha.SlaveSide && e.plan.Verdict != ha.PeerAlive
		if s.Placement == side || s.Placement == ha.Both || alone {
			names = append(names, s.Name)
		}
	}
	return names
}

// placed lists the services that run on a side in start order: those before the addresses, and those after.
func (e *engine) placed(side ha.Side) (before, after []string) {
	names := e.namesOn(side)
	for _, s := range e.ordered() {
		if !slices.Contains(names, s.Name) {
			continue
		}
		if s.Order == "after-address" {
			after = append(after, s.Name)
		} else {
			before = append(before, s.Name)
		}
	}
	return before, after
}

// ordered is root's catalogue in start order: a service comes after those that it names in After.
func (e *engine) ordered() []config.Service {
	var list []config.Service
	placed := map[string]bool{}
	for len(list) < len(e.o.Catalogue) {
		before := len(list)
		for _, s := range e.o.Catalogue {
			if !placed[s.Name] && !slices.ContainsFunc(s.After, func(name string) bool { return e.inCatalogue(name) && !placed[name] }) {
				placed[s.Name] = true
				list = append(list, s)
			}
		}
		if len(list) == before { // a circle: in the catalogue's order
			return append(list, slices.DeleteFunc(slices.Clone(e.o.Catalogue), func(s config.Service) bool { return placed[s.Name] })...)
		}
	}
	return list
}

func (e *engine) inCatalogue(name string) bool {
	return slices.ContainsFunc(e.o.Catalogue, func(s config.Service) bool { return s.Name == name })
}
