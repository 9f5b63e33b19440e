package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// A procedure is carried out step by step in a goroutine of its own:
//
//	loop:  plan.Procedure has a new ID ──> begin: save procedure.json ──> goroutine
//	step:  gate open? ──> do, within its deadline ──> post result ──> the loop decides again ──> next step
//	end:   post done or failed ──> times.json, procedure.json removed
//
// Every step looks first and does only what is missing, so a procedure may be begun anew at any point.

// errAbandoned ends a procedure that is no longer wanted.
var errAbandoned = errors.New("abandoned: the decision changed")

// step is one part of a procedure.
type step struct {
	name     string
	limit    time.Duration
	guarded  bool // only while ours is the highest epoch heard and the plan is the same
	optional bool // its failure is told, and the procedure goes on
	do       func(j *job, ctx context.Context) error
}

// job is what the steps of one procedure work with; nothing in it belongs to the loop.
type job struct {
	e         *engine
	procedure ha.Procedure
	settings  ha.Settings
	volumes   []*volume
	wishes    []wish
	peer      probeTarget
	services  placement
	mu        sync.Mutex
	sessions  map[*volume]uint64           // of each volume, when the procedure was decided upon
	devices   map[string]string            // volume to kernel device
	held      map[netip.Prefix]ha.Instant  // addresses that were held when it began
	conflicts map[netip.Prefix]string      // strangers on the addresses, as known when it began
	recent    map[netip.Prefix]string      // the same, if they were looked for lately; nil = not known
	strangers chan map[netip.Prefix]string // the one answer of searchStrangers
}

// gate is what a running procedure may still do; the loop writes it, the steps ask.
type gate struct {
	id     atomic.Uint64 // the procedure that the newest plan wants
	mu     sync.Mutex
	newest ha.Epoch // highest epoch known
}

func (g *gate) set(id uint64, newest ha.Epoch) {
	g.id.Store(id)
	g.mu.Lock()
	g.newest = newest
	g.mu.Unlock()
}

