package volume

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"evenkeel/replication"
	"evenkeel/replication/wire"
)

const (
	syncPiece     = 1 << 20   // bytes of a request at most
	syncWindow    = 32        // requests in flight
	syncFlushEach = 128 << 20 // bytes between two flushes of the target
	hashPiece     = 64 << 10  // bytes that one hash covers
)

// resync is a resync under way. The source drives it: it locks a run of bits, reads, sends, and lets go when the target acknowledged, so an
// application's write never loses against older data. A bit goes when the target's flush covers its block.
type resync struct {
	source, checksum bool
	cursor           uint64
	flying           map[uint64]*piece // by the number that the target will acknowledge
	pieces           int               // begun and not done
	sinceFlush       uint64
	finishing        bool // "sync finished" is sent

	total   uint64 // bytes out of sync at the beginning
	sampled time.Time
	left    uint64  // at the last sample
	rate    float64 // bytes/s, smoothed
	credit  float64 // bytes that the cap still allows
}

func newResync(source, checksum bool, total uint64, now time.Time) *resync {
	return &resync{source: source, checksum: checksum, flying: map[uint64]*piece{}, total: total, left: total, sampled: now}
}

// piece is one run on its way.
type piece struct {
	s *session
	span
	buf    []byte
	hashes []byte
	due    int // acknowledgements
	sent   time.Time
}

// pumpSync keeps the window full.
func (l *loop) pumpSync() {
	s := l.session
	if s == nil || !s.live || s.resync == nil || !s.resync.source || s.resync.finishing || l.syncPaused() {
		return
	}
	r := s.resync
	for r.pieces < syncWindow && (l.config.Rate == 0 || r.credit > 0) {
		off, n, ok := l.bits.NextRun(r.cursor, syncPiece)
		if !ok {
			break
		}
		r.cursor = off + n
		r.pieces++
		r.credit -= float64(n)
		(&piece{s: s, span: span{off: off, end: off + n, quiet: true}}).start(l)
	}
	if r.pieces == 0 {
		l.wantFlush()
		l.checkSyncEnd()
	}
}

func (l *loop) syncPaused() bool { return l.paused || l.session != nil && l.session.peerState.Paused }

// start locks and reads the run.
func (p *piece) start(l *loop) {
	if l.session != p.s {
		return
	}
	if s := l.busy.conflict(p.off, p.end, false); s != nil {
		s.waiters = append(s.waiters, p)
		return
	}
	l.busy.add(&p.span)
	p.buf = alloc(int(p.end - p.off))
	disk, checksum := l.disk, p.s.resync.checksum
	l.jobs <- func() {
		err := disk.ReadAt(p.buf, p.off)
		if err == nil && checksum {
			p.hashes = hashPieces(nil, p.buf)
		}
		zero := err == nil && isZero(p.buf)
		l.box.post(call(func(l *loop) { l.pieceRead(p, zero, err) }))
	}
}

func (l *loop) pieceRead(p *piece, zero bool, err error) {
	if err != nil {
		l.diskFailed(fmt.Errorf("read for the resync at %d: %w", p.off, err))
	}
	if l.session != p.s {
		l.dropPiece(p)
		return
	}
	h := wire.Header{Kind: wire.KindSyncData, Offset: p.off, Length: uint32(p.end - p.off)}
	switch {
	case p.hashes != nil:
		h.Kind = wire.KindSyncHash
		l.sendPiece(p, h, p.hashes)
	case zero:
		h.Kind = wire.KindSyncZeroes
		l.sendPiece(p, h, nil)
	default:
		l.sendPiece(p, h, p.buf)
	}
}

func (l *loop) sendPiece(p *piece, h wire.Header, payload []byte) {
	l.lastSeq++
	h.Seq = l.lastSeq
	p.s.resync.flying[h.Seq] = p
	p.sent = l.now
	p.due++
	l.counters.resyncSent += uint64(len(payload))
	p.s.link.data.post(outMessage{Header: h, payload: payload})
}

