package volume

// starter is a request that waits for its range; start may find that it must wait again.
type starter interface{ start(l *loop) }

// span is a range of bytes that is being changed, or copied to the peer. Whoever overlaps waits until it is removed.
type span struct {
	off, end uint64
	index    int // in the table
	// quiet: only writers wait for it (the source of a resync reads here).
	quiet   bool
	waiters []starter
}

// ranges are the spans under way. There are at most some hundreds, so a scan is faster than a tree.
type ranges struct{ spans []*span }

// conflict is a span that overlaps [off, end), nil if there is none. A reader does not mind quiet ones.
func (r *ranges) conflict(off, end uint64, reader bool) *span {
	for _, s := range r.spans {
		if s.off < end && off < s.end && !(reader && s.quiet) {
			return s
		}
	}
	return nil
}

func (r *ranges) add(s *span) {
	s.index = len(r.spans)
	r.spans = append(r.spans, s)
}

// remove takes s out and returns who waited for it.
func (r *ranges) remove(s *span) []starter {
	last := len(r.spans) - 1
	r.spans[s.index] = r.spans[last]
	r.spans[s.index].index = s.index
	r.spans[last] = nil
	r.spans = r.spans[:last]
	w := s.waiters
	s.waiters = nil
	return w
}
