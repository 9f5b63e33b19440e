package engine

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/config"
	"evenkeel/ha/control"
)

// Options is what an engine is made of.
type Options struct {
	Config    config.Node
	Catalogue []config.Service
	Settings  SettingsSource
	Events    EventLog // nil: events go to Log only
	EventsWhy error    // why Events is nil
	Volumes   Volumes
	// PeerServer and PeerClient are the TLS configurations of the peer channel, each with the peer's certificate pinned
	// (peer.PinnedTLS); nil = no peer channel.
	PeerServer, PeerClient *tls.Config
	Version                string // software version, at most 16 bytes
	Log                    *slog.Logger
}

// SettingsSource holds the numbered revisions of the settings. It is asked from goroutines of its own, never from the decision loop.
type SettingsSource interface {
	// Latest is the newest revision.
	Latest(ctx context.Context) (ha.Settings, error)
	// Load is one revision.
	Load(ctx context.Context, revision uint64) (ha.Settings, error)
	// Import stores a revision of the peer's under its own number and returns the one that it took the place of as the newest: of a lower
	// number, or of the same one, saved apart. Zero if it is not the newest.
	Import(ctx context.Context, s ha.Settings) (replaced ha.Settings, err error)
}

// EventLog keeps the events. It is called from goroutines of its own, never from the decision loop.
type EventLog interface {
	Append(ctx context.Context, events []control.Event) error
	List(ctx context.Context, filter control.EventFilter) ([]control.Event, error)
}

// Volumes are the node's replicated volumes, whichever engine of replication serves them.
type Volumes interface {
	// Apply makes the processes of these volumes run, and no others.
	Apply(configs []VolumeConfig) error
	// Open is the volume of that name; it need not run yet.
	Open(name string) Volume
}

// VolumeConfig is what one volume is made of, as far as the settings say it.
type VolumeConfig struct {
	Name      string
	Index     int
	Node      ha.NodeID
	Peer      ha.NodeID
	Backing   string        // this node's block device or file
	Listen    string        // own replication address:port
	Remote    string        // the peer's
	Dialer    bool          // this side dials: the configured slave's
	Rate      uint64        // resync cap in bytes/s; 0 = none
	Hold      time.Duration // when a hold is reported as ended
	ClusterID uint8
}

// VolumeState is what a volume's process says of itself. The times in Fact are not set: they come as ages, which the engine turns into instants
// of its own clock.
type VolumeState struct {
	Fact    ha.VolumeFact // without Mounted and the Instants
	PID     int
	Size    uint64 // bytes
	Resync  *control.Resync
	Problem string // one sentence; empty = none
	// ProblemCode names the problem; Verdict is the newest handshake's rule and reason, "rule: sentence".
	ProblemCode, Verdict string
	// Stuck: its disk, or its own loop, has not answered for two seconds; the rest of the state may be as old.
	Stuck bool
	// Lost, HeldFor and LastAck are ages; negative = never, or not now.
	Lost, HeldFor, LastAck time.Duration
}

// PromoteOrder makes a side primary.
type PromoteOrder struct {
	Epoch  ha.Epoch
	Permit string // the permission that the promotion carries; empty = none
	// Session that was lost when the permission was decided upon: met again since, the peer counts on a promise, and the permission is void.
	Session uint64
	Force   bool // although not UpToDate: a person's word
	Reason  ha.Reason
}

// Volume is this node's side of one volume. Every call ends at its context's deadline.
type Volume interface {
	// Follow calls each with every state until ctx ends; Fact.Running is false while the process is away.
	Follow(ctx context.Context, each func(VolumeState))
	Promote(ctx context.Context, o PromoteOrder) error
	Demote(ctx context.Context) error
	Revoke(ctx context.Context, epoch ha.Epoch, reason ha.Reason) error
	// Permit is for the loss of one session, at one generation: those that were decided on.
	Permit(ctx context.Context, epoch ha.Epoch, generation ha.Generation, session uint64, reason string) error
	Withdraw(ctx context.Context) error
	// Outdate stores the peer's request and its answer; boot is the asker's.
	Outdate(ctx context.Context, boot ha.BootName, r ha.Request) (ha.Answer, error)
	PeerOutdated(ctx context.Context, a ha.Answer) error
	EndLicence(ctx context.Context, reason ha.Reason) error
	Leave(ctx context.Context) error
	// Snapshot is the generation set, opaque, at most 640 bytes; Compare says what the peer's means beside ours.
	Snapshot(ctx context.Context) ([]byte, error)
	Compare(ctx context.Context, peer []byte) (ha.Comparison, error)
	Connect(ctx context.Context) error
	Disconnect(ctx context.Context) error
	// Resolve ends a split-brain on this side; local: this side's history goes, else the peer's.
	Resolve(ctx context.Context, local bool) error
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
	Detach(ctx context.Context, force bool) error
	// OpenDevice makes the kernel device and returns its path; a device that is there already is returned again. mount: it is going to be
	// mounted, so nobody else may write.
	OpenDevice(ctx context.Context, mount bool) (string, error)
	CloseDevice(ctx context.Context, lazy bool) error
	Alive(ctx context.Context) error
	// Kill ends the process pid for good, if it still serves the volume.
	Kill(ctx context.Context, pid int) error
}
