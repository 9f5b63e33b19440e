package beat

import (
	"encoding/binary"
	"time"

	"evenkeel/ha"
)

// Head is what heart itself fills in: all that moves from beat to beat.
type Head struct {
	Boot       ha.BootName // compact form: only the first 4 bytes are known, the rest is zero
	Seq        uint64
	SentAt     ha.Instant // full form only
	Link       uint16     // TagOf the link; full form only
	Count      uint16     // beats sent on that link, modulo 65536
	WantFull   bool       // the sender holds no full form of the digest that it heard last
	EngineAge  time.Duration
	EngineGone bool
	// Heard is, by link index, the newest sequence number heard; at most MaxLinks. Full form only.
	Heard []uint64
	// Promises belong to the page's volumes, in their order; a parsed compact form has all four entries.
	Promises []time.Duration
	// Newest is the newest number heard on any link, NewestLink that link's index, This the newest heard on the link that this
	// beat is sent on; 0 = none. Compact form only.
	Newest     uint64
	NewestLink uint8
	This       uint64
}

// Frame is a beat as Parse found it.
type Frame struct {
	Head
	Form   Form
	Node   ha.NodeID
	Digest uint32
	Saying ha.Saying // full form only
}

const (
	flagGone uint8 = 1 << iota
	flagWant
)

// AppendFull appends the full form to dst. Heard is cut to MaxLinks, Promises to the page's volumes; a promise that is missing is zero.
func (c *Codec) AppendFull(dst []byte, h *Head, p *Page) []byte {
	start := len(dst)
	w := writer{p: dst}
	c.begin(&w, Full)
	w.p = append(w.p, h.Boot[:]...)
	w.u64(h.Seq)
	w.u64(uint64(h.SentAt))
	w.u16(h.Link)
	w.u16(h.Count)
	w.u8(h.flags())
	w.u32(msUp(h.EngineAge))
	heard := h.Heard[:min(len(h.Heard), MaxLinks)]
	w.u8(uint8(len(heard)))
	for _, s := range heard {
		w.u64(s)
	}
	w.u8(uint8(p.Volumes))
	for i := range p.Volumes {
		w.u32(msDown(h.promise(i)))
	}
	w.u16(uint16(len(p.slow)))
	w.p = append(w.p, p.slow...)
	return c.finish(w.p, start, fullTag)
}

// AppendCompact appends the compact form to dst.
func (c *Codec) AppendCompact(dst []byte, h *Head, p *Page) []byte {
	start := len(dst)
	w := writer{p: dst}
	c.begin(&w, Compact)
	w.p = append(w.p, h.Boot[:4]...)
	w.u64(h.Seq)
	w.u64(h.Newest)
	link, behind := h.NewestLink, uint16(noneHeard)
	if h.Newest == 0 {
		link = 0
	} else if d := h.Newest - h.This; h.This != 0 && d < noneHeard {
		behind = uint16(d)
	}
	w.u8(link)
	w.u16(behind)
	w.u16(h.Count)
	w.u8(h.flags())
	w.u16(uint16(min(msUp(h.EngineAge), 65535)))
	w.u32(p.Digest)
	for i := range MaxVolumes {
		w.u16(uint16(min(msDown(h.promise(i))/10, 65535)))
	}
	return c.finish(w.p, start, compactTag)
}

// noneHeard stands for "nothing on this link, or too far behind".
const noneHeard = 65535

func (c *Codec) begin(w *writer, f Form) {
	w.p = append(w.p, 'E', formatVersion<<4|byte(f), c.keys[0].id, c.cluster, c.node[0])
}

const formatVersion = 1

// finish signs what was appended since start.
func (c *Codec) finish(p []byte, start, tag int) []byte {
	return append(p[:start], c.sign(p[start:], tag)...)
}

func (h *Head) flags() (f uint8) {
	if h.EngineGone {
		f |= flagGone
	}
	if h.WantFull {
		f |= flagWant
	}
	return f
}

func (h *Head) promise(i int) time.Duration {
	if i < len(h.Promises) {
		return h.Promises[i]
	}
	return 0
}

