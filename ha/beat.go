package ha

import "time"

// Beat is what one node tells the other about itself. Its bytes are ha/beat's business: the whole of it goes over
// Ethernet, and over a serial line when something slow in it changed; between those a compact form of at most 64 bytes carries
// what moves.
//
// Only the fields of the header (Cluster to Heard, SentAt) are filled by the heart process; the rest is what the engine said last.
type Beat struct {
	Cluster uint8    // cluster id, 0 to 63 (N17)
	Node    NodeID   // who says it
	Boot    BootName // the sender's boot
	Seq     uint64   // rises by at least one with each beat sent on any link, over restarts of heart too
	// Heard is, for each link by its index in the settings' order (see LinkIndex), the newest sequence number heard from the other side
	// on that link in this boot; 0 = none. A beat is fresh if one of these was sent less than D ago by its receiver.
	Heard  []uint64
	SentAt Instant // the sender's clock; for round trip times only

	// EngineAge is the time since the engine's last completed Step; EngineGone means that it exceeded 10 s and that the
	// volumes have revoked themselves and the addresses lapse.
	EngineAge  time.Duration
	EngineGone bool

	Saying
}

// Saying is the part of a beat that the decision fills.
type Saying struct {
	Epoch     Epoch
	Role      Role
	Phase     string // the procedure's step being carried out, at most 24 bytes, for people
	Armed     bool
	Attention bool
	Healthy   bool // nothing critical is wrong with this node
	Reaches   bool // a reference point, and so the secure LAN, answered lately
	Mode      Mode
	DeadTime  time.Duration // the sender's effective D; both compute with the larger
	Revision  uint64        // settings revision in force
	Digest    uint32        // CRC-32C of those settings
	Version   string        // software version, at most 16 bytes
	Volumes   []VolumeSaying
	Release   *Release
	// HandedBack: the sender could not finish its promotion at this epoch, its volumes are Secondary again, and the
	// node that released may serve again (safety.md 3).
	HandedBack *Epoch
	// Leaving: the sender stops in order now; for each volume LeftInSync stands in VolumeSaying.
	Leaving  bool
	Requests []Request
	Answers  []Answer
}

// VolumeSaying is what a beat says of one volume.
type VolumeSaying struct {
	Name        string // at most 16 bytes
	Generation  Generation
	Role        VolumeRole
	Disk        Disk
	Connected   bool
	LastPrimary bool // this side was primary last, by its own record
	// Promise: the sender acknowledges no write alone for this long from the sending of this beat on.
	Promise time.Duration
	// LeftInSync: this side left in order while both were equal at Generation.
	LeftInSync bool
}

// Release is the word of a node that gave the role away: its volumes are Secondary, its addresses and services are off.
type Release struct {
	Epoch   Epoch  // the epoch that is given up
	Request uint64 // number of the switch-over request that it answers; 0 = given up without being asked
	// NoLone: no write was acknowledged alone since the generations that Volumes name; on that word the peer may
	// promote although it is not Connected.
	NoLone bool
}

// RequestKind says what one node asks of the other in its beats.
type RequestKind string

// The requests.
const (
	AskOutdate    RequestKind = "outdate"     // mark your copy Outdated: I want to go on alone
	AskSwitchover RequestKind = "switch_over" // give me the role, in order
	AskSnapshots  RequestKind = "snapshots"   // send the generation sets of your volumes
)

// Request stands in every beat until it is answered or withdrawn.
type Request struct {
	Number     uint64 // rises with each request of one boot; with the boot name it is unique
	Kind       RequestKind
	Volume     string     // for AskOutdate and AskSnapshots
	Generation Generation // AskOutdate: of the asker when it asked
	Session    uint64     // AskOutdate: the replication session that was lost
	Epoch      Epoch
}

// AnswerResult is the outcome of a request.
type AnswerResult string

// The answers. For AskOutdate the first four permit the asker to go on alone.
const (
	AnsweredOutdated     AnswerResult = "outdated"
	AnsweredInconsistent AnswerResult = "inconsistent"
	AnsweredFailed       AnswerResult = "failed"
	AnsweredNoVolume     AnswerResult = "no_volume"
	AnsweredRefused      AnswerResult = "refused" // Reason says why
	AnsweredDone         AnswerResult = "done"
	AnsweredSnapshot     AnswerResult = "snapshot" // Payload is the volume's generation set, opaque to this house
)

// Answer stands in every beat until the request it answers is no longer heard. It counts only if number, boot, generation and session are the
// asker's current ones.
type Answer struct {
	Number     uint64
	Boot       BootName // the asker's boot
	Kind       RequestKind
	Volume     string
	Result     AnswerResult
	Reason     Reason
	Generation Generation
	Session    uint64
	Epoch      Epoch
	Payload    []byte // at most 640 bytes
}

// answers says whether a is the answer to that request of that boot, and of that loss.
func (a Answer) answers(r Request, boot BootName) bool {
	return a.Number == r.Number && a.Boot == boot && a.Session == r.Session && a.Generation == r.Generation
}
