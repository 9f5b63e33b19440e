package sim

import (
	"slices"
	"time"

	"evenkeel/ha"
)

// engine is the model of the engine process: it gathers facts, asks the machine, carries the plan out.
type engine struct {
	up         bool
	downTill   time.Duration
	pausedTill time.Duration
	kept       struct {
		beat                     *ha.Beat
		fresh, echoed, confirmed ha.Instant
	}
	machine  *ha.Machine
	plan     ha.Plan
	stepAt   time.Duration
	nextStep time.Duration
	started  ha.Instant
	fresh    bool // the first Step is still to come: Found is told
	proc     procedure
	probe    uint64
	probeAt  ha.Instant
	probeEnd ha.Instant
	kernelAt,
	addressAt ha.Instant
	ref      ha.ReferenceFact
	asked    []question
	askDue   time.Duration
	wishes   []ha.AdminRequest
	wishNo   uint64
	nextSend time.Duration
}

// question is one to the reference point; lost, it stays unanswered.
type question struct {
	at   ha.Instant
	lost bool
}

// procedure is what is being carried out.
type procedure struct {
	id       uint64
	plan     ha.Procedure
	sessions []uint64 // of the volumes, when it began
	step     int
	due      time.Duration
	state    ha.ProcedureState
	where    string
	fails    bool
	late     bool
}

// KillEngine kills the engine; it is back after d.
func (n *Node) KillEngine(d time.Duration) {
	if n.power && n.engine.up {
		plan, at := n.engine.plan, n.engine.stepAt
		plan.Notes, plan.Replies = nil, nil
		n.engine = engine{downTill: n.w.Now + d, plan: plan, stepAt: at}
	}
}

func (n *Node) startEngine() {
	say := n.engine.plan.Say
	n.engine = engine{up: true, machine: ha.NewMachine(n.durable), started: n.now(), fresh: true, stepAt: n.w.Now,
		ref: ha.ReferenceFact{Name: "gateway", State: ha.ReferenceUnknown}}
	n.engine.plan.Say = say
	if say.Role == "" {
		n.engine.plan.Say.Role = ha.Starting
	}
	n.engine.plan.Role = ha.Starting
}

func (n *Node) engineAge() time.Duration { return n.w.Now - n.engine.stepAt }

// Wish hands the engine an administrator's wish.
func (n *Node) Wish(kind ha.AdminKind, force bool) {
	n.engine.wishNo++
	n.engine.wishes = append(n.engine.wishes, ha.AdminRequest{Number: n.engine.wishNo, Kind: kind, Force: force, Volume: "data", By: "admin", At: n.now()})
}

func (n *Node) engineTick() {
	e := &n.engine
	if !e.up {
		if n.w.Now >= e.downTill {
			n.startEngine()
		}
		return
	}
	if n.w.Now < e.pausedTill {
		return
	}
	n.ask()
	n.probing()
	n.carryOut()
	if n.w.Now >= e.nextStep {
		n.step()
	}
}

// serviceTick is what a service writes.
func (n *Node) serviceTick() {
	if e := &n.engine; n.mounted && n.services && n.w.Now >= e.nextSend {
		e.nextSend = n.w.Now + 40*time.Millisecond
		for _, v := range n.vols {
			v.write()
		}
	}
}

// ask keeps the reference point asked, and takes its answers.
func (n *Node) ask() {
	e := &n.engine
	every := e.plan.AskReferences
	if every == 0 {
		every = time.Second
	}
	if e.askDue > n.w.Now+every {
		e.askDue = n.w.Now
	}
	if n.w.Now >= e.askDue {
		e.askDue = n.w.Now + every
		e.asked = append(e.asked, question{n.now(), n.w.GatewayLoss > 0 && n.w.Rand.Float64() < n.w.GatewayLoss})
	}
	for len(e.asked) > 0 {
		q := e.asked[0]
		switch age := n.now().Sub(q.at); {
		case age >= max(Tick, n.w.GatewayDelay) && n.referenced() && !q.lost:
			e.ref.State, e.ref.AskedAt = ha.ReferenceGood, q.at
		case age >= 150*time.Millisecond:
			e.ref.State, e.ref.AskedAt = ha.ReferenceBad, q.at
		default:
			return
		}
		e.asked = e.asked[1:]
	}
}

// probing plays the probe round that the plan asks for.
func (n *Node) probing() {
	e := &n.engine
	if e.plan.Probe != e.probe {
		e.probe, e.probeAt, e.probeEnd = e.plan.Probe, n.now(), 0
	}
	if e.probeAt == 0 || e.probeEnd != 0 {
		return
	}
	for _, c := range []string{"lan", "sync"} {
		if n.w.bothWays(c) && n.now() > e.probeAt {
			e.kernelAt = n.now()
		}
	}
	if n.w.bothWays("lan") && n.other().holds() {
		e.addressAt = n.now()
	}
	if n.now().Sub(e.probeAt) >= min(200*time.Millisecond, n.dead()/3) {
		e.probeEnd = n.now()
	}
}

func (n *Node) facts() ha.Facts {
	e, o := &n.engine, n.w.Options
	s := ha.Effective{Configured: ha.MasterSide, Active: true, Interval: o.Interval, DeadTime: n.deadTime, BootWait: o.BootWait, Mode: ha.Evidence, Armed: true}
	if n.index == 1 {
		s.Configured = ha.SlaveSide
	}
	if o.Availability {
		s.Mode = ha.Availability
	}
	s.OwnDeadTime, s.OwnMode = s.DeadTime, s.Mode
	s.Hold = s.Promise() + 7*time.Second
	if h := &n.heart; h.newest != nil {
		e.kept.beat, e.kept.fresh, e.kept.echoed = h.newest, h.fresh, h.echoed
	}
	e.kept.confirmed = max(e.kept.confirmed, n.heart.confirmed)
	f := ha.Facts{
		Now: n.now(), Wall: int64(n.w.Now/time.Second) + 1e9, Node: n.ID, Peer: n.other().ID, Boot: n.boot, Settings: s.Stricter(e.kept.beat),
		Heart: n.heartFacts(), NoVolumes: o.NoVolume, Durable: n.durable, Requests: e.wishes, EngineStarted: e.started,
		Addresses: []ha.AddressFact{{Address: "10.88.1.100/24", Device: "lan", Held: n.holds()}},
	}
	if !o.NoReference {
		f.References = []ha.ReferenceFact{e.ref}
	}
	f.Other = ha.PeerFacts{Beat: e.kept.beat, FreshAt: e.kept.fresh, Confirmed: e.kept.confirmed, EchoedSent: e.kept.echoed,
		KernelAt: e.kernelAt, AddressAt: e.addressAt, ProbeBegan: e.probeAt, ProbeEnded: e.probeEnd}
	for _, v := range n.vols {
		f.Other.VolumeAckAt = max(f.Other.VolumeAckAt, v.ackAt)
	}
	if !o.NoVolume {
		for _, v := range n.vols {
			f.Volumes = append(f.Volumes, v.fact())
		}
		n.snapshots(&f)
	}
	if e.proc.id != 0 {
		f.Procedure = &ha.ProcedureFact{ID: e.proc.id, Kind: e.proc.plan.Kind, State: e.proc.state, Step: e.proc.where, Mounted: n.mounted, Late: e.proc.late, Error: "made to fail"}
	}
	if e.fresh {
		f.Found = &ha.Found{Addresses: n.holds(), Mounted: n.mounted, Primary: n.anyPrimary() && !o.NoVolume,
			Services: n.services, SameBoot: n.durable.ServingBoot == n.boot}
	}
	return f
}

func (n *Node) anyPrimary() bool {
	return slices.ContainsFunc(n.vols, func(v *volume) bool { return v.running && v.role == ha.Primary })
}

func (n *Node) allPrimary() bool {
	return !slices.ContainsFunc(n.vols, func(v *volume) bool { return v.role != ha.Primary })
}

// snapshots exchanges the generation sets over whatever link lives.
func (n *Node) snapshots(f *ha.Facts) {
	if !n.engine.plan.AskSnapshots || !n.other().running() {
		return
	}
	for _, c := range Cables {
		if !n.w.bothWays(c) {
			continue
		}
		f.Other.Snapshots = map[string]ha.Comparison{}
		for i, v := range n.vols {
			if peer := n.other().vols[i]; v.running && peer.running {
				f.Other.Snapshots[v.name] = compare(v, peer)
			}
		}
		return
	}
}

// step is one decision and what it changes at once.
func (n *Node) step() {
	e := &n.engine
	f := n.facts()
	p := e.machine.Step(f)
	e.fresh = false
	e.plan, e.stepAt = p, n.w.Now
	e.nextStep = n.w.Now + min(p.Again, 50*time.Millisecond)
	if p.Store != nil {
		n.durable = *p.Store
	}
	for _, note := range p.Notes {
		n.w.logf(n, "%s", note.Text)
	}
	for _, r := range p.Replies {
		n.w.logf(n, "reply done=%v refused=%v: %s", r.Done, r.Refused, r.Text)
		n.answered(r)
	}
	for _, w := range p.Volumes {
		n.tell(w)
	}
	if !p.Addresses {
		n.address = false
	}
	n.heart.due = [3]time.Duration{} // what is new is said at once
	if p.Procedure != nil && p.Procedure.ID != e.proc.id {
		n.begin(*p.Procedure)
	}
	if p.Role == ha.Master && p.Addresses && (p.Procedure == nil) {
		n.address, n.addressTo = true, max(n.addressTo, n.w.Now+2*time.Second)
		n.services = n.services || n.mounted && p.Services == ha.MasterSide
	}
}

