package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Version is the format's version; both ends must have the same.
const Version = 1

// HeaderSize is the length of a header in bytes, MaxPayload the longest payload in bytes.
const (
	HeaderSize = 40
	MaxPayload = 4 << 20
)

const magic = 0x456B

// Kind is what a message is.
type Kind uint8

// The kinds; doc.go says what each carries.
const (
	KindHello        Kind = 1
	KindRefuse       Kind = 2
	KindSnapshot     Kind = 3
	KindVerdict      Kind = 4
	KindBitmap       Kind = 5
	KindReady        Kind = 6
	KindWrite        Kind = 7
	KindZeroes       Kind = 8
	KindFlush        Kind = 9
	KindSyncData     Kind = 10
	KindSyncZeroes   Kind = 11
	KindSyncHash     Kind = 12
	KindSyncFinished Kind = 13
	KindSyncDone     Kind = 14
	KindState        Kind = 15
	KindBye          Kind = 16
	KindAck          Kind = 32
	KindHashAck      Kind = 33
	KindPing         Kind = 34
	KindPong         Kind = 35
	KindMark         Kind = 36
)

// Known says whether the kind exists in this version.
func (k Kind) Known() bool {
	return k >= KindHello && k <= KindBye || k >= KindAck && k <= KindMark
}

// Flags qualify a message.
type Flags uint16

// The flags.
const (
	FlagFUA    Flags = 1 << 0 // stable before it is acknowledged
	FlagNoHole Flags = 1 << 1 // zeroes must not unmap
	FlagFailed Flags = 1 << 2 // the acknowledged request ended with an I/O error
	FlagLast   Flags = 1 << 3 // the last Bitmap message
	FlagSame   Flags = 1 << 4 // no piece differs
	allFlags         = FlagFUA | FlagNoHole | FlagFailed | FlagLast | FlagSame
)

// Header is a message's header.
type Header struct {
	Kind   Kind
	Flags  Flags
	Seq    uint64
	Offset uint64 // bytes
	Length uint32 // bytes of the range
	Size   uint32 // bytes of the payload
	Sum    uint32 // CRC32C of the payload
}

// The errors of ParseHeader and Check. Each ends the connection.
var (
	ErrDamaged = errors.New("damaged message")
	ErrVersion = errors.New("message of another version")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sum is the checksum of a payload: CRC32C, 0 for an empty one.
func Sum(payload []byte) uint32 { return crc32.Checksum(payload, castagnoli) }

// Append writes the header behind dst.
func (h Header) Append(dst []byte) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, magic)
	dst = append(dst, Version, byte(h.Kind))
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.Flags))
	dst = append(dst, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, h.Seq)
	dst = binary.BigEndian.AppendUint64(dst, h.Offset)
	dst = binary.BigEndian.AppendUint32(dst, h.Length)
	dst = binary.BigEndian.AppendUint32(dst, h.Size)
	dst = binary.BigEndian.AppendUint32(dst, h.Sum)
	return binary.BigEndian.AppendUint32(dst, Sum(dst[start:]))
}

// ParseHeader reads a header. What it accepts, Append writes again byte by byte.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("%w: a header has %d bytes, here are %d", ErrDamaged, HeaderSize, len(b))
	}
	if binary.BigEndian.Uint16(b) != magic || binary.BigEndian.Uint32(b[36:]) != Sum(b[:36]) {
		return Header{}, fmt.Errorf("%w: no header, or its checksum is wrong", ErrDamaged)
	}
	if b[2] != Version {
		return Header{}, fmt.Errorf("%w: it has %d, this program speaks %d: install the same version on both nodes", ErrVersion, b[2], Version)
	}
	h := Header{
		Kind: Kind(b[3]), Flags: Flags(binary.BigEndian.Uint16(b[4:])), Seq: binary.BigEndian.Uint64(b[8:]),
		Offset: binary.BigEndian.Uint64(b[16:]), Length: binary.BigEndian.Uint32(b[24:]),
		Size: binary.BigEndian.Uint32(b[28:]), Sum: binary.BigEndian.Uint32(b[32:]),
	}
	return h, h.validate(b[6] | b[7])
}

func (h Header) validate(reserved byte) error {
	switch {
	case !h.Kind.Known() || h.Flags&^allFlags != 0 || reserved != 0:
		return fmt.Errorf("%w: kind %d with flags %#x is not known", ErrDamaged, h.Kind, h.Flags)
	case h.Size > MaxPayload:
		return fmt.Errorf("%w: a payload of %d bytes, at most %d", ErrDamaged, h.Size, MaxPayload)
	case h.Size == 0 && h.Sum != 0:
		return fmt.Errorf("%w: a checksum without a payload", ErrDamaged)
	case (h.Kind == KindWrite || h.Kind == KindSyncData) && (h.Size != h.Length || h.Size == 0):
		return fmt.Errorf("%w: %d bytes of data for a range of %d", ErrDamaged, h.Size, h.Length)
	case h.Offset+uint64(h.Length) < h.Offset:
		return fmt.Errorf("%w: the range ends beyond 2^64", ErrDamaged)
	}
	return nil
}

// Check compares a payload with the header's checksum.
func (h Header) Check(payload []byte) error {
	if uint32(len(payload)) != h.Size || Sum(payload) != h.Sum {
		return fmt.Errorf("%w: the payload's checksum is wrong", ErrDamaged)
	}
	return nil
}
