package replication

import "encoding/binary"

// packer walks the fields of a record once for writing and once for reading, so the two cannot differ. Little endian. Reading past the end
// sets short and yields zeroes.
type packer struct {
	buf     []byte
	reading bool
	short   bool
}

func (p *packer) take(n int) []byte {
	if !p.reading {
		p.buf = append(p.buf, make([]byte, n)...)
		return p.buf[len(p.buf)-n:]
	}
	if len(p.buf) < n {
		p.short, p.buf = true, nil
		return make([]byte, n)
	}
	b := p.buf[:n]
	p.buf = p.buf[n:]
	return b
}

func (p *packer) bytes(v []byte) {
	if b := p.take(len(v)); p.reading {
		copy(v, b)
	} else {
		copy(b, v)
	}
}

func (p *packer) u8(v *uint8) {
	if b := p.take(1); p.reading {
		*v = b[0]
	} else {
		b[0] = *v
	}
}

func (p *packer) u32(v *uint32) {
	if b := p.take(4); p.reading {
		*v = binary.LittleEndian.Uint32(b)
	} else {
		binary.LittleEndian.PutUint32(b, *v)
	}
}

func (p *packer) u64(v *uint64) {
	if b := p.take(8); p.reading {
		*v = binary.LittleEndian.Uint64(b)
	} else {
		binary.LittleEndian.PutUint64(b, *v)
	}
}

// text is a length byte and a fixed field of room bytes; longer texts are cut.
func (p *packer) text(v *string, room int) {
	n := uint8(min(len(*v), room))
	p.u8(&n)
	b := p.take(room)
	if !p.reading {
		copy(b, (*v)[:n])
		return
	}
	*v = string(b[:min(int(n), room)])
}

func (p *packer) epoch(e *Epoch) {
	p.u64(&e.Counter)
	p.text(&e.Node, NodeMax)
}

// entry is 22 bytes; the time is good until 2106.
func (p *packer) entry(e *GenerationEntry) {
	reason, at := uint8(e.Reason), uint32(e.At)
	p.bytes(e.ID[:])
	p.u8(&reason)
	p.u8(&e.Node)
	p.u32(&at)
	if p.reading {
		e.Reason, e.At = GenerationReason(reason), int64(at)
	}
}

func (p *packer) mark(m *Mark) {
	p.u64(&m.Session)
	p.u64(&m.Counter)
}

// generations are the fields that State and Snapshot share, in one order.
func (p *packer) generations(disk *DiskState, flags *Flags, current, bitmapOf *GenerationEntry, history *[16]GenerationEntry) {
	p.u8((*uint8)(disk))
	p.u32((*uint32)(flags))
	p.entry(current)
	p.entry(bitmapOf)
	for i := range history {
		p.entry(&history[i])
	}
}

// NodeMax is the longest node id in bytes.
const NodeMax = 15

// StateSize is the length of Encode's result in bytes.
var StateSize = len(State{}.Encode())

// walk lists the fields of a State in the order of the superblock's record, version 1.
func (s *State) walk(p *packer) {
	p.bytes(s.Volume[:])
	p.text(&s.Node, NodeMax)
	p.u64(&s.Size)
	p.generations(&s.Disk, &s.Flags, &s.Current, &s.BitmapOf, &s.History)
	p.epoch(&s.Epoch)
	p.epoch(&s.Promoted)
	p.epoch(&s.Permission.Epoch)
	p.bytes(s.Permission.Generation[:])
	p.text(&s.Permission.Reason, 31)
	p.text(&s.Licence, 47)
	p.mark(&s.Mark)
	p.mark(&s.PeerMark)
	p.u64(&s.Answer.Number)
	p.text(&s.Answer.Boot, 47)
	p.bytes(s.Answer.Generation[:])
	p.u64(&s.Answer.Session)
	p.epoch(&s.Answer.Epoch)
	p.text(&s.Answer.Result, 15)
	p.text(&s.Answer.Reason, 47)
	p.bytes(s.Boot[:])
	p.bytes(s.DiskID[:])
	p.bytes(s.PeerDisk[:])
}

// Encode is the state's record in the superblock: fixed length, without a checksum of its own (the superblock has one).
func (s State) Encode() []byte {
	var p packer
	s.walk(&p)
	return p.buf
}

// ParseState reads what Encode wrote; b may be longer.
func ParseState(b []byte) (State, error) {
	var s State
	p := packer{buf: b, reading: true}
	s.walk(&p)
	if p.short {
		return State{}, refuse("the state record has %d bytes, %d are needed", len(b), StateSize)
	}
	if s.Disk < Diskless || s.Disk > UpToDate {
		return State{}, refuse("the state record names disk state %d, which does not exist", s.Disk)
	}
	return s, nil
}
