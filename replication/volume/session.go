package volume

import (
	"errors"
	"fmt"
	"time"

	"evenkeel/replication"
	"evenkeel/replication/wire"
)

const (
	pingEvery = 250 * time.Millisecond
	// deadAfter is how long the ack connection may be silent.
	deadAfter = 1200 * time.Millisecond
	// handshakeDeadline bounds a handshake; writes of a permitted primary wait that long at most.
	handshakeDeadline = 10 * time.Second
	// ackDeadline is for one write: the peer lives, but its disk does not answer.
	ackDeadline = 20 * time.Second
	bitmapChunk = 256 << 10
	// farewell is how long the last word may take.
	farewell = 500 * time.Millisecond
)

// session is one life of a link, from the snapshots to the loss.
//
//	both:   Snapshot ->  Verdict ->  [Bitmap... ->]  state stored  Ready ->  live
type session struct {
	link   *link
	number uint64 // the replication session
	before uint64 // the one before, which is the newest as long as this one is neither live nor lost
	began  time.Time
	heard  time.Time // newest message on the ack connection
	pinged time.Time

	sent      replication.Snapshot
	sentBytes []byte
	peer      replication.Snapshot
	verdict   *replication.Verdict
	judged    replication.State // what the verdict was found on
	direction replication.Direction

	cursor    uint64 // of the peer's bitmap
	bitmapIn  bool
	ready     bool // own state is stored
	peerReady bool
	live      bool
	peerState wire.State

	resync  *resync
	written []flushSpan // target: pieces since the peer's last flush
	ended   *wire.Refuse
}

// receives says whether data of the peer may be taken: the own state is stored.
func (s *session) receives() bool { return s.ready }

// linkUp begins a session, after the old one is gone.
func (l *loop) linkUp(k *link) {
	if err := l.willing(); err != nil {
		refuseLink(k, err)
		return
	}
	if l.session != nil || l.draining {
		if l.nextLink != nil {
			refuseLink(l.nextLink, errReplaced)
		}
		l.nextLink = k
		l.endSession(wire.Refuse{Code: "replaced", Text: "the peer connected anew", Again: true})
		return
	}
	l.beginSession(k)
}

var errReplaced = &refusal{wire.Refuse{Code: "replaced", Text: "a newer connection took its place"}}

// refuseLink ends a link that never became a session.
func refuseLink(k *link, err error) {
	r := wire.Refuse{Code: "refused", Text: err.Error()}
	var given *refusal
	if errors.As(err, &given) {
		r = given.Refuse
	}
	_ = k.dataConn.SetWriteDeadline(time.Now().Add(time.Second))
	go func() { // ends by the deadline
		_ = sayWords(k.dataConn, wire.KindBye, r)
		k.close()
		k.result <- outcome{refused: true}
	}()
}

func (l *loop) beginSession(k *link) {
	s := &session{link: k, began: l.now, heard: l.now, number: max(l.state.NextSession(), k.peer.Session), before: l.state.Mark.Session}
	l.session = s
	l.tasks.Go(func() { k.run(l.box) })
	s.sent = l.snapshot()
	s.sentBytes = s.sent.Encode()
	k.data.post(outMessage{Header: wire.Header{Kind: wire.KindSnapshot}, payload: s.sentBytes})
	l.log.Debug("handshake begins", "peer", k.peer.Node, "session", s.number)
	l.changed()
}

// snapshot is this side's generation set now.
func (l *loop) snapshot() replication.Snapshot { return l.state.Snapshot(l.bits.Bytes()) }

// received handles a message of the data connection.
func (l *loop) received(m *message) {
	s := l.session
	if s == nil || s.link != m.link || s.ended != nil {
		if m.Kind == wire.KindBye {
			m.link.close() // both said it
		}
		m.done()
		return
	}
	switch m.Kind {
	case wire.KindWrite, wire.KindZeroes, wire.KindSyncData, wire.KindSyncZeroes:
		l.mirroredChange(m) // it gives the buffer back
		return
	case wire.KindFlush:
		l.flushForPeer(m)
	case wire.KindSyncHash:
		l.compareHashes(m)
		return
	default:
		if err := l.word(s, m); err != nil {
			l.endSession(wire.Refuse{Code: "protocol", Text: err.Error()})
		}
	}
	m.done()
}

// word handles what is neither data nor flush.
func (l *loop) word(s *session, m *message) error {
	switch m.Kind {
	case wire.KindSnapshot:
		return l.peerSnapshot(s, m.buf)
	case wire.KindVerdict:
		v, err := wire.Decode[wire.Verdict](m.buf)
		if err != nil {
			return err
		}
		return l.peerVerdict(s, v)
	case wire.KindBitmap:
		return l.peerBitmap(s, m)
	case wire.KindReady:
		s.peerReady = true
		l.goLive(s)
		return nil
	case wire.KindState:
		st, err := wire.Decode[wire.State](m.buf)
		if err != nil {
			return err
		}
		l.peerChanged(s, st)
		return nil
	case wire.KindSyncFinished:
		f, err := wire.Decode[wire.Finished](m.buf)
		if err != nil {
			return err
		}
		return l.syncFinished(s, f)
	case wire.KindSyncDone:
		l.syncDone(s)
		return nil
	case wire.KindRefuse, wire.KindBye:
		r, err := wire.Decode[wire.Refuse](m.buf)
		if err != nil {
			return err
		}
		l.peerSaidBye(s, r)
		return nil
	}
	return fmt.Errorf("the peer sent kind %d on the data connection", m.Kind)
}

// goLive begins mirroring: both have stored what they must.
func (l *loop) goLive(s *session) {
	if !s.ready || !s.peerReady || s.live || s.ended != nil {
		return
	}
	if s.direction == replication.None {
		// Both have durably forgotten what they recorded of the other, so neither can start alone on it (safety.md 11).
		if err := l.save(l.state.Agree(s.peer)); err != nil {
			l.diskFailed(err)
			return
		}
		l.sendState()
	}
	s.live = true
	l.lostAt, l.lostReason, l.discardPeer = time.Time{}, "", false
	if !s.verdict.WentBack || s.direction == replication.Source {
		l.problem("", "")
	}
	l.log.Info("connected", "peer", s.link.peer.Node, "session", s.number, "rule", s.verdict.Rule, "direction", s.direction, "bytes", l.bits.Bytes())
	l.sendMark()
	l.release()
	l.pumpSync()
	l.changed()
}

// acknowledged handles what came together on the ack connection.
func (l *loop) acknowledged(a *acks) {
	s := l.session
	if s == nil || s.link != a.link || s.ended != nil {
		return
	}
	s.heard, l.ackAt = l.now, l.now
	for _, h := range a.heads {
		switch h.Kind {
		case wire.KindAck:
			l.acked(s, h)
		case wire.KindHashAck:
			l.hashesCompared(s, h)
		case wire.KindPing:
			s.link.ack.post(outMessage{Header: wire.Header{Kind: wire.KindPong, Seq: h.Seq}})
		}
		if s.ended != nil {
			return
		}
	}
	for _, m := range a.marks {
		l.peerMark(replication.Mark{Session: m.Session, Counter: m.Counter})
	}
}

// acked is the peer's word that its disk completed something.
func (l *loop) acked(s *session, h wire.Header) {
	if h.Flags&wire.FlagFailed != 0 {
		l.endSession(wire.Refuse{Code: "peer_disk", Text: "the peer's disk failed"})
		return
	}
	if o := l.remote[h.Seq]; o != nil {
		delete(l.remote, h.Seq)
		o.remoteDue, o.mirrored = false, true
		l.settle(o)
		return
	}
	if s.resync != nil && l.syncAcked(s, h.Seq) {
		return
	}
	l.flushedThere(h.Seq)
}

// peerMark stores that the peer's disk is stable at this mark: an older one presented later is a disk that went back in time.
func (l *loop) peerMark(m replication.Mark) {
	if l.area != nil && l.state.PeerMark.Less(m) {
		if err := l.save(l.state.ConfirmPeer(m)); err != nil {
			l.diskFailed(err)
		}
	}
}

// sendMark tells the peer the own mark, which is stored.
func (l *loop) sendMark() {
	m := l.state.Mark
	l.markedAt, l.markedWrites = l.now, l.counters.written+l.counters.received
	l.session.link.ack.post(outMessage{Header: wire.Header{Kind: wire.KindMark}, payload: wire.Encode(wire.Mark{Session: m.Session, Counter: m.Counter})})
}

// sendState tells the peer what this side is now.
func (l *loop) sendState() {
	s := l.session
	if s == nil || !s.ready {
		return
	}
	s.link.data.post(outMessage{Header: wire.Header{Kind: wire.KindState}, payload: wire.Encode(wire.State{
		Role: string(l.state.Role()), Disk: uint8(l.diskState()), Paused: l.paused,
		EpochCounter: l.state.Promoted.Counter, EpochNode: l.state.Promoted.Node,
	})})
}

// peerChanged takes the peer's new role and disk.
func (l *loop) peerChanged(s *session, st wire.State) {
	promoted := st.Role == string(replication.Primary) && s.peerState.Role != st.Role
	s.peerState = st
	if promoted {
		if l.state.Role() == replication.Primary {
			l.endSession(wire.Refuse{Code: "two_primaries", Text: "both sides are primary"})
			return
		}
		l.revoked = "" // this side follows in order
		if l.problemCode == "revoked" {
			l.problem("", "")
		}
		next := l.state.PeerPromoted(replication.Epoch{Counter: st.EpochCounter, Node: st.EpochNode})
		if err := l.save(next); err != nil {
			l.diskFailed(err)
			return
		}
	}
	if replication.DiskState(st.Disk) <= replication.Failed {
		l.endSession(wire.Refuse{Code: "peer_disk", Text: "the peer has no working disk"})
		return
	}
	l.pumpSync()
	l.changed()
}

// frozen: between the snapshot and the begin of mirroring no write may start, or the bitmaps would miss it.
func (l *loop) frozen() bool { return l.session != nil && !l.session.live }
