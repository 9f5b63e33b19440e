package beat

import "evenkeel/ha"

// Codes on the wire are indices into these tables; index 0 is the empty word. They are part of the format: append only.
var (
	roles = []ha.Role{"", ha.Starting, ha.Slave, ha.Promoting, ha.Master, ha.Demoting, ha.Standby, ha.Blocked, ha.Failed}
	modes = []ha.Mode{"", ha.Evidence, ha.Availability}
	sides = []ha.VolumeRole{"", ha.Primary, ha.Secondary}
	disks = []ha.Disk{"", ha.Diskless, ha.DiskFailed, ha.Inconsistent, ha.Outdated, ha.DUnknown, ha.Consistent, ha.UpToDate}
	kinds = []ha.RequestKind{"", ha.AskOutdate, ha.AskSwitchover, ha.AskSnapshots}
	ends  = []ha.AnswerResult{"", ha.AnsweredOutdated, ha.AnsweredInconsistent, ha.AnsweredFailed, ha.AnsweredNoVolume,
		ha.AnsweredRefused, ha.AnsweredDone, ha.AnsweredSnapshot}
)

// Bounds of the format.
const (
	MaxFull    = 1400 // bytes of a full form
	MaxLinks   = 8
	MaxVolumes = 4
	MaxAsked   = 4 // requests, and answers, in one saying
	MaxName    = 16
	MaxPhase   = 24
	MaxVersion = 16
	MaxReason  = 40
	MaxPayload = 640

	// CompactSize is the length of a compact form; CompactOnLine what it takes on a serial line with framing.
	CompactSize   = 57
	CompactOnLine = CompactSize + 7

	fullTag    = 16 // bytes of HMAC in the full form
	compactTag = 12 // and in the compact one
)

// Form is one of the two forms of a beat.
type Form uint8

// The forms.
const (
	Full    Form = 0
	Compact Form = 1
)

// Refusal says why a frame is no beat; empty = it is one. Each has a counter of its own.
type Refusal string

// The refusals. Parse gives those from Version to Malformed; the others need what only heart knows.
const (
	Accepted  Refusal = ""
	Version   Refusal = "version"   // another version of this format
	Cluster   Refusal = "cluster"   // another pair's beat (N18)
	Key       Refusal = "key"       // no key of ours signed it
	Own       Refusal = "own"       // our own, come back by broadcast
	Stranger  Refusal = "node"      // authentic, but from neither of the two nodes
	Malformed Refusal = "malformed" // garbage, or not in this format
	TTL       Refusal = "ttl"       // came through a router, or pretends not to (N12)
	Replay    Refusal = "replay"    // its sequence number was heard before
	Echo      Refusal = "echo"      // our own on a serial line: an echo plug, or no cable but a terminal
	Crossed   Refusal = "link"      // sent on another link: two devices are on one network
)