// check says whether the procedure may take a step that only a rightful master takes.
func (g *gate) check(p ha.Procedure) error {
	if g.id.Load() != p.ID {
		return errAbandoned
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.Epoch.Less(g.newest) {
		return fmt.Errorf("epoch %s was heard, which is above ours (%s)", g.newest, p.Epoch)
	}
	return nil
}

// run is a procedure that runs or ran. fact and show belong to the loop.
type run struct {
	procedure ha.Procedure
	own       bool // begun by the engine itself: to complete an adopted role, or to tidy
	guarded   bool // has steps that only a rightful master takes
	fact      ha.ProcedureFact
	show      control.Procedure
	stop      atomic.Bool // no further step
	cancel    context.CancelFunc
	done      chan struct{}
}

func (r *run) running() bool { return r != nil && r.fact.State == ha.ProcedureRunning }

// begin starts a procedure; whatever ran before is abandoned after its current step.
func (e *engine) begin(p ha.Procedure, own bool) {
	previous := e.run
	ctx, cancel := context.WithCancel(e.ctx)
	r := &run{procedure: p, own: own, cancel: cancel, done: make(chan struct{}),
		fact: ha.ProcedureFact{ID: p.ID, Kind: p.Kind, State: ha.ProcedureRunning}}
	steps := stepsOf(p.Kind)
	r.guarded = slices.ContainsFunc(steps, func(s step) bool { return s.guarded })
	r.show = control.Procedure{ID: p.ID, Kind: string(p.Kind), Epoch: p.Epoch, Reason: string(p.Reason),
		State: string(ha.ProcedureRunning), Began: time.Now().UTC()}
	for _, s := range steps {
		r.show.Steps = append(r.show.Steps, control.Step{Name: s.name, State: "waiting"})
	}
	if !own {
		if err := saveFile(filepath.Join(e.dir, procedureFile), savedProcedure{e.boot, p}); err != nil {
			e.log.Warn("procedure not saved", "error", err)
		}
	}
	e.run = r
	e.gate.id.Store(p.ID)
	j := e.newJob(p)
	e.log.Info("procedure begins", "kind", p.Kind, "id", p.ID, "epoch", p.Epoch.String(), "reason", p.Reason)
	e.goRun(string(p.Kind), func(context.Context) {
		defer cancel()
		defer close(r.done)
		e.carryOut(ctx, r, j, steps, previous)
	})
}

// savedProcedure is procedure.json: what was being done, for a starting engine's log; it is valid for one boot.
type savedProcedure struct {
	Boot      ha.BootName
	Procedure ha.Procedure
}

func (e *engine) newJob(p ha.Procedure) *job {
	j := &job{
		e: e, procedure: p, settings: e.settings, wishes: wishes(e.settings), peer: e.peerTarget(), services: e.placement(),
		held: e.addresses.held, conflicts: e.addresses.conflicts, recent: e.recentStrangers(now()), strangers: make(chan map[netip.Prefix]string, 1),
		sessions: map[*volume]uint64{}, devices: map[string]string{},
	}
	for _, name := range e.volumeNames() {
		v := e.volumes[name]
		j.volumes = append(j.volumes, v)
		j.sessions[v] = decidedOn(e.facts, name).Session
	}
	return j
}

// carryOut runs the steps in order.
func (e *engine) carryOut(ctx context.Context, r *run, j *job, steps []step, previous *run) {
	began := time.Now()
	var failed error
	for i, s := range steps {
		if i == 0 && r.procedure.Kind != ha.ProcedureRevoke || i == 1 {
			previous.end() // a revoke's first step waits for nobody
		}
		if r.stop.Load() || ctx.Err() != nil {
			failed = errAbandoned
			break
		}
		e.progress(ctx, r, i, "running", 0, nil)
		took, err := e.oneStep(ctx, j, s)
		state := "done"
		if err != nil {
			state = "failed"
		}
		e.progress(ctx, r, i, state, took, err)
		if err != nil && !s.optional {
			failed = fmt.Errorf("%s: %w", s.name, err)
			break
		}
	}
	if failed != nil && undoes(r.procedure.Kind) && !r.own && !errors.Is(failed, errAbandoned) { // what the engine completes by itself serves already
		j.undo()
	}
	e.finish(r, failed, time.Since(began))
}

// end stops a procedure after its current step; a step that does not end in 2 s is cancelled, and after 10 s left behind.
func (r *run) end() {
	if r == nil {
		return
	}
	r.stop.Store(true)
	soft, hard := time.NewTimer(2*time.Second), time.NewTimer(10*time.Second)
	defer soft.Stop()
	defer hard.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-soft.C:
			r.cancel()
		case <-hard.C:
			return
		}
	}
}

func (e *engine) oneStep(ctx context.Context, j *job, s step) (time.Duration, error) {
	began := time.Now()
	if s.guarded {
		if err := e.gate.check(j.procedure); err != nil {
			return 0, err
		}
	}
	point := string(j.procedure.Kind) + ":" + s.name
	e.shells.reached(point + ":before")
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	err := s.do(j, ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("not done within %v: %w", s.limit, err)
	}
	if err == nil {
		e.shells.reached(point + ":after")
	}
	return time.Since(began), err
}

// progress tells the loop how far the procedure is and waits for the decision after it.
func (e *engine) progress(ctx context.Context, r *run, i int, state string, took time.Duration, err error) {
	report := func() {
		s := &r.show.Steps[i]
		s.State = state
		r.fact.Step = s.Name
		if state == "running" {
			return
		}
		ms := took.Milliseconds()
		s.MS = &ms
		r.fact.Late = took > e.facts.Settings.DeadTime/2
		if s.Name == "mount" && err == nil && len(e.volumes) > 0 {
			r.fact.Mounted = true
		}
		if err != nil {
			s.Error = err.Error()
			e.log.Warn("step failed", "procedure", r.procedure.Kind, "step", s.Name, "error", err)
		}
	}
	if e.ask(ctx, 2*time.Second, report) != nil && ctx.Err() == nil && r.guarded {
		r.stop.Store(true) // a decision that does not come allows nothing; but what gives the role up goes on
	}
}

