package volume

import (
	"fmt"
	"os"
	"sync"
	"time"

	"evenkeel/replication"
	"evenkeel/replication/control"
)

// news tells the streams that a new status stands.
type news struct {
	mu   sync.Mutex
	next chan struct{}
}

func newNews() *news { return &news{next: make(chan struct{})} }

// wait is closed at the next change.
func (n *news) wait() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.next
}

func (n *news) tell() {
	n.mu.Lock()
	close(n.next)
	n.next = make(chan struct{})
	n.mu.Unlock()
}

// changed publishes the status; streams look at it when they like.
func (l *loop) changed() {
	s := l.makeStatus()
	old := l.status.Swap(&s)
	if old == nil || notable(*old) != notable(s) {
		l.news.tell()
	}
}

// notable is what a stream tells at once; ages and counters come with the next.
func notable(s control.Status) [16]any {
	return [16]any{s.Role, s.Disk, s.PeerDisk, s.PeerRole, s.Connection, s.Generation, s.SplitBrain, s.Permission, s.Holding,
		s.Licence, s.Session, s.PeerRecord, s.Epoch, s.Device, s.ProblemCode, len(s.Answered)}
}

func (l *loop) makeStatus() control.Status {
	st := l.state
	s := control.Status{
		Name: l.config.Name, PID: os.Getpid(), Size: l.size.Load(),
		Role: string(st.Role()), Disk: l.diskState().String(), PeerDisk: replication.DUnknown.String(),
		Connection: string(l.connection()), Mirrors: l.mirrors(),
		Generation: st.Current.ID.String(), SplitBrain: st.Flags.Has(replication.SplitBrain),
		Permission: st.Permission.Reason, Holding: !l.holding.IsZero(),
		Licence: st.HasLicence() && l.area != nil, Session: l.newestSession(),
		LostMS: -1, LostReason: l.lostReason, NeverHadPeer: st.NeverHadPeer(), LastPrimary: st.Flags.Has(replication.LastPrimary),
		PeerRecord: st.PeerRecord(), Epoch: control.Epoch(st.Epoch), LastAckMS: age(l.now, l.ackAt),
		Loner:  !st.BitmapOf.ID.IsZero() && st.BitmapOf.Reason != replication.ReasonSync,
		Export: l.config.Export, Problem: l.problemText, ProblemCode: l.problemCode, Verdict: verdictText(l.verdict),
		Written: l.counters.written, Read: l.counters.read, Received: l.counters.received, ResyncSent: l.counters.resyncSent,
	}
	if l.bits != nil {
		s.OutOfSyncBytes = l.bits.Bytes()
	}
	if l.oldestJob() > stuckAfter {
		stick(&s)
	}
	l.sayWanted(&s)
	if s.Holding {
		s.HoldingMS = l.now.Sub(l.holding).Milliseconds()
	}
	if l.session == nil {
		s.LostMS = age(l.now, l.lostAt)
	}
	l.peerStatus(&s)
	l.deviceStatus(&s)
	if st.Answer.Result != "" {
		s.Answered = []control.OutdateAnswer{answerOf(st.Answer)}
	}
	return s
}

// stick says that the disk hangs, unless something else is wrong already.
func stick(s *control.Status) {
	if s.ProblemCode == "" {
		s.ProblemCode = control.Stuck
		s.Problem = fmt.Sprintf("volume %s: its disk has not answered for more than %v: it hangs", s.Name, stuckAfter)
	}
}

// newestSession is the session that is live or was lost last. One that is about to be live does not count: the engine would take its number for
// a loss, and ask the peer to store Outdated while it connects.
func (l *loop) newestSession() uint64 {
	if s := l.session; s != nil && !s.live {
		return s.before
	}
	return l.state.Mark.Session
}

func (l *loop) peerStatus(s *control.Status) {
	x := l.session
	if x == nil || !x.ready {
		if l.state.Flags.Has(replication.PeerOutdated) {
			s.PeerDisk = replication.Outdated.String()
		}
		return
	}
	s.PeerDisk, s.PeerRole = replication.DiskState(x.peerState.Disk).String(), x.peerState.Role
	s.Sent = l.sentBytes(x)
	if x.resync != nil && x.live {
		s.Resync = l.resyncStatus(x.resync, s.OutOfSyncBytes)
	}
}

func (l *loop) sentBytes(x *session) uint64 {
	total := l.counters.sent
	for _, o := range []*outbox{x.link.data, x.link.ack} {
		o.mu.Lock()
		total += o.bytes
		o.mu.Unlock()
	}
	return total
}

func (l *loop) resyncStatus(r *resync, left uint64) *control.Resync {
	out := &control.Resync{RateBytes: uint64(r.rate), Paused: l.syncPaused()}
	if r.total > 0 {
		out.Percent = 100 * float64(r.total-min(left, r.total)) / float64(r.total)
	}
	if r.rate > 1 && !out.Paused {
		seconds := int64(float64(left) / r.rate)
		out.SecondsLeft = &seconds
	}
	return out
}

func (l *loop) deviceStatus(s *control.Status) {
	if l.kernel != nil {
		s.Device, s.Export = l.kernel.Path(), l.kernel.Kind()
	}
	if l.server != nil {
		s.Socket = l.server.socket
	}
}

// connection is DRBD's word for what the connection is.
func (l *loop) connection() replication.Connection {
	s := l.session
	switch {
	case s != nil && s.live && s.direction == replication.Source:
		return replication.SyncSource
	case s != nil && s.live && s.direction == replication.Target:
		return replication.SyncTarget
	case s != nil && s.live:
		return replication.Connected
	case !l.wanting.Load() || l.area == nil || l.problemCode == "split_brain":
		return replication.StandAlone
	}
	return replication.Connecting
}

func verdictText(v replication.Verdict) string {
	if v.Rule == "" {
		return ""
	}
	return v.Rule + ": " + v.Reason
}

// age is the time since at in ms, -1 if it never was.
func age(now, at time.Time) int64 {
	if at.IsZero() {
		return -1
	}
	return now.Sub(at).Milliseconds()
}

func answerOf(a replication.Answer) control.OutdateAnswer {
	return control.OutdateAnswer{Outdate: control.Outdate{Number: a.Number, Boot: a.Boot, Generation: a.Generation.String(),
		Session: a.Session, Epoch: control.Epoch(a.Epoch)}, Result: a.Result, Reason: a.Reason}
}
