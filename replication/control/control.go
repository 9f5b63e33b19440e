// Package control is the volume process's API: its types, and the client for them. It is deliberately the shape of DRBD's own status, because a
// second engine that drives the kernel's DRBD will stand behind it; nothing above may know which one serves a volume.
//
// A volume process serves HTTP and JSON on the unix socket volume-NAME.sock below the run folder:
//
//	GET  /v1/status            Status
//	GET  /v1/status/stream     Status as JSON lines: at once, at each change (at most one in 20 ms) and at least every 500 ms
//	POST /v1/alive             the engine completed a Step; 10 s without it and a primary revokes itself
//	POST /v1/configure         Config: peer address, rate (what cannot change live is refused)
//	POST /v1/promote           Promote -> Status
//	POST /v1/demote            {} orderly: flushes; refused while the device is open by others
//	POST /v1/revoke            Revoke: at once, held and new requests get an I/O error; ends the licence unless permitted
//	POST /v1/permit            Permit
//	POST /v1/withdraw          {}
//	POST /v1/outdate           Outdate -> OutdateAnswer
//	POST /v1/peer-outdated     OutdateAnswer: store what the peer answered
//	POST /v1/licence/end       Reason
//	POST /v1/leave             {} a secondary leaves in order: stores what it may, says so to the peer, disconnects
//	GET  /v1/snapshot          raw bytes, at most 640: the generation set, for the other side's compare
//	POST /v1/compare           raw bytes of the peer's snapshot -> Verdict
//	POST /v1/connect           {} ; also ends a StandAlone after a refused handshake
//	POST /v1/disconnect        {}
//	POST /v1/resolve           Resolve
//	POST /v1/pause /v1/resume  {} resync
//	POST /v1/detach            Detach
//	POST /v1/device/open       DeviceOpen -> Device: the kernel device appears (primary only)
//	POST /v1/device/close      DeviceClose: it is gone; lazy: even if somebody holds it open
//
// Errors are an Error with HTTP status 409 (refused), 400 (usage) or 500 (failed).
package control

// Config is what a volume process is made of. The engine writes it to volumes/NAME.json below the run folder, where the supervisor finds it and
// starts the process; changes that can be live go through POST /v1/configure.
type Config struct {
	Name     string `json:"name"`
	Index    int    `json:"index"`
	Node     string `json:"node"`
	Peer     string `json:"peer"`
	Backing  string `json:"backing"`   // path of block device or file
	Listen   string `json:"listen"`    // own replication address:port
	Remote   string `json:"remote"`    // the peer's
	Dialer   bool   `json:"dialer"`    // this side dials, the other accepts: the configured slave dials
	Rate     uint64 `json:"rate"`      // resync cap in bytes/s; 0 = none
	Export   string `json:"export"`    // auto, fuse, nbd
	StateDir string `json:"state_dir"` // own root-only folder: size, device identity, last generation
	RunDir   string `json:"run_dir"`   // sockets and mount points
	// HoldMS is when a hold's end is reported (condition); the volume itself holds until told.
	HoldMS int64 `json:"hold_ms"`
	// MustMatch refuses the handshake if they differ.
	ClusterID uint8 `json:"cluster_id"`
	// Faults is the fault layer, on only by root's evenkeel.toml: "" = none.
	Faults string `json:"faults"` // path of the fault control file
}

