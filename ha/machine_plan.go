package ha

import "time"

// plan puts together what follows from the state that this decision has reached.
func (t *turn) plan() Plan {
	p := &t.p
	t.forget()
	if !t.durable.equal(t.f.Durable) {
		d := t.durable.clone()
		p.Store = &d
	}
	if t.proc != nil {
		proc := *t.proc
		p.Procedure = &proc
	}
	t.wishVolumes()
	p.Role, p.Reason, p.Verdict = t.role, t.reason, t.peer.verdict
	t.why(t.reason)
	p.Addresses = t.holdsAddresses()
	p.Services = SlaveSide
	switch t.role {
	case Promoting, Master:
		p.Services = MasterSide
	case Demoting, Failed:
		p.Services = ""
	}
	p.Probe = t.peer.probe
	if t.askEvery() || t.waitsForReference() {
		p.AskReferences = max(t.d/10, 20*time.Millisecond)
	}
	p.Takeover = t.takeover()
	t.conditions()
	p.Attention = t.role == Master && !t.healthy() && (t.beat == nil || !t.beat.Healthy)
	t.say()
	p.Again = t.again()
	return t.p
}

// holdsAddresses says whether virtual addresses may be held: by a node that serves, or is on its orderly way down.
func (t *turn) holdsAddresses() bool {
	return t.holdsPrimary() && !t.addressesOff && !t.yielding
}

// waitsForReference says whether only a reference point's answer keeps a node without volumes from serving.
func (t *turn) waitsForReference() bool {
	return t.f.NoVolumes && !t.serves() && t.beat == nil && t.peer.verdict != PeerAlive
}

// wishVolumes says what each volume is told.
func (t *turn) wishVolumes() {
	for _, v := range t.f.Volumes {
		m := t.memory(v.Name)
		w := VolumeWish{Name: v.Name, Leave: t.leaveNow() && v.Role == Secondary && v.Connected}
		switch {
		case t.holdsPrimary():
			w.Permit = string(m.permit)
			w.PeerOutdated = copied(m.answer)
		case v.Role == Primary && (t.role == Demoting || t.role == Failed || t.since(t.roleSince) >= time.Second):
			w.Revoke = true
		case v.Licence && !v.Connected:
			w.EndLicence = m.endLicence
		}
		if t.outdating {
			w.PeerOutdated = copied(m.answer)
		}
		t.p.Volumes = append(t.p.Volumes, w)
	}
	if t.beat == nil {
		return
	}
	for _, r := range t.beat.Requests {
		if r.Kind != AskOutdate {
			continue
		}
		wish, answer := t.answer(r)
		if answer != nil {
			t.p.Say.Answers = append(t.p.Say.Answers, *answer)
		}
		for i := range t.p.Volumes {
			if wish != nil && t.p.Volumes[i].Name == r.Volume {
				t.p.Volumes[i].Outdate = wish
			}
		}
	}
}

// say fills the beat.
func (t *turn) say() {
	s, e := &t.p.Say, t.f.Settings
	s.Epoch, s.Role = t.durable.Epoch, t.role
	if t.role == Master || t.role == Promoting || t.role == Demoting {
		s.Epoch = t.own
	}
	if t.procedure() == ProcedureRunning {
		s.Phase = t.f.Procedure.Step
	}
	s.Armed, s.Attention, s.Healthy, s.Leaving = t.durable.Armed, t.p.Attention, t.healthy(), t.leaving
	s.Reaches = t.reaches(t.f.Now.Add(-reachAge))
	s.Mode, s.DeadTime = e.OwnMode, e.OwnDeadTime
	if s.DeadTime == 0 {
		s.Mode, s.DeadTime = e.Mode, e.DeadTime
	}
	s.Revision, s.Digest, s.Version = e.Revision, e.Digest, e.Version
	if t.saysRelease() {
		s.Release = copied(t.release)
		if t.parted != nil {
			t.parted.saidAt = t.f.Now
		}
	}
	s.HandedBack = copied(t.back)
	t.sayVolumes(s)
	if t.ask != nil {
		s.Requests = append(s.Requests, Request{Number: t.ask.number, Kind: AskSwitchover, Epoch: t.durable.Epoch})
	}
	t.answerSwitchover(s)
}

func (t *turn) sayVolumes(s *Saying) {
	for _, v := range t.f.Volumes {
		left, known := t.durable.LeftInSync[v.Name]
		s.Volumes = append(s.Volumes, VolumeSaying{
			Name: v.Name, Generation: v.Generation, Role: v.Role, Disk: v.Disk, Connected: v.Connected,
			LastPrimary: v.LastPrimary, Promise: t.promise(v), LeftInSync: known && left == v.Generation,
		})
		if m := t.memory(v.Name); m.request != nil && m.answer == nil {
			s.Requests = append(s.Requests, *m.request)
		}
	}
}

