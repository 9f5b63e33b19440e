package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"sync"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// orderLimit is how long an administrator's wish may take in all.
const orderLimit = 90 * time.Second

// orderBook holds the administrators' wishes that the machine has not answered.
type orderBook struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]*order
	queue   []uint64 // in order of arrival
}

type order struct {
	request ha.AdminRequest
	answer  chan ha.Reply // one reply
}

// add takes a wish in.
func (b *orderBook) add(r ha.AdminRequest) *order {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = max(b.last+1, uint64(now())) // new also after a restart
	r.Number = b.last
	o := &order{request: r, answer: make(chan ha.Reply, 1)}
	b.waiting[r.Number] = o
	b.queue = append(b.queue, r.Number)
	return o
}

// requests are the wishes in order of arrival.
func (b *orderBook) requests() []ha.AdminRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []ha.AdminRequest
	for _, number := range b.queue {
		list = append(list, b.waiting[number].request)
	}
	return list
}

// reply ends a wish.
func (b *orderBook) reply(r ha.Reply) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o := b.waiting[r.Number]; o != nil {
		o.answer <- r
		b.drop(r.Number)
	}
}

// drop forgets a wish; the lock is held.
func (b *orderBook) drop(number uint64) {
	delete(b.waiting, number)
	for i, n := range b.queue {
		if n == number {
			b.queue = append(b.queue[:i], b.queue[i+1:]...)
			return
		}
	}
}

// withdraw forgets a wish that nobody waits for any more.
func (b *orderBook) withdraw(o *order) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(o.request.Number)
}

// wish hands an administrator's wish to the machine and waits for its reply.
func (e *engine) wish(ctx context.Context, r ha.AdminRequest) (control.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, orderLimit)
	defer cancel()
	began := time.Now()
	r.At = now()
	o := e.orders.add(r)
	defer e.orders.withdraw(o)
	e.post(func() {}) // a decision at once
	select {
	case reply := <-o.answer:
		return e.outcome(reply, time.Since(began))
	case <-ctx.Done():
		return control.Outcome{}, &control.Error{Exit: control.ExitFailed, Code: "timed_out",
			Text: fmt.Sprintf("The node did not get it done within %v: see the status and the log.", orderLimit)}
	case <-e.ctx.Done():
		return control.Outcome{}, &control.Error{Exit: control.ExitNotRunning, Code: "stopping", Text: "The engine is being stopped: try again when it runs."}
	}
}

// beganSlack is how far the two clocks of a wish and of its procedure may be read apart.
const beganSlack = 5 * time.Millisecond

// outcome makes the API's answer of a reply.
func (e *engine) outcome(r ha.Reply, took time.Duration) (control.Outcome, error) {
	text := orElse(r.Text, r.Code.Text())
	if !r.Done {
		exit := control.ExitFailed
		if r.Refused {
			exit = control.ExitRefused
		}
		return control.Outcome{}, &control.Error{Exit: exit, Code: string(r.Code), Text: text}
	}
	out := control.Outcome{Done: true, Text: text, Code: string(r.Code), Took: took.Milliseconds()}
	if v := e.view.Load(); v != nil {
		out.Role = runningRole(v.plan.Role)
		if v.procedure != nil && !v.procedure.Began.Before(time.Now().Add(-took-beganSlack)) { // an earlier move's steps are not this one's
			out.Steps = v.procedure.Steps
		}
	}
	return out, nil
}

// move is takeover and release: a preview, or the act.
func (e *engine) move(ctx context.Context, kind ha.AdminKind, o control.Order) (control.Outcome, error) {
	request := ha.AdminRequest{Kind: kind, Force: o.Force, By: o.By}
	preview, err := e.preview(ctx, request)
	if err != nil || o.DryRun {
		return preview, err
	}
	if o.Force && o.Confirm != string(e.node) {
		return control.Outcome{}, &control.Error{Exit: control.ExitUsage, Code: "not_confirmed",
			Text: fmt.Sprintf("Starting with this node's data may lose what only the other node holds: confirm with this node's name, %s.", e.node)}
	}
	if o.Digest != "" && o.Digest != preview.Digest {
		return preview, &control.Error{Exit: control.ExitRefused, Code: "preview_stale",
			Text: "What was shown is no longer so: look at the new preview and confirm again."}
	}
	return e.wish(ctx, request)
}