// Status is the state of this side.
type Status struct {
	Name           string  `json:"name"`
	PID            int     `json:"pid"`
	Size           uint64  `json:"size"`
	Role           string  `json:"role"`
	Disk           string  `json:"disk"`
	PeerDisk       string  `json:"peer_disk"`
	PeerRole       string  `json:"peer_role"` // "" unknown
	Connection     string  `json:"connection"`
	Mirrors        bool    `json:"mirrors"` // application writes reach the peer
	OutOfSyncBytes uint64  `json:"out_of_sync_bytes"`
	Resync         *Resync `json:"resync"`
	Generation     string  `json:"generation"`
	SplitBrain     bool    `json:"split_brain"`
	// Permission is the reason under which lone acknowledgement is permitted; empty = none.
	Permission string `json:"permission"`
	Holding    bool   `json:"holding"` // at least one acknowledgement is being held
	HoldingMS  int64  `json:"holding_ms"`
	Licence    bool   `json:"licence"`
	// Session names the newest replication session; LostMS is the time since it was lost, -1 = connected or never had one.
	Session      uint64          `json:"session"`
	LostMS       int64           `json:"lost_ms"`
	LostReason   string          `json:"lost_reason"`
	NeverHadPeer bool            `json:"never_had_peer"`
	LastPrimary  bool            `json:"last_primary"`
	PeerRecord   string          `json:"peer_record"` // "", outdated, left_in_sync
	Epoch        Epoch           `json:"epoch"`
	LastAckMS    int64           `json:"last_ack_ms"` // since Evenkeel's newest acknowledgement of the peer; -1 = never
	Loner        bool            `json:"loner"`
	Device       string          `json:"device"`  // kernel device, "" = none
	Export       string          `json:"export"`  // nbd, fuse
	Socket       string          `json:"socket"`  // the NBD server's unix socket, "" = not serving
	Problem      string          `json:"problem"` // one sentence: why it is not usable, or why the handshake was refused; "" = none
	ProblemCode  string          `json:"problem_code"`
	Verdict      string          `json:"verdict"` // newest handshake's rule and reason, for people
	Answered     []OutdateAnswer `json:"answered"`
	// Bytes count since the process began.
	Written, Read, Sent, Received, ResyncSent uint64
}

// BackingWaits is the ProblemCode of a volume for which another backing device is configured than the one in use.
const BackingWaits = "backing_waits"

// Stuck is the ProblemCode of a volume whose disk, or whose loop, has not answered for two seconds.
const Stuck = "stuck"

// Epoch is the promotion counter.
type Epoch struct {
	Counter uint64 `json:"counter"`
	Node    string `json:"node"`
}

// Resync is the progress of a resync.
type Resync struct {
	Percent     float64 `json:"percent"`
	RateBytes   uint64  `json:"rate_bytes"`
	SecondsLeft *int64  `json:"seconds_left"`
	Paused      bool    `json:"paused"`
}

// Promote makes this side primary.
type Promote struct {
	Epoch Epoch `json:"epoch"`
	// Permission that the promotion carries; "" = none: the volume holds until Connected or permitted.
	Permission string `json:"permission"`
	// Session whose loss the permission is for, 0 = not known: if another was had since, it is void, and the promotion carries none.
	Session uint64 `json:"session"`
	Force   bool   `json:"force"` // although not UpToDate: a person's word
	Reason  string `json:"reason"`
}

// Revoke takes the role away.
type Revoke struct {
	Epoch  Epoch  `json:"epoch"`
	Reason string `json:"reason"`
}

// Permit permits lone acknowledgement from now on.
type Permit struct {
	Epoch      Epoch  `json:"epoch"`
	Generation string `json:"generation"`        // must be the current one
	Session    uint64 `json:"session,omitempty"` // the one whose loss it is for, which must be the newest; 0 = any
	Reason     string `json:"reason"`
}

// Outdate is the peer's request.
type Outdate struct {
	Number     uint64 `json:"number"`
	Boot       string `json:"boot"`
	Generation string `json:"generation"`
	Session    uint64 `json:"session"`
	Epoch      Epoch  `json:"epoch"`
}

// OutdateAnswer is the stored answer: outdated, inconsistent, failed, refused.
type OutdateAnswer struct {
	Outdate
	Result string `json:"result"`
	Reason string `json:"reason"`
}

// Reason is a reason code.
type Reason struct {
	Reason string `json:"reason"`
}

// Verdict is what the handshake's function says of two generation sets.
type Verdict struct {
	Comparison string `json:"comparison"` // equal ahead behind diverged refused
	Rule       string `json:"rule"`
	Reason     string `json:"reason"`
	Full       bool   `json:"full"`
	Bytes      uint64 `json:"bytes"` // estimate of what a sync would move
}

// Resolve ends a split-brain on this side: "local": this side's history goes; "peer": the other's.
type Resolve struct {
	Discard string `json:"discard"`
}

// Detach gives the backing disk up.
type Detach struct {
	Force bool `json:"force"`
}

// DeviceOpen makes the kernel device.
type DeviceOpen struct {
	Kind string `json:"kind"` // auto fuse nbd
	// Mount: a filesystem on it is going to be mounted, so NBD clients may only read from now on.
	Mount bool `json:"mount"`
}

// DeviceClose removes it.
type DeviceClose struct {
	Lazy bool `json:"lazy"`
}

// Device is where it is.
type Device struct {
	Path string `json:"path"`
	Kind string `json:"kind"`
}

// Error is what a failed call answers.
type Error struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }
