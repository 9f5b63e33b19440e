package volume

import (
	"bytes"
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
)

// session is one life of a link, from the snapshots to the loss.
//
//	both:   Snapshot ->  Verdict ->  [Bitmap... ->]  state stored  Ready ->  live
type session struct {
	link   *link
	number uint64 // the replication session
	began  time.Time
	heard  time.Time // newest message on the ack connection
	pinged time.Time

	sent      replication.Snapshot
	sentBytes []byte
	peer      replication.Snapshot
	verdict   *replication.Verdict
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
	s := &session{link: k, began: l.now, heard: l.now, number: max(l.state.NextSession(), k.peer.Session)}
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

// peerSnapshot compares and says the verdict.
func (l *loop) peerSnapshot(s *session, b []byte) error {
	if s.verdict != nil {
		return errors.New("the peer sent a second snapshot")
	}
	peer, err := replication.ParseSnapshot(b)
	if err != nil {
		return err
	}
	v := replication.Compare(s.sent, peer)
	s.peer, s.verdict = peer, &v
	s.link.data.post(outMessage{Header: wire.Header{Kind: wire.KindVerdict}, payload: wire.Encode(wire.Verdict{
		Rule: v.Rule, Direction: string(v.Direction), Full: v.Full, Checksum: v.Checksum, Reason: v.Reason, DiscardYours: l.discardPeer,
	})})
	return nil
}

// peerVerdict goes on only if both found the same, from inputs that still hold.
func (l *loop) peerVerdict(s *session, p wire.Verdict) error {
	if s.verdict == nil {
		return errors.New("the peer sent its verdict before its snapshot")
	}
	v := *s.verdict
	l.verdict = v
	m := v.Mirror()
	if p.Rule != m.Rule || p.Direction != string(m.Direction) || p.Full != m.Full || p.Checksum != m.Checksum {
		l.endSession(wire.Refuse{Code: "verdicts_differ", Text: fmt.Sprintf(
			"the two sides judge differently (here %s/%s, there %s/%s): nothing is moved; install the same version on both", v.Rule, v.Direction, p.Rule, p.Direction)})
		return nil
	}
	if !bytes.Equal(l.snapshot().Encode(), s.sentBytes) {
		l.endSession(wire.Refuse{Code: "moved", Text: "this side's state moved during the handshake", Again: true})
		return nil
	}
	if v.WentBack {
		l.problem("disk_went_back", "a disk went back in time: it is older than what it had confirmed")
	}
	switch v.Direction {
	case replication.None:
		s.direction = v.Direction
		return l.store(s, l.state.Agree(s.peer))
	case replication.Source, replication.Target:
		s.direction = v.Direction
		l.exchange(s)
		return nil
	case replication.Diverged:
		return l.splitBrain(s, p.DiscardYours)
	}
	l.problem(refusalCode(v), v.Reason)
	l.endSession(wire.Refuse{Code: refusalCode(v), Text: v.Reason})
	return nil
}

func refusalCode(v replication.Verdict) string {
	if v.WentBack {
		return "disk_went_back"
	}
	return string(v.Direction)
}

// splitBrain stores the verdict, on both sides. A person's word, given on either side, makes the victim give up; then both meet again.
func (l *loop) splitBrain(s *session, victim bool) error {
	if victim {
		if next, err := l.state.GiveUp(); err == nil {
			if err := l.save(next); err != nil {
				return err
			}
			l.endSession(wire.Refuse{Code: "resolving", Text: "the peer was named as the survivor", Again: true})
			return nil
		}
	}
	first := !l.state.Flags.Has(replication.SplitBrain)
	if first {
		if err := l.save(l.state.FoundSplitBrain()); err != nil {
			return err
		}
		l.log.Error("split-brain: both sides wrote without each other; neither copy is touched", "volume", l.config.Name, "rule", l.verdict.Rule)
	}
	text := "split-brain: both sides wrote without each other, neither copy is touched; resolve it by naming the side whose history goes"
	l.problem("split_brain", text)
	l.endSession(wire.Refuse{Code: "split_brain", Text: text})
	return nil
}

// exchange sends the own bitmap; the union of both counts. In a full sync every bit counts, and nothing is exchanged.
func (l *loop) exchange(s *session) {
	if s.verdict.Full {
		s.bitmapIn = true
		l.startSync(s)
		return
	}
	cursor, done := uint64(0), false
	for !done {
		var runs []byte
		runs, cursor, done = l.bits.EncodeRuns(nil, cursor, bitmapChunk)
		h := wire.Header{Kind: wire.KindBitmap}
		if done {
			h.Flags = wire.FlagLast
		}
		s.link.data.post(outMessage{Header: h, payload: runs})
	}
	l.startSync(s)
}

// peerBitmap may come before the own side has judged: it is kept in the bitmap only after the verdict.
func (l *loop) peerBitmap(s *session, m *message) error {
	if s.direction == "" || s.bitmapIn {
		return errors.New("the peer sent a bitmap out of order")
	}
	next, err := l.bits.MergeRuns(m.buf, s.cursor)
	if err != nil {
		return err
	}
	s.cursor = next
	s.bitmapIn = m.Flags&wire.FlagLast != 0
	l.startSync(s)
	return nil
}

// startSync stores the begin of a resync once the union is known: bits first, then the state that relies on them.
func (l *loop) startSync(s *session) {
	if !s.bitmapIn || s.ready {
		return
	}
	v := *s.verdict
	next := l.state.StartSyncSource(s.peer, v.Full)
	if s.direction == replication.Target {
		next = l.state.StartSyncTarget(s.peer, v.Full)
	}
	var err error
	if v.Full {
		err = l.storeFull(s, next)
	} else if err = l.area.WriteBitmap(l.bits); err == nil {
		err = l.store(s, next)
	}
	if err != nil {
		l.diskFailed(err)
		return
	}
	s.resync = newResync(s.direction == replication.Source, v.Checksum, l.bits.Bytes(), l.now)
}

// storeFull stores the begin of a full resync: the flag stands for the bits until they are written under the pair's name and size.
func (l *loop) storeFull(s *session, next replication.State) error {
	if err := l.save(next); err != nil {
		return err
	}
	if next.Size != l.bits.Size() {
		l.resize(next.Size)
	}
	l.bits.SetAll()
	if err := l.area.WriteBitmap(l.bits); err != nil {
		return err
	}
	return l.store(s, next.BitmapIsFull())
}

// store makes the state at the begin of the session durable, with the session's number and mark, and says so.
func (l *loop) store(s *session, next replication.State) error {
	if s.peer.Role == replication.Primary {
		next = next.PeerPromoted(s.peer.Promoted)
	}
	next = next.SawEpoch(s.peer.Epoch).Connect(s.number).Withdraw()
	if err := l.save(next); err != nil {
		return err
	}
	s.ready = true
	s.peerState = wire.State{Role: string(s.peer.Role), Disk: uint8(s.peer.Disk)}
	s.link.data.post(outMessage{Header: wire.Header{Kind: wire.KindReady}})
	l.sendState()
	l.goLive(s)
	return nil
}

// goLive begins mirroring: both have stored what they must.
func (l *loop) goLive(s *session) {
	if !s.ready || !s.peerReady || s.live || s.ended != nil {
		return
	}
	s.live = true
	l.lostAt, l.lostReason, l.discardPeer = time.Time{}, "", false
	if !s.verdict.WentBack {
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

// peerSaidBye is the peer's orderly end.
func (l *loop) peerSaidBye(s *session, r wire.Refuse) {
	if l.area != nil {
		next := l.state
		switch r.Code {
		case "left_outdated":
			next = next.PeerGone().RecordPeerOutdated()
		case "left_in_sync":
			next = next.PeerLeft(true)
		}
		if next != l.state {
			if err := l.save(next); err != nil {
				l.diskFailed(err)
			}
		}
	}
	s.ended = &wire.Refuse{Code: r.Code, Text: "the peer: " + r.Text, Again: r.Again}
	s.link.close()
	if !r.Again && !s.live {
		l.problem(r.Code, s.ended.Text)
	}
	l.loseSession(s)
}

// endSession ends the session from this side, with the reason for both.
func (l *loop) endSession(r wire.Refuse) {
	s := l.session
	if s == nil || s.ended != nil {
		return
	}
	s.ended = &r
	k := s.link
	k.data.post(outMessage{Header: wire.Header{Kind: wire.KindBye}, payload: wire.Encode(r)})
	k.data.finish(500 * time.Millisecond)
	l.loseSession(s)
}

// linkFailed is the loss without a word.
func (l *loop) linkFailed(k *link, err error) {
	if s := l.session; s != nil && s.link == k && s.ended == nil {
		s.ended = &wire.Refuse{Code: "lost", Text: fmt.Sprintf("the connection ended: %v", err)}
		k.close()
		l.loseSession(s)
	}
}

// loseSession is the loss of the connection, however it came: what the peer may not have becomes bits, and a primary holds.
func (l *loop) loseSession(s *session) {
	if l.session != s {
		return
	}
	l.session, l.draining, l.dying = nil, true, s
	if s.live {
		l.lostAt = l.now
	}
	l.lostReason = s.ended.Code
	l.log.Info("disconnected", "code", s.ended.Code, "why", s.ended.Text, "was_live", s.live)
	if l.area != nil && s.ready {
		if err := l.save(l.state.PeerGone()); err != nil {
			l.diskFailed(err)
		}
	}
	for seq, o := range l.remote {
		delete(l.remote, seq)
		o.remoteDue, o.lost = false, true
		l.bits.Set(o.off, o.end-o.off)
	}
	l.loseUnflushed()
	l.loseSync(s)
	for o := range l.writing {
		l.settle(o)
	}
	l.changed()
}

// linkGone: nothing touches a buffer of the link any more.
func (l *loop) linkGone(k *link) {
	if l.dying != nil && l.dying.link == k {
		l.linkEnded = true
		l.drained()
	}
}

// drained lets what was held go on, and the next link begin, once the old link and its writes are gone.
func (l *loop) drained() {
	s := l.dying
	if s == nil || !l.linkEnded || l.incomingCount > 0 {
		return
	}
	l.dying, l.draining, l.linkEnded = nil, false, false
	s.link.result <- outcome{refused: !s.live && s.ended.Code != "lost", again: s.ended.Again}
	if next := l.nextLink; next != nil {
		l.nextLink = nil
		l.linkUp(next)
	}
	l.release()
	l.changed()
}

// frozen: between the snapshot and the begin of mirroring no write may start, or the bitmaps would miss it.
func (l *loop) frozen() bool { return l.session != nil && !l.session.live }