// preview asks the machine what would happen now.
func (e *engine) preview(ctx context.Context, request ha.AdminRequest) (control.Outcome, error) {
	var out control.Outcome
	request.At = now()
	err := e.ask(ctx, 5*time.Second, func() {
		f := e.gather()
		dry := e.machine.DryRun(f, request)
		out = control.Outcome{Text: "Nothing speaks against it.", Code: "possible", Role: runningRole(e.plan.Role),
			Blockers: append([]ha.Blocker{}, dry.Blockers...), Digest: previewDigest(f, e.plan, dry.Blockers)}
		switch {
		case dry.Reply != nil:
			out.Text, out.Code = orElse(dry.Reply.Text, dry.Reply.Code.Text()), string(dry.Reply.Code)
		case !dry.Possible && len(dry.Blockers) > 0:
			out.Text, out.Code = dry.Blockers[0].Text, dry.Blockers[0].Code
		}
	})
	if err != nil {
		return out, &control.Error{Exit: control.ExitFailed, Code: "no_answer", Text: err.Error()}
	}
	kind := ha.ProcedurePromote
	if request.Kind == ha.WishRelease {
		kind = ha.ProcedureDemote
	}
	e.quoteTimes(&out, kind)
	return out, nil
}

// quoteTimes fills in what the last run of the same way took.
func (e *engine) quoteTimes(out *control.Outcome, kind ha.ProcedureKind) {
	times := lastTimes{}
	if loadFile(filepath.Join(e.dir, timesFile), &times) == nil {
		if last, known := times[kind]; known {
			out.Steps, out.ExpectedGapMS = last.Steps, &last.Total
			return
		}
	}
	out.Steps = []control.Step{}
	for _, s := range stepsOf(kind) {
		out.Steps = append(out.Steps, control.Step{Name: s.name, State: "waiting"})
	}
}

// previewDigest names what a preview was computed from: roles, epoch, disks, blockers.
func previewDigest(f ha.Facts, p ha.Plan, blockers []ha.Blocker) string {
	type disk struct{ Name, Disk, Peer string }
	basis := struct {
		Role, PeerRole ha.Role
		Epoch          ha.Epoch
		Disks          []disk
		Blockers       []ha.Blocker
	}{Role: p.Role, Epoch: f.Durable.Epoch, Blockers: blockers}
	if f.Other.Beat != nil && p.Verdict == ha.PeerAlive {
		basis.PeerRole = f.Other.Beat.Role
	}
	for _, v := range f.Volumes {
		basis.Disks = append(basis.Disks, disk{v.Name, string(v.Disk), string(v.PeerDisk)})
	}
	data, _ := json.Marshal(basis) // plain values
	return fmt.Sprintf("%08x", crc32.Checksum(data, castagnoli))
}