func (n *Node) answered(r ha.Reply) {
	for i, w := range n.engine.wishes {
		if w.Number == r.Number {
			n.engine.wishes = append(n.engine.wishes[:i:i], n.engine.wishes[i+1:]...)
			n.left = n.left || w.Kind == ha.WishLeave && r.Done
			return
		}
	}
}

// tell brings a volume's wish to the volume.
func (n *Node) tell(w ha.VolumeWish) {
	v := n.vols[slices.IndexFunc(n.vols, func(v *volume) bool { return v.name == w.Name })]
	if !v.running {
		return
	}
	if w.PeerOutdated != nil {
		v.peerRecord = "outdated"
	}
	switch {
	case w.Revoke && v.role == ha.Primary:
		v.revoke()
	case n.w.Now < v.busyTill:
		return
	case v.role == ha.Primary && w.Permit != v.permission && !v.connected:
		v.permission = w.Permit
	case w.EndLicence != "" && v.role == ha.Secondary && !v.connected && v.disk == ha.UpToDate:
		v.disk = ha.Consistent
	}
	if w.Outdate != nil {
		v.outdate(*w.Outdate, n.engine.kept.beat.Boot)
	}
	if w.Leave {
		v.leave()
	}
}

// steps are the names of the steps of each procedure.
var steps = map[ha.ProcedureKind][]string{
	ha.ProcedurePromote: {"volumes", "mount", "addresses", "services"},
	ha.ProcedureDemote:  {"services", "addresses", "unmount", "volumes"},
	ha.ProcedureRevoke:  {"kill", "unmount"},
	ha.ProcedureRecover: {"services", "volumes", "mount"},
}

func (n *Node) begin(p ha.Procedure) {
	e := &n.engine
	e.proc = procedure{id: p.ID, plan: p, sessions: n.sessions(), state: ha.ProcedureRunning, due: n.w.Now + n.w.between(20*time.Millisecond, 200*time.Millisecond)}
	e.proc.where = steps[p.Kind][0]
	if p.Kind == ha.ProcedureRevoke {
		n.address, n.services = false, false
		for _, v := range n.vols {
			if v.running && v.role == ha.Primary {
				v.revoke()
			}
		}
	}
	if p.Kind == ha.ProcedurePromote {
		e.proc.fails = n.w.Rand.Float64() < n.w.Options.FailMount
	}
}

// carryOut takes the next step of the procedure when it is due.
func (n *Node) carryOut() {
	p := &n.engine.proc
	if p.id == 0 || p.state != ha.ProcedureRunning || n.w.Now < p.due {
		return
	}
	if n.engine.plan.Procedure == nil || n.engine.plan.Procedure.ID != p.id {
		p.id = 0
		return
	}
	p.late = n.w.Now-p.due >= n.dead()/2
	if p.late {
		p.due = n.w.Now + n.w.between(20*time.Millisecond, 200*time.Millisecond)
		n.engine.nextStep = n.w.Now // the machine is asked again before the next step
		return
	}
	name := steps[p.plan.Kind][p.step]
	for _, v := range n.vols {
		if name == "volumes" {
			p.due = max(p.due, v.busyTill)
		}
	}
	if n.w.Now < p.due {
		return
	}
	p.due = n.w.Now + n.w.between(20*time.Millisecond, 200*time.Millisecond)
	p.where = name
	if !n.do(name, p) {
		p.state = ha.ProcedureFailed
		return
	}
	p.step++
	if p.step == len(steps[p.plan.Kind]) {
		p.state = ha.ProcedureDone
		n.engine.nextStep = n.w.Now
		return
	}
}

func (n *Node) sessions() (list []uint64) {
	for _, v := range n.vols {
		list = append(list, v.session)
	}
	return list
}

// do carries out one step.
func (n *Node) do(name string, p *procedure) bool {
	up := p.plan.Kind == ha.ProcedurePromote || p.plan.Kind == ha.ProcedureRecover
	switch name {
	case "volumes":
		if n.w.Options.NoVolume {
			return true
		}
		for i, v := range n.vols {
			order := p.plan
			if v.session != p.sessions[i] {
				order.Permit = "" // they met again since
			}
			switch {
			case !up:
				v.demote()
			case v.role != ha.Primary && !v.promote(order):
				return false
			}
		}
	case "mount":
		if p.fails || !n.w.Options.NoVolume && !n.allPrimary() {
			return false
		}
		n.mounted = true
		n.services = n.services || p.plan.Kind == ha.ProcedureRecover
	case "addresses":
		n.address = up && n.engine.plan.Addresses
		n.addressTo = n.w.Now + 2200*time.Millisecond
	case "services":
		n.services = up && p.plan.Kind == ha.ProcedurePromote
	case "kill":
		n.services, n.address = false, false
	case "unmount":
		n.mounted = false
	}
	return true
}
