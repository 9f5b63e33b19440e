// Package ha holds the words of the pair and the decision who is master.
//
// It is a pure core: values in, values out. It touches no clock, socket, file, goroutine or global randomness; time
// arrives as an [Instant] in [Facts], and everything that shall happen leaves as a [Plan]. One loop (ha/engine) owns a
// [Machine], gathers facts, calls Step and carries the plan out. The same function serves the dry run, the simulator
// (ha/sim) and the page that explains why this node is master.
//
// The rules are those of DESIGN.md beside this file; the seeds' numbers (A50, N12, C3) stand where one is built.
package ha

import (
	"fmt"
	"time"
)

// Instant is a point on this machine's own clock: nanoseconds since it booted, counting the time it was suspended
// (CLOCK_BOOTTIME). Instants of two machines cannot be compared. Zero means "never".
type Instant int64

// Sub returns t-u.
func (t Instant) Sub(u Instant) time.Duration { return time.Duration(t - u) }

// Add returns t+d.
func (t Instant) Add(d time.Duration) Instant { return t + Instant(d) }

// NodeID names one of the two nodes: one lower-case letter, in the lab "a" and "b". The configured master is not
// always "a": which node is configured as what stands in [Settings].
type NodeID string

// BootName names one boot of one machine: 128 random bits, made by the first process of Evenkeel after the machine
// booted and kept below /run. A node whose boot name changed has lost everything it held in memory.
type BootName [16]byte

// Epoch counts promotions. It is raised and stored before a promotion acts; epochs are compared as a pair, so two
// nodes that both raise it apart from each other still have an order (safety.md 12).
type Epoch struct {
	Counter uint64 `json:"counter"`
	Node    NodeID `json:"node"`
}

// Less says whether e is below f.
func (e Epoch) Less(f Epoch) bool {
	return e.Counter < f.Counter || e.Counter == f.Counter && e.Node < f.Node
}

// String is "7/a".
func (e Epoch) String() string { return fmt.Sprintf("%d/%s", e.Counter, e.Node) }

// Side is a configured role, or the place of a service.
type Side string

// The configured roles; Both is a placement only.
const (
	MasterSide Side = "master"
	SlaveSide  Side = "slave"
	Both       Side = "both"
)

// Role is the running role of a node: what it does now.
type Role string

// The running roles. A node serves only as Master; from Promoting on its epoch revokes an older master.
const (
	Starting  Role = "starting"  // waits for the peer, at most for the boot wait
	Slave     Role = "slave"     // stands by
	Promoting Role = "promoting" // its plan to become master is being carried out
	Master    Role = "master"    // holds the virtual addresses, has the volumes mounted, runs the services
	Demoting  Role = "demoting"  // gives the role away, in order or revoked
	Standby   Role = "standby"   // must not become master: an administrator's wish
	Blocked   Role = "blocked"   // waits for the peer or for a person; the reason says for what
	Failed    Role = "failed"    // a stop failed: nothing may start elsewhere until this node is proven gone
)

// Mode says which proof a takeover needs (30-decisions, "Taking over").
type Mode string

// Evidence is the default. Lease and Proof need a witness or fencing, which a later issue brings; until then they are
// not accepted as a setting.
const (
	Evidence     Mode = "evidence"
	Availability Mode = "availability" // pairs without a volume only
)

// PeerVerdict is what this node holds of the other one.
type PeerVerdict string

// The verdicts (30-decisions, "Alive, suspect, sick, dead, unknown").
const (
	PeerAlive   PeerVerdict = "alive"
	PeerSuspect PeerVerdict = "suspect"
	PeerSick    PeerVerdict = "sick"
	PeerDead    PeerVerdict = "dead"
	PeerUnknown PeerVerdict = "unknown"
)

// LinkKind is the make of a link.
type LinkKind string

// The kinds of link.
const (
	LinkSerial LinkKind = "serial"
	LinkUDP    LinkKind = "udp"
)

// LinkState is what is heard on a link.
type LinkState string

// The link states. A link that was never heard in this boot does not count against the peer.
const (
	LinkUp         LinkState = "up"
	LinkQuiet      LinkState = "quiet"
	LinkNeverHeard LinkState = "never_heard"
)

// VolumeRole is the role of this node's side of a volume, in DRBD's words.
type VolumeRole string

// The volume roles.
const (
	Primary   VolumeRole = "Primary"
	Secondary VolumeRole = "Secondary"
)

// Disk is a disk state in DRBD's words and order, as a volume reports it. The house of replication has a type of its own; the two
// houses meet in the text.
type Disk string

// The disk states.
const (
	Diskless     Disk = "Diskless"
	DiskFailed   Disk = "Failed"
	Inconsistent Disk = "Inconsistent"
	Outdated     Disk = "Outdated"
	DUnknown     Disk = "DUnknown"
	Consistent   Disk = "Consistent"
	UpToDate     Disk = "UpToDate"
)

// Generation is the name of a data set: 32 hex digits, as a volume reports it; empty if unknown.
type Generation string

// Severity ranks conditions and events.
type Severity string

// The severities.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)
