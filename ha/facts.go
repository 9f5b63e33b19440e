package ha

import "time"

// Facts is everything that one decision may rest on. It can be written as JSON and read again, so any decision can be
// replayed.
type Facts struct {
	Now Instant
	// Wall is the time of day in Unix seconds, for the flap limit only (Durable.Moves); 0 = not known, nothing is counted.
	Wall     int64
	Node     NodeID
	Peer     NodeID
	Boot     BootName
	Settings Effective
	Heart    HeartFacts
	Other    PeerFacts
	// References are the answers of the reference points, one per configured point.
	References []ReferenceFact
	Volumes    []VolumeFact
	// NoVolumes is true when the settings hold no volume at all.
	NoVolumes bool
	Addresses []AddressFact
	Services  []ServiceFact
	Durable   Durable
	// Requests are the administrator's wishes that have not been answered yet, in the order of arrival. The engine drops one when the plan
	// carries a Reply with its number.
	Requests []AdminRequest
	// Procedure is the state of the procedure that the last plan asked for; nil = none was asked for since start.
	Procedure *ProcedureFact
	// Found is what an engine that has just started found in force on this machine; nil afterwards. A node found
	// serving under the stored epoch of this boot is adopted as Master without a role change.
	Found *Found
	// EngineStarted is when this engine process began.
	EngineStarted Instant
	// Unstored: the engine's own state cannot be stored now (its folder is full or broken). The role stays where it is: neither giving it away nor
	// taking it could be made durable.
	Unstored bool
	// Conditions that the shells observed themselves (a service failed, heart has no real-time class, ...).
	Observed []Condition
}

// Effective are the settings that the decision uses, as they are in force: with the peer heard, the larger and stricter of both nodes' values.
type Effective struct {
	Configured Side // this node's configured role
	Active     bool // HA active (A21); inactive = this node alone, no takeover by itself
	Interval   time.Duration
	DeadTime   time.Duration // D
	BootWait   time.Duration
	Hold       time.Duration // how long a hold may last in all: P + 7 s unless set
	Mode       Mode
	Armed      bool
	Failback   bool
	Revision   uint64
	Digest     uint32
	Version    string
	// OwnDeadTime and OwnMode are this node's own settings: what its beats say. If they said the stricter value of both, none could ever be
	// relaxed again.
	OwnDeadTime time.Duration
	OwnMode     Mode
	// SettingsDiffer: the peer's beat names another revision or digest.
	SettingsDiffer bool
}

// Promise is P: how long a side that has lost its peer is bound to acknowledge nothing alone.
func (e Effective) Promise() time.Duration { return max(e.DeadTime*3/2, e.DeadTime+time.Second) }

// HeartFacts is what the heart process reports of itself and its links.
type HeartFacts struct {
	Running    bool
	Since      Instant // start of that process
	Heartbeats bool    // it reported within the last interval + 250 ms
	RealTime   bool    // SCHED_RR was granted
	// WokeAt is the end of the latest stretch in which heart's own loop was late, Late its length; zero if never since its start.
	WokeAt Instant
	Late   time.Duration
	// EverHeard: some link was heard since this machine booted; kept over restarts of heart and engine.
	EverHeard bool
	Links     []LinkFact
}

// LinkFact is the state of one link.
type LinkFact struct {
	Name     string
	Kind     LinkKind
	Sync     bool // marked as the sync link: beats twice as often (N6)
	Interval time.Duration
	State    LinkState
	Carrier  *bool // nil: the link has none to show (serial)
	// FreshAt is when the newest fresh beat came in over this link; zero = never in this boot.
	FreshAt Instant
	// HeardAt is when the newest authentic beat came in, fresh or not.
	HeardAt Instant
	// HeardByPeer: the peer's newest beat echoes something recent of ours on this link; nil = not known.
	HeardByPeer *bool
	Lost        uint64 // beats missed by sequence since heart's start
	// Problem is a sentence when the link cannot work (no such device, echoing line); else empty.
	Problem string
}

// PeerFacts is what is known of the other node.
type PeerFacts struct {
	// Beat is the newest fresh beat of the current boot of the peer; nil = none since this machine booted.
	Beat    *Beat
	FreshAt Instant // when it came in
	// Confirmed is when we sent the newest beat of ours that the peer echoed; e = Now - Confirmed. Zero = none.
	Confirmed Instant
	// EchoedSent is, for Beat, when we sent the newest beat that it echoes: the peer's promise in it runs from there.
	EchoedSent Instant
	// KernelAt is when the peer's kernel answered last (ICMP, or ARP from a MAC its beats named); zero = never.
	KernelAt Instant
	// VolumeAckAt is when any volume of the peer last acknowledged something on the replication connection.
	VolumeAckAt Instant
	// AddressAt is when one of the virtual addresses last answered an ARP question of ours from another machine.
	AddressAt Instant
	// ProbeBegan and ProbeEnded tell of the newest probe round that a plan asked for; ProbeEnded is zero while it runs.
	ProbeBegan, ProbeEnded Instant
	// Snapshots is, by volume, what the handshake's verdict function says of our and the peer's generation set.
	Snapshots map[string]Comparison
}

// Comparison is the handshake's verdict on a volume's two generation sets, as far as the decision needs it.
type Comparison string

