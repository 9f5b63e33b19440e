package volume

import (
	"bytes"
	"errors"
	"fmt"

	"evenkeel/replication"
	"evenkeel/replication/wire"
)

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
	s.judged = l.state
	if v.WentBack && v.Direction == replication.Target {
		l.problem("disk_went_back", "a disk went back in time: it is older than what it had confirmed")
	}
	switch v.Direction {
	case replication.None:
		s.direction = v.Direction
		return l.store(s, l.state.ForgetPeer()) // Agree follows when both have: goLive
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
	l.discardPeer = false // it was said to this peer as it is now; what that one writes after it has refused is another matter
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
	if l.state != s.judged { // promoted, outdated or revoked since: a primary of now must not become a target
		l.endSession(wire.Refuse{Code: "moved", Text: "this side's state moved during the handshake", Again: true})
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
	} else if err = l.writeBitmap(); err == nil {
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
	if err := l.writeBitmap(); err != nil {
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
	s.ready, l.revoked = true, ""
	s.peerState = wire.State{Role: string(s.peer.Role), Disk: uint8(s.peer.Disk)}
	s.link.data.post(outMessage{Header: wire.Header{Kind: wire.KindReady}})
	l.sendState()
	l.goLive(s)
	return nil
}