// syncAcked: the target completed a piece, or a part of one.
func (l *loop) syncAcked(s *session, seq uint64) bool {
	p := s.resync.flying[seq]
	if p == nil {
		return false
	}
	delete(s.resync.flying, seq)
	if p.due--; p.due == 0 {
		l.pieceDone(p)
	}
	return true
}

// hashesCompared sends what differs.
func (l *loop) hashesCompared(s *session, h wire.Header) {
	if s.resync == nil || s.resync.flying[h.Seq] == nil {
		return
	}
	p := s.resync.flying[h.Seq]
	for n := uint64(0); h.Flags&wire.FlagSame == 0 && n*hashPiece < p.end-p.off; n++ {
		if h.Offset&(1<<n) == 0 {
			continue
		}
		from := n * hashPiece
		to := min(from+hashPiece, p.end-p.off)
		l.sendPiece(p, wire.Header{Kind: wire.KindSyncData, Offset: p.off + from, Length: uint32(to - from)}, p.buf[from:to])
	}
	l.syncAcked(s, h.Seq)
}

// pieceDone unlocks the run; its bits wait for the target's flush.
func (l *loop) pieceDone(p *piece) {
	r := p.s.resync
	r.pieces--
	r.sinceFlush += p.end - p.off
	l.unflushed = append(l.unflushed, flushSpan{off: p.off, n: p.end - p.off, sync: true})
	l.dropPiece(p)
	if r.sinceFlush >= syncFlushEach {
		r.sinceFlush = 0
		l.wantFlush()
	}
	l.pumpSync()
}

// dropPiece unlocks the run and gives its buffer back.
func (l *loop) dropPiece(p *piece) {
	waiters := l.busy.remove(&p.span)
	free(p.buf)
	p.buf = nil
	for _, w := range waiters {
		w.start(l)
	}
}

// loseSync unlocks what was on its way; its bits are still set. The buffers are left to the collector: the sender may still read them.
func (l *loop) loseSync(s *session) {
	if s.resync == nil {
		return
	}
	seen := map[*piece]bool{}
	for _, p := range s.resync.flying {
		if !seen[p] {
			seen[p] = true
			for _, w := range l.busy.remove(&p.span) {
				w.start(l)
			}
		}
	}
	s.resync = nil
}

// checkSyncEnd: nothing is set, nothing is under way: the source stores that the peer's record is gone, then says so.
func (l *loop) checkSyncEnd() {
	s := l.session
	if s == nil || !s.live || s.resync == nil || !s.resync.source || s.resync.finishing || s.resync.pieces > 0 || l.round != nil {
		return
	}
	for _, f := range l.unflushed {
		if f.sync {
			return
		}
	}
	if l.bits.Count() > 0 {
		if _, _, more := l.bits.NextRun(s.resync.cursor, 1); !more {
			s.resync.cursor = 0
			l.pumpSync()
		}
		return
	}
	if err := l.save(l.state.PrepareFinish()); err != nil {
		l.diskFailed(err)
		return
	}
	s.resync.finishing = true
	s.link.data.post(outMessage{Header: wire.Header{Kind: wire.KindSyncFinished}, payload: wire.Encode(wire.Finished{Snapshot: l.snapshot().Encode()})})
}

// compareHashes is the target's side of a piece in checksum mode: the source holds its lock until the answer.
func (l *loop) compareHashes(m *message) {
	s := l.session
	n := uint64(m.Length)
	if !s.receives() || s.direction != replication.Target || n > syncPiece || m.Offset+n > l.Size() ||
		uint64(m.Size) != (n+hashPiece-1)/hashPiece*sha256.Size {
		l.endSession(wire.Refuse{Code: "protocol", Text: "the peer sent hashes out of order or of a wrong length"})
		m.done()
		return
	}
	disk := l.disk
	l.jobs <- func() {
		buf := alloc(int(n))
		err := disk.ReadAt(buf, m.Offset)
		mask := differing(m.buf, hashPieces(nil, buf))
		free(buf)
		l.box.post(call(func(l *loop) {
			if err != nil {
				l.diskFailed(fmt.Errorf("read for comparing at %d: %w", m.Offset, err))
			}
			if l.session == s && err == nil {
				h := wire.Header{Kind: wire.KindHashAck, Seq: m.Seq, Offset: mask}
				if mask == 0 {
					h.Flags = wire.FlagSame
					s.written = append(s.written, flushSpan{off: m.Offset, n: n, sync: true})
				}
				if mask != 0 {
					s.written = append(s.written, same(m.Offset, n, mask)...)
				}
				s.link.ack.post(outMessage{Header: h})
			}
			m.done()
		}))
	}
}