// The comparisons, from this node's view.
const (
	CompareUnknown  Comparison = ""
	CompareEqual    Comparison = "equal"
	CompareAhead    Comparison = "ahead"    // this side would be the source
	CompareBehind   Comparison = "behind"   // this side would be the target
	CompareDiverged Comparison = "diverged" // split-brain
	CompareRefused  Comparison = "refused"  // unrelated, unreadable, not decidable
)

// ReferenceState is the state of a reference point.
type ReferenceState string

// The three values; unknown is not bad.
const (
	ReferenceGood    ReferenceState = "good"
	ReferenceBad     ReferenceState = "bad"
	ReferenceUnknown ReferenceState = "unknown"
)

// ReferenceFact is the newest answer of one reference point.
type ReferenceFact struct {
	Name  string
	State ReferenceState
	// AskedAt is when the question was asked that State answers. For bad: the question that stayed unanswered.
	AskedAt Instant
}

// VolumeFact is the state of this node's side of one volume.
type VolumeFact struct {
	Name string
	// Running: the volume process answers. All that follows is the last known if it does not.
	Running      bool
	Role         VolumeRole
	Disk         Disk
	PeerDisk     Disk
	Connection   string // DRBD's words; Connected includes every state in which writes are mirrored
	Connected    bool   // writes are mirrored: Connected, SyncSource, SyncTarget, Verify*
	PeerRole     VolumeRole
	OutOfSync    uint64 // bytes
	Generation   Generation
	Session      uint64  // of the newest replication session
	LostAt       Instant // since when not Connected; zero if Connected or never was
	NeverHadPeer bool    // needs no permission
	Permission   string  // reason under which lone acknowledgement is permitted; empty = none
	PermittedAt  Instant
	Holding      bool
	HoldingSince Instant
	Licence      bool
	LastPrimary  bool
	// PeerRecord is what this side durably knows of the other: "", "outdated", "left_in_sync"; with the generation it was for.
	PeerRecord    string
	SplitBrain    bool
	Epoch         Epoch // highest epoch in the superblock
	Mounted       bool
	Device        string
	LastAckAt     Instant
	AnsweredNow   []Answer // outdate answers that the volume gave since it started, newest last, at most 4
	BlockedReason string   // why it cannot be used at all; empty = it can
	// Vowed: the peer was told that there is no such volume here, and may have gone on alone on that word.
	Vowed bool
	// Loner: lone acknowledgements were given since the last time both were equal.
	Loner bool
}

// AddressFact is one virtual address or alias as the kernel has it.
type AddressFact struct {
	Address  string // with prefix
	Device   string
	Held     bool
	NoDevice bool   // this machine has no such device
	Conflict string // MAC of a stranger who answers for it; empty = none
}

// ServiceFact is one service.
type ServiceFact struct {
	Name      string
	Placement Side
	State     string // running starting stopping stopped failed
}

// Durable is what the engine keeps in its own root-only file. It is written whole, synced, before anything that rests on it.
type Durable struct {
	Epoch   Epoch // highest of all copies and of every beat heard
	Armed   bool  // default true
	Standby bool
	// Serving: this node was Master or Promoting under Epoch in boot ServingBoot when this was stored.
	Serving     bool
	ServingBoot BootName
	// Released: "released" was sent for this epoch; cleared by the next promotion.
	Released Epoch
	// ReleasedTo is the request number that was answered.
	ReleasedTo uint64
	// Moves are the wall times (Unix s) of automatic moves, newest last, at most 8: the flap limit.
	Moves []int64
	// Vouched: a person forced this start of a pair without a volume, and the peer was not heard since: nothing else is asked for then.
	Vouched    bool
	LeftInSync map[string]Generation // by volume: we left in order at that generation
}

// Found is what a starting engine found in force.
type Found struct {
	Addresses bool // own virtual addresses are in the kernel
	Mounted   bool // a volume is mounted
	Primary   bool // a volume process runs as Primary
	Services  bool // a master-placed service runs
	SameBoot  bool // the durable record is of this boot
}

// AdminKind is a wish of a person.
type AdminKind string

// The wishes.
const (
	WishTakeover AdminKind = "takeover" // Make myself the running master (A50)
	WishRelease  AdminKind = "release"  // Make myself the running slave (A51)
	WishStandby  AdminKind = "standby"
	WishActive   AdminKind = "active" // standby off
	WishArm      AdminKind = "arm"
	WishDisarm   AdminKind = "disarm"
	WishContinue AdminKind = "continue" // volume continue NAME
	WishLeave    AdminKind = "leave"    // orderly stop of this node
)

// AdminRequest is one wish.
type AdminRequest struct {
	Number uint64
	Kind   AdminKind
	Force  bool   // start with this node's data although something newer may exist
	Volume string // for WishContinue
	By     string // user and address, for the log
	At     Instant
}

// ProcedureState is how far a procedure is.
type ProcedureState string

// The states of a procedure.
const (
	ProcedureRunning ProcedureState = "running"
	ProcedureDone    ProcedureState = "done"
	ProcedureFailed  ProcedureState = "failed"
)

// ProcedureFact reports on the procedure that is being carried out.
type ProcedureFact struct {
	ID      uint64
	Kind    ProcedureKind
	State   ProcedureState
	Step    string // current or failed step
	Mounted bool   // the promotion got as far as mounting a volume
	Late    bool   // the step before ended late by D/2: decide again
	Error   string
	EndedAt Instant
}