// finish reports the end.
func (e *engine) finish(r *run, failed error, took time.Duration) {
	take := e.readHeld()
	e.post(func() {
		take()
		r.fact.State, r.fact.EndedAt = ha.ProcedureDone, now()
		if failed != nil {
			r.fact.State, r.fact.Error = ha.ProcedureFailed, failed.Error()
		}
		r.show.State = string(r.fact.State)
		for i := range r.show.Steps {
			if r.show.Steps[i].State == "waiting" {
				r.show.Steps[i].State = "skipped"
			}
		}
		e.log.Info("procedure ended", "kind", r.procedure.Kind, "id", r.procedure.ID, "state", r.fact.State, "ms", took.Milliseconds(), "error", r.fact.Error)
		if !r.own && e.run == r {
			e.endOfProcedure(r, took)
		}
	})
}

// endOfProcedure keeps the measured times and tells the log.
func (e *engine) endOfProcedure(r *run, took time.Duration) {
	removeFile(filepath.Join(e.dir, procedureFile))
	if r.stop.Load() && r.fact.State != ha.ProcedureDone {
		e.note(control.Event{Log: "failover", Code: "procedure.abandoned", Severity: ha.Warning,
			Text: fmt.Sprintf("Procedure %s was abandoned after %d ms: %s.", r.procedure.Kind, took.Milliseconds(), r.fact.Error)})
		return
	}
	if r.fact.State != ha.ProcedureDone {
		e.note(control.Event{Log: "failover", Code: "procedure.failed", Severity: ha.Critical,
			Text: fmt.Sprintf("Procedure %s failed after %d ms at %s.", r.procedure.Kind, took.Milliseconds(), r.fact.Error)})
		return
	}
	text := fmt.Sprintf("Procedure %s done in %d ms:", r.procedure.Kind, took.Milliseconds())
	for _, s := range r.show.Steps {
		if s.MS != nil {
			text += fmt.Sprintf(" %s %d ms,", s.Name, *s.MS)
		}
	}
	e.note(control.Event{Log: "failover", Code: "procedure.done", Severity: ha.Info, Text: text[:len(text)-1] + "."})
	e.keepTimes(r, took)
}

// lastTimes is times.json: what each way took when it was gone last, in ms.
type lastTimes map[ha.ProcedureKind]struct {
	Total int64
	Steps []control.Step
}

func (e *engine) keepTimes(r *run, took time.Duration) {
	kind, steps := r.procedure.Kind, r.show.Steps
	e.goRun("times", func(context.Context) {
		path := filepath.Join(e.dir, timesFile)
		times := lastTimes{}
		_ = loadFile(path, &times) // absent or corrupt: begun anew, it is only for people
		entry := times[kind]
		entry.Total, entry.Steps = took.Milliseconds(), steps
		times[kind] = entry
		if err := saveFile(path, times); err != nil {
			e.log.Warn("times not kept", "error", err)
		}
	})
}

// A rehearsal names the point at which this process is to end, PROCEDURE:STEP:before or PROCEDURE:STEP:after, in this variable or, for an
// engine that runs already, in this file below the run folder.
const (
	dieAtVariable = "EVENKEEL_DIE_AT"
	dieAtFile     = "die-at"
)

// dieAt ends this process by SIGKILL at the point that a rehearsal names, once: the file is removed, and a marker stands for the variable. It works
// only where root's evenkeel.toml allows faults.
func (e *engine) dieAt(point string) {
	if !e.o.Config.Faults {
		return
	}
	file := filepath.Join(e.o.Config.RunDir, dieAtFile)
	marker := filepath.Join(e.o.Config.RunDir, "died")
	if data, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(data)) == point {
		removeFile(file)
	} else if os.Getenv(dieAtVariable) != point || os.Link(filepath.Join(e.o.Config.RunDir, bootFile), marker) != nil {
		return // not here, or it died already
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}
