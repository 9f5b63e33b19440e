package control

import "evenkeel/ha"

// The engine's paths. All take and return JSON; an error is an Error with the HTTP status of its Exit code.
//
//	GET  /v1/status[?node=b]        Status; node=the other one: asked through the peer channel
//	GET  /v1/status/stream          Status as JSON lines, at each change (coalesced to one in 100 ms) and at least once a second
//	GET  /v1/events?after=&limit=&log=&severity=&text=&node=   []Event, oldest first
//	GET  /v1/events/stream?after=   Event as JSON lines, for ever
//	GET  /v1/explain                Explanation
//	GET  /v1/catalogue              []CatalogueEntry
//	POST /v1/takeover    Order      dry run or act; answers when it has ended
//	POST /v1/release     Order
//	POST /v1/standby     Switch
//	POST /v1/armed       Switch
//	POST /v1/volumes/{name}/{verb}  VolumeOrder; verb: continue resolve connect disconnect detach pause resume
//	POST /v1/settings    Revision   "revision N is there"
//	POST /v1/leave                  orderly stop of this node; answers when the node has left
//
// Of these the peer's engine may ask: status, events, settings (with the settings themselves).

// Order is the body of takeover and release.
type Order struct {
	DryRun  bool   `json:"dry_run"`
	Force   bool   `json:"force"`
	Confirm string `json:"confirm"` // with Force: this node's own id, typed again
	Digest  string `json:"digest"`  // if set: refuse unless the dry run of now has this digest
	By      string `json:"by"`
}

// Outcome is the answer to an order.
type Outcome struct {
	Done  bool   `json:"done"`
	Text  string `json:"text"` // one sentence
	Code  string `json:"code"`
	Role  string `json:"role"` // running role after it
	Took  int64  `json:"took_ms"`
	Steps []Step `json:"steps"` // what would be or was done, with the last measured times
	// Digest names this preview: roles, epoch, disks, blockers.
	Digest   string       `json:"digest"`
	Blockers []ha.Blocker `json:"blockers"`
	// ExpectedGapMS is what the last run of the same way took; null = never ran.
	ExpectedGapMS *int64 `json:"expected_gap_ms"`
}

// EventFilter selects events; zero values select all. Limit 0 = 200; the newest are kept when there are more, and they come oldest first.
type EventFilter struct {
	After    int64  `json:"after"`    // ID above this
	Log      string `json:"log"`      // heartbeat, failover
	Severity string `json:"severity"` // this or worse
	Node     string `json:"node"`
	Text     string `json:"text"` // contained, any case
	Limit    int    `json:"limit"`
}

// Switch is the body of standby and armed.
type Switch struct {
	On bool   `json:"on"`
	By string `json:"by"`
}

// VolumeOrder is the body of the volume verbs.
type VolumeOrder struct {
	Confirm string `json:"confirm"` // continue: the peer's id; resolve: the node whose history goes, again
	Discard string `json:"discard"` // resolve: the node whose history goes
	Force   bool   `json:"force"`   // detach
	By      string `json:"by"`
}

// Revision tells the engine that a revision is stored.
type Revision struct {
	Revision uint64 `json:"revision"`
}

// Explanation says why this node is what it is.
type Explanation struct {
	Sentence string   `json:"sentence"`
	Reasons  []Reason `json:"reasons"`
	Rungs    []string `json:"rungs"`    // what protects this pair from split-brain
	Remains  []string `json:"remains"`  // what remains possible
	Decision string   `json:"decision"` // the last decision's facts as JSON, for replay
}

// Reason is a reason code with its sentence.
type Reason struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// CatalogueEntry is one service that may be placed.
type CatalogueEntry struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Kind        string `json:"kind"` // command
}

// Exit codes of the command line (60-lab); an Error carries one.
const (
	ExitDone       = 0
	ExitFailed     = 1
	ExitUsage      = 2
	ExitRefused    = 3
	ExitNotRunning = 4
)

// Error is what a failed call answers. Text is one line: what, why, what to do.
type Error struct {
	Exit   int             `json:"exit"`
	Code   string          `json:"code"`
	Text   string          `json:"text"`
	Fields []ha.FieldError `json:"fields,omitempty"`
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }
