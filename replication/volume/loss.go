package volume

import (
	"fmt"

	"evenkeel/replication/wire"
)

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
	if r.Code == "replaced" || r.Code == "silent" {
		k.close() // nobody listens there
	}
	k.data.finish(farewell)
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
		next := l.state.PeerGone()
		if l.revoked != "" {
			next, l.revoked = next.EndLicence(l.revoked), ""
		}
		if err := l.save(next); err != nil {
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
		if o.mirrored { // acknowledged there, perhaps not stable, and not accounted for before the own disk is done
			l.bits.Set(o.off, o.end-o.off)
		}
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
	l.counters.sent = l.sentBytes(s)
	s.link.result <- outcome{refused: !s.live && s.ended.Code != "lost", again: s.ended.Again}
	if next := l.nextLink; next != nil {
		l.nextLink = nil
		l.linkUp(next)
	}
	l.release()
	l.changed()
}
