package ha

import (
	"maps"
	"slices"
	"time"
)

// Machine is the decision who is master. It holds what one decision leaves for the next; everything else comes in as [Facts]. It is
// not safe for use by two goroutines: one loop owns it.
type Machine struct {
	durable Durable // what is, or with the next plan will be, stored
	role    Role
	reason  Reason

	own       Epoch // the epoch under which this node serves, or served last
	roleSince Instant
	proc      *Procedure
	after     Role // the role that a running demotion ends in
	hand      hand // what a running demotion says when it ends
	entitled  bool // the last promotion carried its permission, and no other master was seen since
	release   *Release
	parted    *parting // release is a parting word; nil = it is not
	back      *Epoch   // "handed back" is being said for this epoch

	failures int     // promotions that failed in a row
	retryAt  Instant // no promotion of our own before this
	stopAt   Instant // when a failed stop is tried again

	isolations int     // revokes for being cut off since the peer was heard, or since a mastership that lasted
	cutOffAt   Instant // the newest of them; zero = none
	secluded   Instant // until then silence alone promotes nobody here

	peer    peerMemory
	points  referenceMemory
	bound   promiseMemory
	volumes map[string]*volumeMemory
	links   map[string]LinkState

	numbered     uint64   // the newest request's number
	releaseSeen  Instant  // since when the peer's "released" waits for us; zero = it does not
	neitherSince Instant  // since when both live and neither serves; zero = not so
	outdating    bool     // the peer is being asked to store Outdated before this node starts
	ask          *asking  // our own AskSwitchover
	wish         *waiting // an administrator's wish that is being carried out
	leaving      bool
	armedAt      Instant // when a person changed the arming here last
	inSync       Instant // since when a failback could be asked for; zero = not now

	rivalSince   Instant // both serve since then; zero = no
	certainAt    Instant // when a permission stood last
	settledWake  Instant // the lateness that has been dealt with
	addressesOff bool    // late: virtual addresses stay off until somebody confirms
	yielding     bool    // both serve and ours may be the data that stay: addresses off until the comparison
}

// hand says what a demotion's end tells the peer.
type hand struct {
	release bool
	noLone  bool
	request uint64
	back    bool
	passing bool // the release is said to a peer that this node does not hear: see partingHand
}

// parting is the state of a release that was said to a peer that this node did not hear.
type parting struct {
	since    Instant // when it was said first
	saidAt   Instant // the newest plan that said it
	recalled bool    // it is said no more
}

// asking is a request to the peer for the role.
type asking struct {
	number uint64
	until  Instant
}

// waiting is a wish that has begun and is not answered yet.
type waiting struct {
	AdminRequest
	until Instant
}

// peerMemory is what is remembered of the other node between two decisions.
type peerMemory struct {
	verdict   PeerVerdict
	why       Reason
	ripe      bool    // sick for so long, and so clearly not serving, that it counts as dead
	suspectAt Instant // since when every link is quiet; zero = not suspect
	deadAt    Instant // since when the verdict is dead, or ripe
	probe     uint64  // number of the newest probe round that was asked for
	probeAt   Instant // when it was asked for
	probeFor  Instant // the beginning of the silence that it is for
	roundAt   Instant // beginning of the newest probe round that was completed
	goneAt    Instant // since when its beats say that its engine is gone
	wake      Instant // end of the newest lateness of D/2 or more of our own
	slept     Instant // end of the newest of D or more
	heart     Instant // start of the heart process that was seen last
	engineAt  Instant // since when its engine has been heard without a gap; zero = it is not
	// confirmed is when we sent the newest beat that the peer confirmed; kept here, because a restarted heart knows of none.
	confirmed Instant
	// masterBoot is the boot in which it was last heard as Master or Promoting.
	masterBoot BootName
	wasMaster  bool
	hasFailed  bool
	armed      bool     // what its newest fresh beat said
	armedBoot  BootName // in which boot it said so
	refused    bool     // the decision on its present silence was "no"
}

// promiseMemory is the longest P that this node's beats may still bind it to.
type promiseMemory struct {
	longest time.Duration
	until   Instant // when the last beat that said so is no longer counted on
}

// referenceMemory is what is remembered of the reference points.
type referenceMemory struct {
	goodAt      Instant // when the newest question was asked that some point answered
	steadySince Instant // since when an answer that counts has been at hand without a gap; zero = none is
}

// volumeMemory is what is remembered of one volume.
type volumeMemory struct {
	permit      Reason   // lone acknowledgement is permitted for this
	session     uint64   // the session whose loss permit, request and sureAt belong to
	request     *Request // AskOutdate that stands in our beats
	answer      *Answer  // what the peer answered to it
	sureAt      Instant  // newest fresh beat that said Connected while this side was Connected too
	seenPrimary bool     // seen as Primary in this mastership
	oddSince    Instant  // Master, but the volume is away or Secondary, since then
	endLicence  Reason
	lapsed      bool    // the peer's promises had a gap since both were connected
	asked       asked   // the peer's newest request to store Outdated
	askedAt     Instant // when it was heard first
	// promised is until when the peer acknowledges nothing alone by what its beats have promised, counted for the worst; zero = it never was heard.
	promised Instant
}

// asked names a request of the peer's.
type asked struct {
	number uint64
	boot   BootName
}

// NewMachine makes the machine of a node that starts with the record d. A node without a record starts with Durable{Armed: true}.
func NewMachine(d Durable) *Machine {
	m := &Machine{
		durable: d.clone(), role: Starting, reason: ReasonStarting, own: d.Epoch,
		volumes: map[string]*volumeMemory{}, links: map[string]LinkState{},
		peer: peerMemory{verdict: PeerUnknown, why: ReasonStarting},
	}
	if d.Released != (Epoch{}) {
		m.release = &Release{Epoch: d.Released, Request: d.ReleasedTo}
	}
	return m
}