// answerSwitchover says why the peer does not get the role that it asks for; agreement is said by "released".
func (t *turn) answerSwitchover(s *Saying) {
	if t.beat == nil || t.role != Master {
		return
	}
	for _, r := range t.beat.Requests {
		if why := t.releaseBlocker(); r.Kind == AskSwitchover && why != "" {
			s.Answers = append(s.Answers, Answer{
				Number: r.Number, Boot: t.beat.Boot, Kind: r.Kind, Result: AnsweredRefused, Reason: why, Epoch: t.own,
			})
		}
	}
}

// healthy says whether nothing keeps this node from serving well: no promotion failed lately, its own state can be stored, and every volume has a
// working disk.
func (t *turn) healthy() bool {
	if t.f.Now < t.retryAt || t.role == Failed || t.f.Unstored {
		return false
	}
	for _, v := range t.f.Volumes {
		if !v.Running || v.Disk == Diskless || v.Disk == DiskFailed || v.BlockedReason != "" {
			return false
		}
	}
	return true
}

// again is how soon the next decision is due although no fact changed: often while something is open.
func (t *turn) again() time.Duration {
	open := t.peer.verdict != PeerAlive || t.proc != nil || t.wish != nil || t.ask != nil || t.role == Starting || t.neitherSince != 0
	if open {
		return min(50*time.Millisecond, max(t.d/20, 10*time.Millisecond))
	}
	return 200 * time.Millisecond
}

// takeover answers "could this node become, or stay, master now": by a switch-over, or on the peer's death.
func (t *turn) takeover() Takeover {
	var why []Reason
	switch t.role {
	case Master:
		why = []Reason{ReasonAlreadyMaster}
	case Promoting:
		why = []Reason{ReasonPromoting}
	case Demoting:
		why = []Reason{ReasonDemoting}
	case Failed:
		why = []Reason{ReasonFailed}
	default:
		why = t.standingBlockers()
	}
	out := Takeover{Possible: len(why) == 0 || t.role == Master, Blockers: []Blocker{}}
	for _, r := range why {
		out.Blockers = append(out.Blockers, blocker(r))
	}
	return out
}

// standingBlockers lists what stands against this node while it does not serve.
func (t *turn) standingBlockers() []Reason {
	all := append(t.policyBlockers(), t.dataBlockers()...)
	if t.f.Now < t.retryAt {
		all = append(all, ReasonPromoteFailed)
	}
	switch {
	case t.peer.hasFailed:
		all = append(all, ReasonPeerFailed)
	case t.beat == nil && t.needsReference() && len(t.f.References) == 0:
		all = append(all, ReasonNoReference)
	case t.beat == nil && t.f.Now < t.secluded:
		all = append(all, ReasonCutOffLately)
	case t.gone() && t.needsReference() && !t.referenceSteady() && !t.peer.refused:
		all = append(all, ReasonReferenceLost)
	}
	if len(all) == 0 && t.role == Blocked {
		all = append(all, t.reason)
	}
	var once []Reason
	seen := map[Reason]bool{}
	for _, r := range all {
		if !seen[r] {
			seen[r] = true
			once = append(once, r)
		}
	}
	return once
}

// Outcome is the answer of a dry run: what would happen.
type Outcome struct {
	Possible bool
	Blockers []Blocker
	// Steps are the procedures that would run, in order; those before Here run on the peer.
	Steps []ProcedureKind
	// Reply is what the wish would be answered at once; nil = it would begin.
	Reply *Reply
}

// DryRun says what would come of a wish on these facts. The machine stays as it is.
func (m *Machine) DryRun(f Facts, wish AdminRequest) Outcome {
	if wish.Number == 0 {
		wish.Number = 1<<64 - 1
	}
	f.Requests = []AdminRequest{wish}
	c := m.Clone()
	c.wish = nil
	p := c.Step(f)
	out := Outcome{Possible: true, Blockers: []Blocker{}}
	for i := range p.Replies {
		if r := p.Replies[i]; r.Number == wish.Number {
			out.Reply = &r
			out.Possible = r.Done
		}
	}
	if !out.Possible {
		out.Blockers = append(out.Blockers, Blocker{Code: string(out.Reply.Code), Text: out.Reply.Text})
		return out
	}
	switch {
	case out.Reply != nil && p.Procedure == nil:
	case c.ask != nil:
		out.Steps = []ProcedureKind{ProcedureDemote, ProcedurePromote}
	case p.Procedure != nil && p.Procedure.Kind == ProcedureDemote:
		out.Steps = []ProcedureKind{ProcedureDemote}
		if c.hand.release {
			out.Steps = append(out.Steps, ProcedurePromote)
		}
	case p.Procedure != nil:
		out.Steps = []ProcedureKind{p.Procedure.Kind}
	}
	return out
}
