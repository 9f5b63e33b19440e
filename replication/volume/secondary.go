package volume

import (
	"fmt"

	"evenkeel/replication"
	"evenkeel/replication/export"
	"evenkeel/replication/wire"
)

// incoming is a change that the peer sent: a mirrored write or a piece of a resync.
type incoming struct {
	m *message
	span
}

func (i *incoming) start(l *loop) {
	if l.session == nil || l.session.link != i.m.link || l.area == nil {
		l.incomingCount--
		i.m.done()
		l.drained()
		return
	}
	if s := l.busy.conflict(i.off, i.end, false); s != nil {
		s.waiters = append(s.waiters, i)
		return
	}
	l.busy.add(&i.span)
	d := l.disk
	l.jobs <- func() {
		err := applyIncoming(d, i.m)
		l.box.post(call(func(l *loop) { l.applied(i, err) }))
	}
}

// applyIncoming does the change on the own disk.
func applyIncoming(d diskDevice, m *message) error {
	fua := m.Flags&wire.FlagFUA != 0
	if m.Size > 0 {
		return d.WriteAt(m.buf, m.Offset, fua)
	}
	err := d.WriteZeroes(m.Offset, uint64(m.Length), m.Flags&wire.FlagNoHole == 0)
	if err == nil && fua {
		err = d.Flush()
	}
	return err
}

// mirrored takes a change of the peer's. A primary takes none: two primaries are a split-brain in the making.
func (l *loop) mirroredChange(m *message) {
	sync := m.Kind == wire.KindSyncData || m.Kind == wire.KindSyncZeroes
	s := l.session
	switch {
	case !s.receives():
		l.endSession(wire.Refuse{Code: "order", Text: fmt.Sprintf("the peer sent data (kind %d) before both were ready", m.Kind)})
	case l.state.Role() == replication.Primary:
		l.endSession(wire.Refuse{Code: "two_primaries", Text: "the peer sent a write while this side is primary"})
	case m.Offset+uint64(m.Length) > l.Size():
		l.endSession(wire.Refuse{Code: "range", Text: fmt.Sprintf("the peer wrote beyond the end, at %d", m.Offset)})
	case sync && s.direction != replication.Target:
		l.endSession(wire.Refuse{Code: "direction", Text: "the peer sent resync data to a side that is not the target"})
	default:
		l.incomingCount++
		l.counters.received += uint64(m.Length)
		(&incoming{m: m, span: span{off: m.Offset, end: m.Offset + uint64(m.Length)}}).start(l)
		return
	}
	m.done()
}

// applied answers the peer. What a resync wrote waits for the next flush before its bits are cleared.
func (l *loop) applied(i *incoming, err error) {
	m := i.m
	waiters := l.busy.remove(&i.span)
	l.incomingCount--
	if err != nil {
		l.diskFailed(fmt.Errorf("write of the peer's at %d: %w", m.Offset, err))
	}
	if s := l.session; s != nil && s.link == m.link {
		if err == nil && (m.Kind == wire.KindSyncData || m.Kind == wire.KindSyncZeroes) {
			s.written = append(s.written, flushSpan{off: m.Offset, n: uint64(m.Length), sync: true})
		}
		s.acknowledge(m.Seq, err)
	}
	m.done()
	for _, w := range waiters {
		w.start(l)
	}
	l.drained()
}

// flushForPeer makes what was acknowledged so far stable.
func (l *loop) flushForPeer(m *message) {
	s := l.session
	if !s.receives() || l.area == nil {
		return
	}
	covered := s.written
	s.written = nil
	d := l.disk
	l.jobs <- func() {
		err := d.Flush()
		l.box.post(call(func(l *loop) {
			if err != nil {
				l.diskFailed(fmt.Errorf("flush for the peer: %w", err))
			}
			if l.session != s {
				return
			}
			if err == nil {
				for _, c := range covered {
					l.bits.Clear(c.off, c.n)
				}
			}
			s.acknowledge(m.Seq, err)
		}))
	}
}

func (s *session) acknowledge(seq uint64, err error) {
	h := wire.Header{Kind: wire.KindAck, Seq: seq}
	if err != nil {
		h.Flags = wire.FlagFailed
	}
	s.link.ack.post(outMessage{Header: h})
}

// diskDevice is what a change needs of the disk.
type diskDevice interface {
	WriteAt(p []byte, off uint64, fua bool) error
	WriteZeroes(off, length uint64, unmap bool) error
	Flush() error
}

var _ export.Device = (*device)(nil)