// volumeVerb carries out a person's word to one volume.
func (e *engine) volumeVerb(ctx context.Context, name, verb string, o control.VolumeOrder) (control.Outcome, error) {
	var v *volume
	if err := e.ask(ctx, 5*time.Second, func() { v = e.volumes[name] }); err != nil {
		return control.Outcome{}, &control.Error{Exit: control.ExitFailed, Code: "no_answer", Text: err.Error()}
	}
	if v == nil {
		return control.Outcome{}, &control.Error{Exit: control.ExitUsage, Code: "no_such_volume",
			Text: fmt.Sprintf("There is no volume %q in the settings: see the list of volumes.", name)}
	}
	if verb == "continue" {
		return e.goOnAlone(ctx, name, o)
	}
	call, err := e.verbCall(v, verb, o)
	if err != nil {
		return control.Outcome{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, limitVolumes)
	defer cancel()
	began, before := time.Now(), v.last()
	if err := call(ctx); err != nil {
		return control.Outcome{}, volumeError(name, verb, err)
	}
	e.note(control.Event{Log: "failover", Code: "volume." + verb, Severity: ha.Info, Text: fmt.Sprintf("Volume %s: %s, ordered by %s.", name, verb, orElse(o.By, "root"))})
	return control.Outcome{Done: true, Code: "done", Text: verbDone(name, verb, before), Took: time.Since(began).Milliseconds()}, nil
}

// verbDone says what a verb has brought about; before is the volume as it was. Connecting takes the other side: what that one, or the comparison, said last
// is likely to stand in the way again.
func verbDone(name, verb string, before VolumeState) string {
	text := fmt.Sprintf("Volume %s: %s is done.", name, verb)
	switch {
	case verb != "connect" || before.Fact.Connected:
	case before.Fact.Disk == ha.DiskFailed:
		text = fmt.Sprintf("Volume %s: its process starts anew and looks for its disk; `evenkeel volume list` tells what it found.", name)
	case before.Problem != "" && before.ProblemCode != problemRevoked && before.ProblemCode != problemBacking && !before.Stuck:
		text += " It was apart because of this, which may still stand: " + before.Problem + "."
	}
	return text
}

// The volume's codes (replication/control, ProblemCode) for a role that was taken away, and for another backing device that is configured: they keep
// nobody from connecting.
const (
	problemRevoked = "revoked"
	problemBacking = "backing_waits"
)

// connectCall connects to the other copy, if a word is all that it needs. A disk that failed is used again by a new process only, which opens it as after a
// crash: nothing that the old one had under way comes after that.
func (v *volume) connectCall() (volumeCall, error) {
	s := v.last()
	refuse := func(code, text string) (volumeCall, error) {
		return nil, &control.Error{Exit: control.ExitRefused, Code: code, Text: fmt.Sprintf("Volume %s is not connected: %s", v.setting.Name, text)}
	}
	switch {
	case s.Fact.Disk == ha.DiskFailed: // before a split-brain: without a disk nobody can end that
		return func(ctx context.Context) error { return v.handle.Kill(ctx, s.PID) }, nil
	case s.Fact.SplitBrain:
		return refuse("split_brain", "both copies were written without each other. End that first: `evenkeel volume resolve`.")
	case s.Fact.Disk == ha.Diskless:
		return refuse("no_disk", "it has no disk here. "+orElse(s.Problem, "It looks for it")+"; it connects by itself when the disk is there.")
	}
	return v.handle.Connect, nil
}

func (e *engine) goOnAlone(ctx context.Context, name string, o control.VolumeOrder) (control.Outcome, error) {
	if peer := e.view.Load().peer; o.Confirm != string(peer) {
		return control.Outcome{}, &control.Error{Exit: control.ExitUsage, Code: "not_confirmed",
			Text: fmt.Sprintf("Going on alone may split the data if the other node writes too: confirm with the other node's name, %s.", peer)}
	}
	return e.wish(ctx, ha.AdminRequest{Kind: ha.WishContinue, Volume: name, By: o.By})
}

func (e *engine) verbCall(v *volume, verb string, o control.VolumeOrder) (volumeCall, error) {
	switch verb {
	case "connect":
		return v.connectCall()
	case "disconnect":
		return v.handle.Disconnect, nil
	case "pause":
		return v.handle.Pause, nil
	case "resume":
		return v.handle.Resume, nil
	case "detach":
		return func(ctx context.Context) error { return v.handle.Detach(ctx, o.Force) }, nil
	case "resolve":
		return e.resolveCall(v, o)
	}
	return nil, &control.Error{Exit: control.ExitUsage, Code: "no_such_verb",
		Text: fmt.Sprintf("A volume knows no %q: use continue, resolve, connect, disconnect, detach, pause or resume.", verb)}
}

// resolveCall ends a split-brain: this side is told whose history goes; the other hears the same from its own engine.
func (e *engine) resolveCall(v *volume, o control.VolumeOrder) (volumeCall, error) {
	peer := e.view.Load().peer
	if o.Discard != string(e.node) && o.Discard != string(peer) {
		return nil, &control.Error{Exit: control.ExitUsage, Code: "no_such_node",
			Text: fmt.Sprintf("Name the node whose history goes: %s or %s.", e.node, peer)}
	}
	if o.Confirm != o.Discard {
		return nil, &control.Error{Exit: control.ExitUsage, Code: "not_confirmed",
			Text: fmt.Sprintf("What only %s wrote will be replaced: confirm with that node's name, typed again.", o.Discard)}
	}
	if !v.fact().SplitBrain {
		return nil, &control.Error{Exit: control.ExitRefused, Code: "no_split_brain",
			Text: fmt.Sprintf("Volume %s is not in a split-brain: there is no history to choose, and nothing was changed.", v.setting.Name)}
	}
	local := o.Discard == string(e.node)
	if local && v.fact().Role == ha.Primary {
		return nil, &control.Error{Exit: control.ExitRefused, Code: "primary",
			Text: fmt.Sprintf("Node %s serves this volume: make the other node the master first, or discard the other's history.", e.node)}
	}
	return func(ctx context.Context) error {
		if err := e.relayResolve(ctx, v.setting.Name, o); err != nil {
			return err
		}
		return v.handle.Resolve(ctx, local)
	}, nil
}

func volumeError(name, verb string, err error) error {
	var refused *control.Error
	if errors.As(err, &refused) {
		return refused
	}
	return &control.Error{Exit: control.ExitFailed, Code: "volume_failed", Text: fmt.Sprintf("Volume %s: %s failed: %v.", name, verb, err)}
}