// Clone returns an independent copy.
func (m *Machine) Clone() *Machine {
	c := *m
	c.durable = m.durable.clone()
	c.proc, c.release, c.back, c.ask, c.wish = copied(m.proc), copied(m.release), copied(m.back), copied(m.ask), copied(m.wish)
	c.links = maps.Clone(m.links)
	c.volumes = make(map[string]*volumeMemory, len(m.volumes))
	for name, v := range m.volumes {
		w := *v
		w.request, w.answer = copied(v.request), copied(v.answer)
		c.volumes[name] = &w
	}
	return &c
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

func (d Durable) clone() Durable {
	d.Moves = slices.Clone(d.Moves)
	d.LeftInSync = maps.Clone(d.LeftInSync)
	return d
}

func (d Durable) equal(e Durable) bool {
	return d.Epoch == e.Epoch && d.Armed == e.Armed && d.Standby == e.Standby && d.Serving == e.Serving && d.ServingBoot == e.ServingBoot &&
		d.Released == e.Released && d.ReleasedTo == e.ReleasedTo && d.Vouched == e.Vouched &&
		slices.Equal(d.Moves, e.Moves) && maps.Equal(d.LeftInSync, e.LeftInSync)
}

// turn is one decision in the making: the machine, the facts and the plan.
type turn struct {
	*Machine
	f    Facts
	p    Plan
	d    time.Duration // D in force
	beat *Beat         // the peer's newest beat if the peer is alive by it, else nil
}

// Step is the decision: what is to be stored, said and done on these facts, and why. The same facts twice give the same plan but for the
// notes and replies, which are given once.
func (m *Machine) Step(f Facts) Plan {
	t := &turn{Machine: m, f: f, d: f.Settings.DeadTime}
	t.hear()
	t.judge()
	t.endParting()
	t.followReferences()
	t.followEpoch()
	t.followVolumes()
	t.answerWishes()
	t.decide()
	t.permit()
	t.finishWish()
	return t.plan()
}

// decide is the part that moves between roles.
func (t *turn) decide() {
	if t.f.Found != nil && t.role == Starting {
		t.adopt()
	}
	switch t.role {
	case Starting, Slave, Blocked:
		t.standBy()
	case Standby:
		t.inStandby()
	case Promoting:
		t.promoting()
	case Master:
		t.serving()
	case Demoting:
		t.demoting()
	case Failed:
		t.inFailed()
	}
}

// legal is the table of ways between roles:
//
//	            +------------> Blocked <---------+
//	            |                 |              |
//	Starting ---+--> Slave <------+--> Promoting --> Master
//	   |        |      ^                  |            |
//	   |        +--> Standby              v            v
//	   +-----------------------------> Demoting <------+ --> Failed
var legal = map[Role][]Role{
	Starting:  {Slave, Promoting, Master, Demoting, Standby, Blocked},
	Slave:     {Promoting, Demoting, Standby, Blocked},
	Blocked:   {Slave, Promoting, Demoting, Standby},
	Standby:   {Slave, Promoting},
	Promoting: {Master, Demoting},
	Master:    {Demoting},
	Demoting:  {Slave, Standby, Blocked, Failed, Starting},
	Failed:    {Demoting, Slave},
}

// become changes the role, and says so once. An illegal way is a mistake of this package: it is not taken, and the note says so.
func (t *turn) become(to Role, why Reason) {
	if t.role == to {
		t.reason = why
		return
	}
	if !slices.Contains(legal[t.role], to) {
		t.note("role.illegal", Critical, "failover", string(t.role)+" -> "+string(to)+" is not a legal way: "+why.Text())
		return
	}
	severity := Info
	if to == Failed || to == Blocked {
		severity = Warning
	}
	t.note("role."+string(to), severity, "failover", string(t.role)+" -> "+string(to)+": "+why.Text())
	t.role, t.reason = to, why
	t.roleSince = t.f.Now
	if to == Master {
		t.peer.wasMaster = false // its mastership is over: a later boot of it proves nothing about ours
	}
}

func (t *turn) note(code string, s Severity, log, text string) {
	t.p.Notes = append(t.p.Notes, Note{Code: code, Severity: s, Text: text, Log: log})
}

// why adds a reason to those of this decision.
func (t *turn) why(r Reason) {
	if r != "" && !slices.Contains(t.p.Why, r) {
		t.p.Why = append(t.p.Why, r)
	}
}

// memory returns what is remembered of a volume.
func (m *Machine) memory(name string) *volumeMemory {
	v := m.volumes[name]
	if v == nil {
		v = &volumeMemory{}
		m.volumes[name] = v
	}
	return v
}

// start begins a procedure. Its ID is the time of this decision, so it is new also after a restart of the engine.
func (t *turn) start(p Procedure) {
	p.ID = uint64(t.f.Now)
	if t.proc != nil && t.proc.ID >= p.ID {
		p.ID = t.proc.ID + 1
	}
	t.proc = &p
}

// number is that of a new request: the time of this decision. So none is used twice in one boot, although nothing is stored.
func (t *turn) number() uint64 {
	t.numbered = max(t.numbered+1, uint64(t.f.Now))
	return t.numbered
}

// procedure returns how the running procedure stands; "" as long as nothing is known of it.
func (t *turn) procedure() ProcedureState {
	if t.proc == nil || t.f.Procedure == nil || t.f.Procedure.ID != t.proc.ID {
		return ""
	}
	return t.f.Procedure.State
}

// since is how long ago an instant was; a thing that never was is infinitely long ago.
func (t *turn) since(i Instant) time.Duration {
	if i == 0 {
		return 1<<62 - 1
	}
	return t.f.Now.Sub(i)
}