// same are the pieces of a run that need no data: their bits go with the next flush.
func same(off, n, mask uint64) []flushSpan {
	var spans []flushSpan
	for i := uint64(0); i*hashPiece < n; i++ {
		if mask&(1<<i) == 0 {
			spans = append(spans, flushSpan{off: off + i*hashPiece, n: min(hashPiece, n-i*hashPiece), sync: true})
		}
	}
	return spans
}

func hashPieces(dst, data []byte) []byte {
	for len(data) > 0 {
		n := min(len(data), hashPiece)
		sum := sha256.Sum256(data[:n])
		dst, data = append(dst, sum[:]...), data[n:]
	}
	return dst
}

// differing has a bit for each piece whose hash differs.
func differing(a, b []byte) (mask uint64) {
	for i := 0; i*sha256.Size < len(a); i++ {
		if !bytes.Equal(a[i*sha256.Size:(i+1)*sha256.Size], b[i*sha256.Size:(i+1)*sha256.Size]) {
			mask |= 1 << i
		}
	}
	return mask
}

var zeroes [4096]byte

func isZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeroes))
		if !bytes.Equal(b[:n], zeroes[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// syncFinished is the source's word; the target stores UpToDate on it and on nothing else.
func (l *loop) syncFinished(s *session, f wire.Finished) error {
	if s.direction != replication.Target || !s.live {
		return errors.New("the peer finished a resync that is not under way")
	}
	if l.bits.Count() != 0 {
		return fmt.Errorf("the peer says the resync is finished, but %d blocks here are not in sync", l.bits.Count())
	}
	source, err := replication.ParseSnapshot(f.Snapshot)
	if err != nil {
		return err
	}
	if err := l.writeBitmap(); err != nil {
		l.diskFailed(err)
		return nil
	}
	if err := l.save(l.state.FinishSyncTarget(source)); err != nil {
		l.diskFailed(err)
		return nil
	}
	s.direction, s.resync = replication.None, nil
	l.problem("", "")
	l.log.Info("resync finished: this side is UpToDate")
	s.link.data.post(outMessage{Header: wire.Header{Kind: wire.KindSyncDone}})
	l.sendState()
	l.changed()
	return nil
}

// syncDone is the target's word that it stored UpToDate.
func (l *loop) syncDone(s *session) {
	if s.resync == nil || !s.resync.finishing {
		return
	}
	s.direction, s.resync = replication.None, nil
	s.peerState.Disk = uint8(replication.UpToDate)
	err := l.save(l.state.FinishSyncSource())
	if err == nil {
		err = l.writeBitmap()
	}
	if err != nil {
		l.diskFailed(err)
		return
	}
	l.log.Info("resync finished: the peer is UpToDate", "sent", l.counters.resyncSent)
	l.sendState()
	l.changed()
}

// sampleSync keeps the rate and the credit of the cap.
func (l *loop) sampleSync() {
	s := l.session
	if s == nil || s.resync == nil {
		return
	}
	r := s.resync
	past := l.now.Sub(r.sampled).Seconds()
	if past < 0.1 {
		return
	}
	left := l.bits.Bytes()
	now := float64(r.left-min(left, r.left)) / past
	r.rate += (now - r.rate) * min(1, past/2)
	r.left, r.sampled = left, l.now
	cap := float64(l.config.Rate)
	r.credit = min(r.credit+cap*past, cap)
	l.pumpSync()
}
