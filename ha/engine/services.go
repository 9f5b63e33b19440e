package engine

import (
	"context"
	"slices"
	"strings"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/config"
	"evenkeel/ha/control"
	"evenkeel/ha/place"
)

// serviceRetry is how long a service that failed is left alone.
const serviceRetry = 30 * time.Second

// serviceWork is the one call in flight for a service.
type serviceWork struct {
	busy    bool
	retryAt ha.Instant
}

// placement is which services a procedure starts and stops: layers in order, the services of one layer together.
type placement struct {
	before, after [][]string // started before and after the addresses come on
	stop          [][]string // stopped when the role goes: those of the master only
}

// names are all services of some layers.
func names(layers [][]string) []string { return slices.Concat(layers...) }

// placement reads the settings and root's catalogue.
func (e *engine) placement() placement {
	order := place.Start(e.servicesOn(ha.MasterSide))
	late, early := order.Stop()
	staying := e.namesOn(ha.SlaveSide)
	p := placement{before: order.Before, after: order.After}
	for _, layer := range append(late, early...) {
		layer = slices.DeleteFunc(slices.Clone(layer), func(name string) bool { return slices.Contains(staying, name) })
		if len(layer) > 0 {
			p.stop = append(p.stop, layer)
		}
	}
	return p
}

// servicesOn picks the services of the settings that run on a side. What is placed on the slave runs on the master while nobody stands by. One
// that root taught to need a volume does not run without it: what it acknowledged would be on no volume.
func (e *engine) servicesOn(side ha.Side) []place.Service {
	var all []place.Service
	for _, setting := range e.settings.Services {
		i := slices.IndexFunc(e.o.Catalogue, func(s config.Service) bool { return s.Name == setting.Name })
		if i < 0 {
			continue // taken out of root's catalogue: it cannot run
		}
		c := e.o.Catalogue[i]
		if c.Volume != "" && e.volumes[c.Volume] == nil {
			continue
		}
		all = append(all, place.Service{Name: c.Name, Placement: setting.Placement, Volume: c.Volume, NeedAddress: c.NeedAddress,
			AfterAddress: c.Order == "after-address", After: c.After})
	}
	return place.Here(all, side, e.slaveStandsBy())
}

// needing names the placed services that root taught to need a volume.
func (e *engine) needing(volume string) []string {
	var list []string
	for _, setting := range e.settings.Services {
		if slices.ContainsFunc(e.o.Catalogue, func(s config.Service) bool { return s.Name == setting.Name && s.Volume == volume }) {
			list = append(list, setting.Name)
		}
	}
	return list
}

// unservedConditions name the placed services whose volume the settings do not have.
func (e *engine) unservedConditions() []ha.Condition {
	var list []ha.Condition
	for _, c := range e.o.Catalogue {
		if c.Volume == "" || e.volumes[c.Volume] != nil || !slices.Contains(e.needing(c.Volume), c.Name) {
			continue
		}
		list = append(list, ha.Condition{Code: "service.failed", Severity: ha.Critical, Side: "local", Key: c.Name,
			Text:   "Service " + c.Name + " does not run: it needs the volume " + c.Volume + ", which the settings do not have.",
			Remedy: "Add that volume on the Disk Replication page, or take the service off the Services page."})
	}
	return list
}

// slaveStandsBy says whether the other node is there to run what is placed on the slave.
func (e *engine) slaveStandsBy() bool {
	b := e.heart.report.Beat
	return e.plan.Verdict == ha.PeerAlive && b != nil && b.Role == ha.Slave
}

func (e *engine) namesOn(side ha.Side) []string {
	var list []string
	for _, s := range e.servicesOn(side) {
		list = append(list, s.Name)
	}
	return list
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
				Text: failedText(s.Name, s.Error)})
		}
	}
}

// keepServices converges the services to the placement of the steady state; a procedure that runs decides for itself.
func (e *engine) keepServices(f ha.Facts, p ha.Plan) {
	if e.run.running() || p.Services == "" || p.Services == ha.MasterSide && (p.Role != ha.Master || e.incomplete()) {
		return
	}
	wanted := e.namesOn(p.Services)
	known := map[string]bool{}
	for _, s := range e.settings.Services {
		known[s.Name] = true
		state := e.serviceState(s.Name).State
		switch want := slices.Contains(wanted, s.Name); {
		case want && (state == "stopped" || state == "failed") && e.hasItsVolume(s.Name):
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

// hasItsVolume says whether the file system that root taught a service to need is mounted. Until then it is not started: what it acknowledged would
// be on the bare folder.
func (e *engine) hasItsVolume(name string) bool {
	i := slices.IndexFunc(e.o.Catalogue, func(s config.Service) bool { return s.Name == name })
	if i < 0 || e.volumes[e.o.Catalogue[i].Volume] == nil {
		return true // it needs none; one whose volume is gone is not placed
	}
	setting := e.volumes[e.o.Catalogue[i].Volume].setting
	_, mounted := e.mounted(setting)
	return mounted || setting.Filesystem == "" || setting.MountPoint == ""
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

// failedText says that a service failed. A service's own error may say so itself.
func failedText(name, cause string) string {
	return "Service " + name + " failed: " + orElse(strings.TrimPrefix(cause, "service "+name+" failed: "), "it ended") + "."
}
