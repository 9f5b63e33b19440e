// Package service runs the catalogue's services of kind "command" and asks after their health.
//
//	            Start                first good answer
//	stopped ------------> starting -------------------> running
//	   ^                     | ended, or no answer in time |  ended, or N bad answers
//	   |        Stop         v                             v
//	   +---- stopping <--- failed <---- too many ---- starting (restart)
//
// A service runs in a session of its own and outlives the engine: a later engine adopts it by its state file
// RUN/services/NAME.json, or by a mark in its environment, and goes on watching it. Its output goes to RUN/services/NAME.log, at most 1 MiB.
//
// Process numbers are those of this PID namespace, whose PID 1 (the supervisor) collects orphans; a process that ended
// and was not collected yet counts as dead.
package service

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"evenkeel/ha/config"
)

// The states of a service.
const (
	Running  = "running"
	Starting = "starting"
	Stopping = "stopping"
	Stopped  = "stopped"
	Failed   = "failed"
)

const (
	restartWindow = 10 * time.Minute       // in which Monitor.Restarts counts
	startPoll     = 10 * time.Millisecond  // between questions while it starts
	settle        = 50 * time.Millisecond  // a process must live this long to count as started
	killWait      = 2 * time.Second        // KILL takes effect at once unless the process is stuck in the kernel
	logLimit      = 1 << 20                // bytes of a service's log
	killPoll      = 100 * time.Millisecond // between looks at what is left of a session
)

// State is what is known of one service.
type State struct {
	Name  string
	State string    // running, starting, stopping, stopped, failed
	Error string    // one sentence when it failed, or while it is restarted; else empty
	Since time.Time // of State
}

// Manager owns the services of one node. Its methods may be called at the same time.
type Manager struct {
	dir     string // RUN/services
	log     *slog.Logger
	changed func()
	order   []string // the catalogue's order
	units   map[string]*unit
}

// unit is one service. op is held by the one who starts or stops it; mu guards the rest and is never held while waiting.
type unit struct {
	m    *Manager
	spec config.Service
	op   chan struct{} // a semaphore of one, so that waiting for it has a deadline

	mu       sync.Mutex
	state    State
	wanted   bool               // it is to run: an end is a failure
	cancel   context.CancelFunc // ends the start that is going on; nil = none
	proc     *process           // newest process; nil = none was started or adopted
	restarts []time.Time        // within restartWindow
	bad      int                // bad answers in a row
	kick     chan struct{}      // wakes the unit's loop when a process appeared
}

// NewManager returns the manager of a catalogue. changed is called after each change of a state; it must not block.
func NewManager(runDir string, catalogue []config.Service, log *slog.Logger, changed func()) *Manager {
	m := &Manager{dir: filepath.Join(runDir, "services"), log: log, changed: changed, units: map[string]*unit{}}
	for _, s := range catalogue {
		m.order = append(m.order, s.Name)
		m.units[s.Name] = &unit{m: m, spec: s, op: make(chan struct{}, 1), kick: make(chan struct{}, 1),
			state: State{Name: s.Name, State: Stopped, Since: time.Now()}}
	}
	return m
}

// Adopt finds what an earlier engine started and goes on watching it. It returns the names, in the catalogue's order.
func (m *Manager) Adopt() []string {
	var found []string
	for _, name := range m.order {
		id, ok := m.recall(name)
		if !ok {
			continue
		}
		p, ok := watch(id)
		if !ok {
			continue
		}
		if err := os.MkdirAll(m.dir, 0o700); err == nil {
			err = m.remember(name, id)
			if err != nil {
				m.log.Warn("an adopted service has no state file", "service", name, "error", err)
			}
		}
		u := m.units[name]
		u.mu.Lock()
		u.proc, u.wanted = p, true
		u.mu.Unlock()
		u.become(Running, "")
		u.wake()
		m.log.Info("service adopted", "service", name, "pid", id.PID)
		found = append(found, name)
	}
	return found
}

// States are all services in the catalogue's order.
func (m *Manager) States() []State {
	all := make([]State, 0, len(m.order))
	for _, name := range m.order {
		u := m.units[name]
		u.mu.Lock()
		all = append(all, u.state)
		u.mu.Unlock()
	}
	return all
}

// unit returns the service called name.
func (m *Manager) unit(name string) (*unit, error) {
	u, ok := m.units[name]
	if !ok {
		return nil, fmt.Errorf("there is no service %q in the catalogue: add %s.toml, or place another one", name, name)
	}
	return u, nil
}

// Start starts a service and waits until its monitor's first good answer; a running one is left as it is. It fails when the
// process ends, when no good answer comes within the start time-out, and when ctx ends or Stop or Kill is called meanwhile.
func (m *Manager) Start(ctx context.Context, name string) error {
	u, err := m.unit(name)
	if err != nil {
		return err
	}
	if err := u.lock(ctx); err != nil {
		return err
	}
	defer u.unlock()
	if ctx.Err() != nil {
		return fmt.Errorf("service %s: its start was given up: %w", name, context.Cause(ctx))
	}
	u.mu.Lock()
	u.wanted, u.restarts, u.bad = true, nil, 0
	runs := u.proc != nil && !u.proc.ended()
	u.mu.Unlock()
	if runs {
		u.become(Running, "")
		return nil
	}
	return u.start(ctx, "")
}

// Stop stops a service: TERM to its session, after the stop time-out KILL. It is done when nothing of the session lives.
func (m *Manager) Stop(ctx context.Context, name string) error {
	u, err := m.unit(name)
	if err != nil {
		return err
	}
	u.unwant()
	if err := u.lock(ctx); err != nil {
		return err
	}
	defer u.unlock()
	return u.stop(ctx)
}

// Kill ends services at once with everything in their sessions; no name = all. It waits for nothing. Whoever kills in
// order to revoke ends the context of his own calls of Start first.
func (m *Manager) Kill(names ...string) {
	if len(names) == 0 {
		names = m.order
	}
	for _, name := range names {
		if u, ok := m.units[name]; ok {
			u.unwant()
			u.kill()
		}
	}
}

// Run watches every service until ctx ends; what runs goes on running. One loop per service, all ended when Run returns.
func (m *Manager) Run(ctx context.Context) {
	var loops sync.WaitGroup
	for _, name := range m.order {
		loops.Go(func() { m.units[name].watchLoop(ctx) })
	}
	loops.Wait()
}