// Parse reads a form into f, overwriting all of it, and says why it is refused, if it is. The order of checks is: shape, version, cluster, key,
// node, content; so a foreign pair is named as such, and nothing behind the key is judged by anybody without one.
func (c *Codec) Parse(p []byte, f *Frame) Refusal {
	*f = Frame{Head: Head{Heard: f.Heard[:0], Promises: f.Promises[:0]}}
	if len(p) < 5+compactTag || p[0] != 'E' {
		return Malformed
	}
	if p[1]>>4 != formatVersion {
		return Version
	}
	f.Form = Form(p[1] & 15)
	tag := fullTag
	switch f.Form {
	case Full:
		if len(p) > MaxFull || len(p) < 5+fullTag {
			return Malformed
		}
	case Compact:
		if tag = compactTag; len(p) != CompactSize {
			return Malformed
		}
	default:
		return Malformed
	}
	switch {
	case p[3] != c.cluster:
		return Cluster
	case !c.signed(p, tag):
		return Key
	}
	r := &reader{p: p[4 : len(p)-tag]}
	f.Node = r.node()
	switch {
	case f.Node == c.node:
		return Own
	case f.Node == "" || c.peer != "" && f.Node != c.peer:
		return Stranger
	}
	if f.Form == Full {
		f.readFull(r)
	} else {
		f.readCompact(r)
	}
	if r.bad || len(r.p) > 0 {
		return Malformed
	}
	return Accepted
}

func (f *Frame) readFlags(r *reader) {
	b := r.flags(2)
	f.EngineGone, f.WantFull = b&flagGone != 0, b&flagWant != 0
}

func (f *Frame) readFull(r *reader) {
	copy(f.Boot[:], r.take(16))
	f.Seq = r.u64()
	f.SentAt = ha.Instant(r.u64())
	f.Link = r.u16()
	f.Count = r.u16()
	f.readFlags(r)
	f.EngineAge = r.ms()
	for range r.count(MaxLinks) {
		f.Heard = append(f.Heard, r.u64())
	}
	for range r.count(MaxVolumes) {
		f.Promises = append(f.Promises, r.ms())
	}
	slow := r.take(int(r.u16()))
	if r.bad {
		return
	}
	s := &reader{p: slow}
	readSaying(s, &f.Saying)
	if s.bad || len(s.p) > 0 || len(f.Saying.Volumes) != len(f.Promises) {
		r.bad = true
		return
	}
	for i := range f.Promises {
		f.Saying.Volumes[i].Promise = f.Promises[i]
	}
	f.Digest = digest(f.Boot, slow)
}

func (f *Frame) readCompact(r *reader) {
	copy(f.Boot[:], r.take(4))
	f.Seq = r.u64()
	f.Newest = r.u64()
	f.NewestLink = r.u8()
	behind := r.u16()
	switch {
	case f.Newest == 0 && (f.NewestLink != 0 || behind != noneHeard):
		r.bad = true
	case behind != noneHeard && uint64(behind) >= f.Newest:
		r.bad = true
	case behind != noneHeard:
		f.This = f.Newest - uint64(behind)
	}
	f.Count = r.u16()
	f.readFlags(r)
	f.EngineAge = time.Duration(r.u16()) * time.Millisecond
	f.Digest = r.u32()
	for range MaxVolumes {
		f.Promises = append(f.Promises, time.Duration(r.u16())*10*time.Millisecond)
	}
}

// SameBoot says whether the frame is from that boot, as far as its form tells.
func (f *Frame) SameBoot(b ha.BootName) bool {
	if f.Form == Compact {
		return binary.BigEndian.Uint32(f.Boot[:]) == binary.BigEndian.Uint32(b[:])
	}
	return f.Boot == b
}

// Beat is the whole beat that a full form carries. Nothing in it is shared with the frame but what never changes.
func (f *Frame) Beat(cluster uint8) ha.Beat {
	return ha.Beat{
		Cluster: cluster, Node: f.Node, Boot: f.Boot, Seq: f.Seq, SentAt: f.SentAt, Heard: append([]uint64(nil), f.Heard...),
		EngineAge: f.EngineAge, EngineGone: f.EngineGone, Saying: f.Saying,
	}
}

// Merge puts what a compact form carries over the full beat of the same digest. this is the index of the link that it came in on.
func (f *Frame) Merge(full *ha.Beat, this int) ha.Beat {
	b := *full
	b.Seq, b.SentAt, b.EngineAge, b.EngineGone = f.Seq, 0, f.EngineAge, f.EngineGone
	b.Heard = append([]uint64(nil), full.Heard...)
	f.mergeHeard(b.Heard, this)
	b.Volumes = append([]ha.VolumeSaying(nil), full.Volumes...)
	for i := range b.Volumes {
		b.Volumes[i].Promise = f.Promises[i]
	}
	return b
}

func (f *Frame) mergeHeard(heard []uint64, this int) {
	if n := int(f.NewestLink); n < len(heard) && f.Newest != 0 {
		heard[n] = f.Newest
	}
	if this >= 0 && this < len(heard) {
		heard[this] = f.This
	}
}
