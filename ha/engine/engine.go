package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"evenkeel/ha"
)

// How often the loop asks the machine even if nothing happened.
const (
	tickOpen = 50 * time.Millisecond // while a procedure runs or the peer is in doubt
	tickIdle = 200 * time.Millisecond
)

// The engine's own files, below state_dir/engine (root's only).
const (
	durableFile   = "durable.json"
	durableCopy   = "durable-copy.json"
	procedureFile = "procedure.json"
	timesFile     = "times.json"
	settingsFile  = "settings.json"
	previousFile  = "settings-previous.json"
	takenFile     = "taken.json"
	vowsFile      = "vows.json"
)

// versionLimit is how many bytes of the version a beat carries.
const versionLimit = 16

// inboxSize bounds what may wait for the loop; who posts to a full inbox waits.
const inboxSize = 256

// machine is the decision; ha.Machine is the one.
type machine interface {
	Step(f ha.Facts) ha.Plan
	DryRun(f ha.Facts, wish ha.AdminRequest) ha.Outcome
}

// engine is the state of the loop. All fields below inbox belong to the loop's goroutine; what others may read stands above.
type engine struct {
	o       Options
	log     *slog.Logger
	dir     string // state_dir/engine
	boot    ha.BootName
	node    ha.NodeID
	started ha.Instant
	shells  shells
	view    atomic.Pointer[view] // newest published state
	changed broadcast            // a new view
	refused atomic.Uint32        // digest of a revision that ended the engine too often; 0 = none
	gate    gate                 // what a running procedure may still do
	events  *eventQueue
	group   sync.WaitGroup // every goroutine that the engine started
	ctx     context.Context
	inbox   chan func()

	machine    machine
	durable    ha.Durable
	storeError error // why durable could not be stored; nil = it is
	settings   ha.Settings
	heart      heartState
	volumes    map[string]*volume
	retiring   map[string]*volume // removed from the settings, still being taken down
	services   []serviceState
	addresses  addressState
	probe      probeState
	snapshots  snapshotState
	orders     orderBook
	run        *run // the procedure that runs or ran last; nil = none since start
	adopting   adoptState
	found      *ha.Found
	plan       ha.Plan
	said       ha.Saying // what heart was given last
	facts      ha.Facts
	since      ha.Instant // when the role was entered
	conditions conditionAges
	foreign    refusedState
	peer       peerState
	vows       map[string]bool // volumes of which the peer was told that there is none here

	stateNote string // what was wrong with the record at start; empty = nothing
	vowsNote  string // the same of the vows
	noRecord  bool   // there was none at start: new here, or lost
	// recordLost: there was one, and neither it nor its copy can be read.
	recordLost bool
	taken      settingsState
	serving    map[string]*serviceWork
	restarts   map[string]int        // by process, as the supervisor counts
	restarted  map[string]ha.Instant // when that was seen last
	acks       []chan struct{}       // closed when the step that runs has ended
}

// Run is the engine process: it ends with ctx, or with an error that says what root must mend.
func Run(ctx context.Context, o Options) error {
	s, closeShells, err := realShells(o)
	if err != nil {
		return err
	}
	defer closeShells()
	return runWith(ctx, o, s, func(d ha.Durable) machine { return ha.NewMachine(d) })
}

// runWith is Run with the shells and the machine given.
func runWith(ctx context.Context, o Options, s shells, decide func(ha.Durable) machine) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e, err := newEngine(ctx, o, s)
	if err != nil {
		return err
	}
	defer e.group.Wait()
	defer cancel()
	if err := e.serveAPI(); err != nil {
		return err
	}
	e.servePeer()
	e.loadDurable()
	e.loadVows()
	e.setAsideUnreadable()
	settings, err := e.firstSettings(ctx)
	if err != nil {
		return err
	}
	e.take(settings)
	e.watch()
	e.gatherFound(ctx)
	e.machine = decide(e.durable)
	e.loop(ctx)
	return nil
}

