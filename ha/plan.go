package ha

import "time"

// Plan is what one decision wishes. Its fields stand in the order in which they take effect: what is to be durable
// first, then what volumes are told, then what the peer may hear, then what is done.
//
// A plan is level-triggered: the engine converges to it, and the same plan twice does nothing the second time.
type Plan struct {
	// Store: to be durable before anything below happens; nil = as it is. If it cannot be stored, nothing below may happen but a revoke.
	Store *Durable
	// Volumes: one wish per volume.
	Volumes []VolumeWish
	// Say is what the next beats carry.
	Say Saying
	// Procedure that is to be running; nil = none. A new ID starts it (whatever ran before is abandoned after its current step), the same ID
	// goes on.
	Procedure *Procedure
	// Addresses: virtual addresses may be held and renewed now. False takes them off at once.
	Addresses bool
	// Services is which placement runs here in steady state: MasterSide, SlaveSide, or "" for none. While a procedure runs it decides.
	Services Side
	// Probe asks for a probe round of the peer on every path; a changed number begins a new one.
	Probe uint64
	// AskReferences is how often every reference point is asked; 0 = at leisure (once a second).
	AskReferences time.Duration
	// AskSnapshots: exchange generation sets with the peer and compare.
	AskSnapshots bool

	Role       Role
	Reason     Reason   // why this role, or why not another
	Why        []Reason // the reasons of the last decision in full, for explain
	Verdict    PeerVerdict
	Attention  bool
	Conditions []Condition
	Takeover   Takeover
	Notes      []Note
	Replies    []Reply
	// Again: ask again after this long at the latest even if no fact changes.
	Again time.Duration
}

// VolumeWish is what one volume is told. The engine compares it with the volume's state and sends what differs.
type VolumeWish struct {
	Name string
	// Permit: lone acknowledgement is permitted for this reason; empty = not (withdraw if given).
	Permit string
	// Outdate: the peer's request to be answered by the volume's loop; nil = none.
	Outdate *Request
	// EndLicence: UpToDate becomes Consistent, stored with this reason; empty = leave.
	EndLicence Reason
	// Revoke: Secondary at once, held and new requests get an I/O error.
	Revoke bool
	// PeerOutdated: store that the peer answered this request so; nil = nothing to store.
	PeerOutdated *Answer
	// Leave: this secondary leaves in order (it stores what it may, says so to the peer, disconnects); the reply to WishLeave comes when it
	// is no longer Connected.
	Leave bool
}

// ProcedureKind names the ways between roles.
type ProcedureKind string

// The procedures and their steps, in order; the engine skips a step that has nothing to do.
//
//	promote   volumes, device, mount, services before the address, addresses, services, verify
//	demote    services, unmount, device, volumes, addresses            (orderly)
//	revoke    volumes and addresses at once, then kill, unmount, device
//	recover   a volume process died under a mount: services, kill, unmount, device, volumes, device, mount, services
const (
	ProcedurePromote ProcedureKind = "promote"
	ProcedureDemote  ProcedureKind = "demote"
	ProcedureRevoke  ProcedureKind = "revoke"
	ProcedureRecover ProcedureKind = "recover"
)

// Procedure is a saved plan of repeatable steps. It is valid for one boot and one epoch.
type Procedure struct {
	ID    uint64
	Kind  ProcedureKind
	Epoch Epoch
	// Permit: the permission that a promotion carries with it (a takeover's x = 0); empty = none, the promise runs.
	Permit string
	// Force: the volumes are promoted although they are not UpToDate: a person's word, or the proof that nobody is newer.
	Force  bool
	Reason Reason
}

// Takeover answers "could this node become, or stay, master now".
type Takeover struct {
	Possible bool
	Blockers []Blocker
}

// Blocker is one reason why not.
type Blocker struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// Note is one event for the log.
type Note struct {
	Code     string
	Severity Severity
	Text     string
	// Log is the log it belongs to: "heartbeat" (heartbeat and replication, A45) or "failover" (A46).
	Log string
}

// Reply ends an administrator's wish.
type Reply struct {
	Number  uint64
	Done    bool   // it came true; false = refused or failed
	Refused bool   // by a safety rule
	Code    Reason // reason code
	Text    string // one sentence: what, why, what to do
}

// Condition is a named fact about the pair's health.
type Condition struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Side     string   `json:"side"` // local, peer, pair
	Text     string   `json:"text"`
	Remedy   string   `json:"remedy"`
	// Key tells two conditions of one code apart (a link's or volume's name).
	Key string `json:"-"`
}

// Reason is a stable code for a decision, shared by log, page, API and test. Reasons.Text has the sentence.
type Reason string
