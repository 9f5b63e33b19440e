package heart

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"evenkeel/ha"
)

// sentRing remembers when each of our beats went out, so that an echo of it tells how old it is. It holds 32768 beats: over two minutes
// at the shortest interval on all links.
type sentRing [1 << 15]sentBeat

type sentBeat struct {
	seq uint64
	at  ha.Instant
	tag uint16 // of the link
}

func (r *sentRing) note(seq uint64, at ha.Instant, tag uint16) {
	r[seq%uint64(len(r))] = sentBeat{seq: seq, at: at, tag: tag}
}

func (r *sentRing) find(seq uint64) (sentBeat, bool) {
	s := r[seq%uint64(len(r))]
	return s, seq != 0 && s.seq == seq
}

// firstSeq is where this process begins to count: the microseconds since the machine booted, above a number that belongs to the boot alone. Beats
// are rarer than microseconds, so a later process of one boot begins above all that an earlier one sent, without a file; and a recording of
// another boot echoes no number of this one.
func firstSeq(boot ha.BootName, now ha.Instant) uint64 {
	s := sha256.Sum256(boot[:])
	return binary.BigEndian.Uint64(s[:])>>13 + uint64(time.Duration(now)/time.Microsecond)
}