func newEngine(ctx context.Context, o Options, s shells) (*engine, error) {
	dir := filepath.Join(o.Config.StateDir, "engine")
	for _, d := range []string{dir, o.Config.RunDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("make the folder %s: %w: check state_dir and run_dir in evenkeel.toml", d, err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("close %s to others: %w", dir, err)
	}
	boot, err := bootName(o.Config.RunDir)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.Version = o.Version[:min(len(o.Version), versionLimit)]
	removeLeftovers(dir)
	e := &engine{
		o: o, log: o.Log, dir: dir, boot: boot, node: ha.NodeID(o.Config.Node), started: now(), shells: s, ctx: ctx,
		inbox: make(chan func(), inboxSize), volumes: map[string]*volume{}, retiring: map[string]*volume{}, vows: map[string]bool{},
		serving: map[string]*serviceWork{}, restarts: map[string]int{}, restarted: map[string]ha.Instant{}, conditions: conditionAges{},
	}
	if e.shells.reached == nil {
		e.shells.reached = e.dieAt
	}
	e.events = newEventQueue(o.Events, o.Log)
	e.orders.waiting = map[uint64]*order{}
	e.goRun("events", e.events.run)
	return e, nil
}

// goRun starts a goroutine that the engine waits for when it ends.
func (e *engine) goRun(name string, f func(ctx context.Context)) {
	e.group.Add(1)
	go func() {
		defer e.group.Done()
		f(e.ctx)
		e.log.Debug("goroutine ended", "name", name)
	}()
}

// post hands f to the loop. It gives up when the engine ends.
func (e *engine) post(f func()) {
	select {
	case e.inbox <- f:
	case <-e.ctx.Done():
	}
}

// ask hands f to the loop and waits until the step after it has ended, or for at most limit.
func (e *engine) ask(ctx context.Context, limit time.Duration, f func()) error {
	done := make(chan struct{})
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case e.inbox <- func() { f(); e.acks = append(e.acks, done) }:
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errors.New("the decision loop does not take anything: see the engine's log")
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errors.New("the decision loop does not answer: see the engine's log")
	}
}

// loop decides until ctx ends: at each thing that is posted, and when the plan's time to ask again has come.
func (e *engine) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-e.inbox:
			f()
			e.drain()
		case <-timer.C:
		}
		timer.Reset(e.step())
	}
}

// An engine that stood still for catchUpAfter hears heart first, at most for catchUpLimit.
const (
	catchUpAfter = 500 * time.Millisecond
	catchUpLimit = time.Second // on a machine so busy that the engine stood still, heart's word may take its time
)

// catchUp lets an engine that stood still take in what heart says now before it decides: what it was told before is as old as its sleep, and would show
// a peer that has confirmed nothing since. (If the whole machine slept, heart says that too.)
func (e *engine) catchUp() {
	woke := now()
	deadline := time.NewTimer(catchUpLimit)
	defer deadline.Stop()
	for e.heart.report.Now < woke {
		select {
		case f := <-e.inbox:
			f()
		case <-deadline.C:
			return
		case <-e.ctx.Done():
			return
		}
	}
}

// drain takes what is waiting, so that a burst of reports costs one step; at most one inbox full.
func (e *engine) drain() {
	for range inboxSize {
		select {
		case f := <-e.inbox:
			f()
		default:
			return
		}
	}
}

// step gathers the facts, decides, carries out, publishes; it returns when to ask again at the latest.
func (e *engine) step() time.Duration {
	f := e.gather()
	if e.facts.Now != 0 && f.Now.Sub(e.facts.Now) >= catchUpAfter {
		e.catchUp()
		f = e.gather()
	}
	p := e.machine.Step(f)
	if e.since == 0 || p.Role != e.plan.Role {
		e.since = f.Now
	}
	e.found = nil
	e.facts, e.plan = f, p
	e.carry(f, p)
	e.publish()
	for _, done := range e.acks {
		close(done)
	}
	e.acks = e.acks[:0]
	return e.again(p)
}

func (e *engine) again(p ha.Plan) time.Duration {
	limit := tickIdle
	open := p.Role == ha.Promoting || p.Role == ha.Demoting || p.Role == ha.Starting || p.Verdict != ha.PeerAlive
	if open || e.run.running() {
		limit = tickOpen
	}
	if p.Again > 0 && p.Again < limit {
		return max(p.Again, time.Millisecond)
	}
	return limit
}

// watch starts the goroutines that observe.
func (e *engine) watch() {
	e.goRun("heart", e.followHeart)
	e.goRun("state folder", e.watchRoom)
	serviceChanged := make(chan struct{}, 1) // the manager's call-back must not wait for the loop
	e.goRun("service states", func(ctx context.Context) {
		for {
			select {
			case <-ctx.Done():
				return
			case <-serviceChanged:
				e.post(e.refreshServices)
			}
		}
	})
	e.goRun("services", func(ctx context.Context) {
		e.shells.services.Run(ctx, func() {
			select {
			case serviceChanged <- struct{}{}:
			default:
			}
		})
	})
	e.goRun("addresses", func(ctx context.Context) {
		e.shells.addresses.Run(ctx, func() { e.post(e.refreshAddresses) })
	})
	e.goRun("processes", func(ctx context.Context) {
		for ctx.Err() == nil {
			list := e.processes()
			e.post(func() { e.watchProcesses(list) })
			wait(ctx, processesEvery)
		}
	})
	e.goRun("checks", func(ctx context.Context) { e.shells.checks.Run(ctx, func() { e.post(func() {}) }) })
}
