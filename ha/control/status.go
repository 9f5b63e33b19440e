// Package control is the engine's API: the types that web, cli and tests speak, and the client for them.
//
// The engine serves it as HTTP and JSON on the unix socket engine.sock, and a part of it to the peer's engine over the peer channel. The
// documented contract is Status (60-lab, "status --json"): fields may be added, none renamed; ages and times in ms are
// integers; what is not known is null, never 0.
package control

import (
	"time"

	"evenkeel/ha"
)

// Status is what `evenkeel status --json` prints.
type Status struct {
	Node           string  `json:"node"`
	ConfiguredRole string  `json:"configured_role"`
	RunningRole    string  `json:"running_role"` // master only when Master, else slave
	State          string  `json:"state"`
	StateReason    *string `json:"state_reason"`
	// StateSince is when the state was entered (wall time).
	StateSince time.Time      `json:"state_since"`
	Epoch      ha.Epoch       `json:"epoch"`
	Armed      bool           `json:"armed"`
	Attention  bool           `json:"attention"`
	Peer       Peer           `json:"peer"`
	Links      []Link         `json:"links"`
	Volumes    []Volume       `json:"volumes"`
	Addresses  []Address      `json:"addresses"`
	Services   []Service      `json:"services"`
	Conditions []Condition    `json:"conditions"`
	Takeover   Takeover       `json:"takeover"`
	Procedure  *Procedure     `json:"procedure"` // the promotion or demotion that runs, or ran last
	References []Reference    `json:"references"`
	Settings   SettingsState  `json:"settings"`
	Processes  []Process      `json:"processes"`
	Heartbeat  HeartbeatState `json:"heartbeat"`
	Version    string         `json:"version"`
	Hostname   string         `json:"hostname"`
	At         time.Time      `json:"at"`
}

// Peer is what this node holds of the other.
type Peer struct {
	Node        string  `json:"node"`
	Alive       bool    `json:"alive"`
	Verdict     string  `json:"verdict"`
	RunningRole *string `json:"running_role"`
	State       *string `json:"state"`
	LastHeardMS *int64  `json:"last_heard_ms"`
	Revision    *uint64 `json:"revision"`
}

// Link is one heartbeat path.
type Link struct {
	Name        string  `json:"name"`
	Kind        string  `json:"kind"`
	Sync        bool    `json:"sync"`
	State       string  `json:"state"`
	IntervalMS  int64   `json:"interval_ms"`
	LastHeardMS *int64  `json:"last_heard_ms"`
	Lost        uint64  `json:"lost"`
	HeardByPeer *bool   `json:"heard_by_peer"`
	Carrier     *bool   `json:"carrier"`
	Problem     *string `json:"problem"`
	// Refused counts frames that were not accepted, by reason: ttl, own, cluster, key, replay, malformed, echo.
	Refused map[string]uint64 `json:"refused"`
	// LongestGapMS is the longest time between two beats since heart's start.
	LongestGapMS *int64 `json:"longest_gap_ms"`
}

// Volume is this node's side of one volume.
type Volume struct {
	Name           string  `json:"name"`
	Role           string  `json:"role"`
	Disk           string  `json:"disk"`
	PeerDisk       string  `json:"peer_disk"`
	Connection     string  `json:"connection"`
	OutOfSyncBytes uint64  `json:"out_of_sync_bytes"`
	Resync         *Resync `json:"resync"`
	Generation     string  `json:"generation"`
	SplitBrain     bool    `json:"split_brain"`
	Permission     *string `json:"permission"`
	Holding        bool    `json:"holding"`
	Licence        bool    `json:"licence"`
	Device         *string `json:"device"`
	Mount          *string `json:"mount"`
	Size           uint64  `json:"size"`
	Reason         *string `json:"reason"` // why it stands where it stands (refused handshake, detached ...)
}

// Resync is the progress of a resync.
type Resync struct {
	Percent     float64 `json:"percent"`
	RateBytes   uint64  `json:"rate_bytes"`
	SecondsLeft *int64  `json:"seconds_left"`
	Paused      bool    `json:"paused"`
}

// Address is one virtual address or alias, as read from the kernel.
type Address struct {
	Address string  `json:"address"`
	Device  string  `json:"device"`
	Held    bool    `json:"held"`
	Since   *string `json:"since"`
}

// Service is one placed service.
type Service struct {
	Name      string  `json:"name"`
	Placement string  `json:"placement"`
	State     string  `json:"state"`
	Error     *string `json:"error"`
}

// Condition is a named condition that is in force.
type Condition struct {
	ha.Condition
	Since time.Time `json:"since"`
}

// Takeover says whether this node could become (or stay) master now.
type Takeover struct {
	Possible bool         `json:"possible"`
	Blockers []ha.Blocker `json:"blockers"`
}

// Procedure is a promotion or demotion with its steps, as they run.
type Procedure struct {
	ID     uint64    `json:"id"`
	Kind   string    `json:"kind"`
	Epoch  ha.Epoch  `json:"epoch"`
	Reason string    `json:"reason"`
	State  string    `json:"state"`
	Began  time.Time `json:"began"`
	Steps  []Step    `json:"steps"`
}

// Step is one step of a procedure.
type Step struct {
	Name  string `json:"name"`
	State string `json:"state"` // waiting running done failed skipped
	MS    *int64 `json:"ms"`
	Error string `json:"error,omitempty"`
}

// Reference is one reference point's newest answer.
type Reference struct {
	Name  string `json:"name"`
	State string `json:"state"`
	AgeMS *int64 `json:"age_ms"`
}

// SettingsState says which revision is in force and what is not yet.
type SettingsState struct {
	Revision uint64  `json:"revision"`
	Digest   string  `json:"digest"`
	Pending  *string `json:"pending"` // what waits for the peer; null = nothing
}

// Process is one of the node's processes.
type Process struct {
	Name     string `json:"name"` // heart engine web volume/NAME
	PID      int    `json:"pid"`
	Restarts int    `json:"restarts"`
	RSSBytes uint64 `json:"rss_bytes"`
}

// HeartbeatState shows the times in force.
type HeartbeatState struct {
	Profile     string `json:"profile"`
	IntervalMS  int64  `json:"interval_ms"`
	DeadTimeMS  int64  `json:"dead_time_ms"`
	PromiseMS   int64  `json:"promise_ms"`
	ConfirmedMS *int64 `json:"confirmed_ms"` // e: age of our newest beat that the peer confirmed
	RealTime    bool   `json:"real_time"`
}

// Event is one entry of the log.
type Event struct {
	ID       int64       `json:"id"`
	At       time.Time   `json:"at"`
	Node     string      `json:"node"`
	Log      string      `json:"log"` // heartbeat, failover
	Code     string      `json:"code"`
	Severity ha.Severity `json:"severity"`
	Text     string      `json:"text"`
	Epoch    string      `json:"epoch"`
	// Cause is the ID of the event on the same node that brought this one about; 0 = none.
	Cause int64 `json:"cause"`
}
