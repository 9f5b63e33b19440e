// Package heart is the heart process: it owns the links, sends and hears beats on its own timers, renews the kernel lifetime of the
// virtual addresses, and knows nothing of decisions. It is small because nothing may make it late.
//
// The engine speaks to it over the unix socket heart.sock, in JSON lines. The engine sends [Order] (all of it, each time
// something in it changes and at least every 200 ms, as its sign of life); heart sends [Report] when a beat that says something new
// came in, when a link or a lateness changed, and at least every 100 ms. Heart keeps its links, keys and last words in heart.json below the run
// folder, so that it starts without the engine, and what it heard in heart.memory. Its sequence numbers begin at the microseconds since the machine
// booted, so they never go back within a boot, and no file is needed for them. The run folder must be emptied when the machine boots.
//
//	links --frames--> loop (ear judges, voice says) --beats--> links
//	                  |  ^
//	          reports v  | orders, kept in heart.json first
//	                engine
//
// Whatever may have to wait (a file, netlink, a serial line, the engine) has a goroutine of its own beside the loop.
package heart

import (
	"time"

	"evenkeel/ha"
)

// SocketName is the file name below the run folder.
const SocketName = "heart.sock"

// Order is what the engine wants of heart. Setup is sent when it changed and in the first Order of a connection.
type Order struct {
	Setup *Setup    `json:"setup,omitempty"`
	Say   ha.Saying `json:"say"`
	// StepAt is when the engine's last Step was completed (ha.Instant of this machine).
	StepAt ha.Instant `json:"step_at"`
	// Renew are the virtual addresses whose kernel lifetime heart renews every 500 ms while the engine is alive, or silent for less than
	// 10 s and e < 0.8 D. Heart renews an address only if the kernel still has it.
	Renew []Renewal `json:"renew"`
	// Burst: send a beat on each link at once, for the saying is urgent. A serial line that still carries the beats before sends it with its next.
	Burst bool `json:"burst"`
}

// Renewal is one address to be kept alive.
type Renewal struct {
	Device  string `json:"device"`
	Address string `json:"address"` // with prefix
	Label   string `json:"label"`
}

// Setup is how the links are made.
type Setup struct {
	Node     ha.NodeID     `json:"node"`
	Peer     ha.NodeID     `json:"peer"`
	Boot     ha.BootName   `json:"boot"`
	Cluster  uint8         `json:"cluster"`
	Keys     [][]byte      `json:"keys"`      // one or two; the first signs
	DeadTime time.Duration `json:"dead_time"` // D, for e < 0.8 D and for freshness
	Links    []LinkSetup   `json:"links"`
	Port     uint16        `json:"port"`
}

// LinkSetup is one link. Its index in Setup.Links is the same on both nodes: serial first, then the devices in the settings' order.
type LinkSetup struct {
	Name     string        `json:"name"` // device name or serial path
	Kind     ha.LinkKind   `json:"kind"`
	Interval time.Duration `json:"interval"` // as set; heart halves it on the sync link (N6) and stretches it on a slow serial line
	Sync     bool          `json:"sync"`
	Baud     int           `json:"baud"`
}

// Report is what heart tells the engine.
type Report struct {
	Now   ha.Instant    `json:"now"`
	PID   int           `json:"pid"`
	Facts ha.HeartFacts `json:"facts"`
	// Beat is the newest fresh beat; the times with it are those of ha.PeerFacts.
	Beat       *ha.Beat   `json:"beat"`
	FreshAt    ha.Instant `json:"fresh_at"`
	Confirmed  ha.Instant `json:"confirmed"`
	EchoedSent ha.Instant `json:"echoed_sent"`
	// PeerMACs are the hardware addresses that beats of the peer came from, by device.
	PeerMACs map[string]string `json:"peer_macs"`
	// Counters are, by link, the frames refused by reason, the beats lost and the longest gap.
	Counters map[string]Counters `json:"counters"`
}

// Counters are the figures of one link since heart's start.
type Counters struct {
	Sent       uint64            `json:"sent"`
	Heard      uint64            `json:"heard"`
	Lost       uint64            `json:"lost"`
	Refused    map[string]uint64 `json:"refused"` // by beat.Refusal: ttl own cluster key node replay link malformed echo version
	LongestGap time.Duration     `json:"longest_gap"`
}
