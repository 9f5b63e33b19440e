package replication

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Snapshot is what one side tells at a handshake: everything that Compare looks at. It is taken from one State at one instant; if the state
// moved before the verdict, the handshake starts again.
type Snapshot struct {
	Volume     [16]byte
	Node       string
	Role       Role
	Disk       DiskState
	Unknown    bool // the metadata cannot be read: nothing below but Size counts
	Permitted  bool // may acknowledge alone for Current
	Flags      Flags
	Current    GenerationEntry
	BitmapOf   GenerationEntry
	History    [16]GenerationEntry
	Epoch      Epoch
	Promoted   Epoch
	Mark       Mark
	PeerMark   Mark
	DiskID     [8]byte
	PeerDisk   [8]byte // PeerMark counts for this disk of the peer
	DirtyBytes uint64  // out of sync by the own bitmap and hot extents
	Size       uint64  // usable bytes
}

// Snapshot is this side as the peer shall see it. dirty is the own bitmap's bytes, hot extents of a crash included.
func (s State) Snapshot(dirty uint64) Snapshot {
	return Snapshot{
		Volume: s.Volume, Node: s.Node, Role: s.Role(), Disk: s.Disk, Permitted: s.Permission.Reason != "" && s.Permitted(),
		Flags: s.Flags, Current: s.Current, BitmapOf: s.BitmapOf, History: s.History,
		Epoch: s.Epoch, Promoted: s.Promoted, Mark: s.Mark, PeerMark: s.PeerMark, DiskID: s.DiskID, PeerDisk: s.PeerDisk,
		DirtyBytes: dirty, Size: s.Size,
	}
}

// UnknownSnapshot is the snapshot of a side whose metadata cannot be read. size is the data size that its sidecar remembers, 0 = not known.
func UnknownSnapshot(volume [16]byte, node string, size uint64) Snapshot {
	return Snapshot{Volume: volume, Node: node, Role: Secondary, Disk: DUnknown, Unknown: true, Size: size}
}

// Bytes of an encoded snapshot, version 1 (little endian):
//
//	0  4  magic "EKSN"        4  2  version      6  2  length of all
//	8  .. fields, see walk    end-4  4  CRC-32C of all before it
const (
	snapshotMagic   = "EKSN"
	snapshotVersion = 1
	// SnapshotMax bounds an encoded snapshot in bytes: it must pass over a serial line too.
	SnapshotMax = 640
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrSnapshot is wrapped by nothing: the bytes are no snapshot that this version understands.
var ErrSnapshot = errors.New("the peer's generation set cannot be read: damaged, or of another version of Evenkeel")

func (s *Snapshot) walk(p *packer) {
	bits := uint8(0)
	for i, b := range []bool{s.Role == Primary, s.Unknown, s.Permitted} {
		if b {
			bits |= 1 << i
		}
	}
	p.u8(&bits)
	p.bytes(s.Volume[:])
	p.text(&s.Node, NodeMax)
	p.generations(&s.Disk, &s.Flags, &s.Current, &s.BitmapOf, &s.History)
	p.epoch(&s.Epoch)
	p.epoch(&s.Promoted)
	p.mark(&s.Mark)
	p.mark(&s.PeerMark)
	p.bytes(s.DiskID[:])
	p.bytes(s.PeerDisk[:])
	p.u64(&s.DirtyBytes)
	p.u64(&s.Size)
	if p.reading {
		s.Role, s.Unknown, s.Permitted = Secondary, bits&2 != 0, bits&4 != 0
		if bits&1 != 0 {
			s.Role = Primary
		}
	}
}

// Encode is the snapshot's bytes, at most SnapshotMax.
func (s Snapshot) Encode() []byte {
	var p packer
	p.buf = append(p.buf, snapshotMagic...)
	p.buf = binary.LittleEndian.AppendUint16(p.buf, snapshotVersion)
	p.buf = append(p.buf, 0, 0)
	s.walk(&p)
	binary.LittleEndian.PutUint16(p.buf[6:], uint16(len(p.buf)+4))
	return binary.LittleEndian.AppendUint32(p.buf, crc32.Checksum(p.buf, castagnoli))
}

// ParseSnapshot reads what Encode wrote and nothing else.
func ParseSnapshot(b []byte) (Snapshot, error) {
	if len(b) < 12 || len(b) > SnapshotMax || string(b[:4]) != snapshotMagic ||
		binary.LittleEndian.Uint16(b[4:]) != snapshotVersion || int(binary.LittleEndian.Uint16(b[6:])) != len(b) {
		return Snapshot{}, ErrSnapshot
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	var s Snapshot
	p := packer{buf: body[8:], reading: true}
	s.walk(&p)
	if crc32.Checksum(body, castagnoli) != sum || p.short || len(p.buf) != 0 || s.Disk < Diskless || s.Disk > UpToDate {
		return Snapshot{}, ErrSnapshot
	}
	return s, nil
}
