// Package meta is the metadata area of a volume at the END of its backing disk, and the sidecar file in the state folder that remembers
// which disk it was. It is a shell: it reads and writes through disk.Disk and keeps nothing but what is on the disk.
//
//	0                                data size                                  disk size (rounded down to 4096)
//	|------------ the volume's data ------|-- superblock 0 --|-- ring --|-- bitmap --|-- superblock 1 --|
//
// Everything is little endian, in blocks of 4096 bytes; CRC is CRC-32C of the block's first 4092 bytes, stored in its last four.
// Offsets in the tables are bytes from the start of the block.
//
// Superblock, at the first and at the last block of the area (a partition tool that writes a backup table at the disk's end spares one):
//
//	   0   8  magic "EVENKEEL"
//	   8   4  version, 1
//	  12   4  slot, 0 or 1
//	  16   8  sequence, rising by one at each save
//	  24   8  disk size in bytes, rounded down to 4096
//	  32   8  data size in bytes
//	  40   4  blocks of the ring
//	  44   4  pages of the bitmap
//	  48   8  name of this area: random, given by Create, the same for the disk's life
//	  56   8  zero
//	  64  ..  the state's record (replication.State.Encode)
//	4092   4  CRC
//
// The valid superblock with the higher sequence counts. A save writes the slot whose loss costs nothing, flushes, and then writes the other
// slot too, without waiting: at each instant one slot is stable and as new as the last save that returned.
//
// Ring: 16 blocks; record number n lies in block n mod 16. A record is the whole table of hot extents, so the newest valid one says all. A
// torn newest record was never relied upon: the one before it counts. No valid record, or a damaged block that is not
// the next record's, means that the ring is lost: every block of the volume counts as out of sync.
//
//	   0   8  magic "EVKLRING"
//	   8   8  record number, rising
//	  16   8  the area's name (a record of an earlier life of this disk does not count)
//	  24   4  number of slots
//	  28  ..  per slot 4: extent of 4 MiB, 0xffffffff = free
//	4092   4  CRC
//
// Bitmap page:
//
//	   0   8  magic "EVKLBITS"
//	   8   8  number of the page
//	  16   8  the area's name
//	 124 3968  bits, the lowest of the first byte is the first block of 4096 bytes
//	4092   4  CRC
//
// A page that cannot be read counts as all set: too much is compared, nothing is missed.
package meta

import (
	"encoding/binary"
	"hash/crc32"

	"evenkeel/replication/activity"
	"evenkeel/replication/dirty"
)

const (
	block      = 4096
	version    = 1
	ringBlocks = 16
	magicSuper = "EVENKEEL"
	magicRing  = "EVKLRING"
	magicBits  = "EVKLBITS"
	bitsAt     = 124
	stateAt    = 64
	crcAt      = block - 4
	// DataMin is the smallest data size that makes a volume, in bytes.
	DataMin = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func seal(b []byte) { binary.LittleEndian.PutUint32(b[crcAt:], crc32.Checksum(b[:crcAt], castagnoli)) }

func sealed(b []byte, magic string) bool {
	return len(b) == block && string(b[:8]) == magic &&
		binary.LittleEndian.Uint32(b[crcAt:]) == crc32.Checksum(b[:crcAt], castagnoli)
}

// AreaSize divides a disk of diskSize bytes into data and metadata, both in bytes and multiples of 4096. data is 0 if the disk is too small.
func AreaSize(diskSize uint64) (data, meta uint64) {
	g := geometryOf(diskSize)
	return g.data, g.size - g.data
}

// geometry is where things lie; all in bytes from the disk's start.
type geometry struct {
	size, data uint64
	ring, bits uint64
	pages      int
}

func geometryOf(diskSize uint64) geometry {
	size := diskSize / block * block
	pages := (size/dirty.Block + dirty.BlocksPerPage - 1) / dirty.BlocksPerPage
	need := (2 + ringBlocks + pages) * block
	g := geometry{size: size, pages: int(pages)}
	if size < need+DataMin {
		return g
	}
	g.data = size - need
	g.ring = g.data + block
	g.bits = g.ring + ringBlocks*block
	return g
}

func (g geometry) super(slot int) uint64 {
	if slot == 0 {
		return g.data
	}
	return g.size - block
}

// areaName tells one life of a disk from another.
type areaName [8]byte

// superblock is a decoded superblock.
type superblock struct {
	slot     uint32
	sequence uint64
	size     uint64
	data     uint64
	ring     uint32
	pages    uint32
	name     areaName
	record   []byte // the state's
}

func (s superblock) encode(b []byte) {
	clear(b)
	copy(b, magicSuper)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], s.slot)
	binary.LittleEndian.PutUint64(b[16:], s.sequence)
	binary.LittleEndian.PutUint64(b[24:], s.size)
	binary.LittleEndian.PutUint64(b[32:], s.data)
	binary.LittleEndian.PutUint32(b[40:], s.ring)
	binary.LittleEndian.PutUint32(b[44:], s.pages)
	copy(b[48:], s.name[:])
	copy(b[stateAt:crcAt], s.record)
	seal(b)
}

// parseSuperblock reads a block; ok is false for anything but a sound superblock of this version.
func parseSuperblock(b []byte) (s superblock, ok bool) {
	if !sealed(b, magicSuper) || binary.LittleEndian.Uint32(b[8:]) != version {
		return s, false
	}
	return superblock{
		slot: binary.LittleEndian.Uint32(b[12:]), sequence: binary.LittleEndian.Uint64(b[16:]),
		size: binary.LittleEndian.Uint64(b[24:]), data: binary.LittleEndian.Uint64(b[32:]),
		ring: binary.LittleEndian.Uint32(b[40:]), pages: binary.LittleEndian.Uint32(b[44:]), name: areaName(b[48:56]),
		record: b[stateAt:crcAt],
	}, true
}

// encodeRing puts record n with table into b.
func encodeRing(b []byte, n uint64, name areaName, table []activity.Extent) {
	clear(b)
	copy(b, magicRing)
	binary.LittleEndian.PutUint64(b[8:], n)
	copy(b[16:24], name[:])
	binary.LittleEndian.PutUint32(b[24:], uint32(len(table)))
	for i, e := range table {
		binary.LittleEndian.PutUint32(b[28+4*i:], e)
	}
	seal(b)
}

// slotsMax is how many slots a record can hold.
const slotsMax = (crcAt - 28) / 4

func parseRing(b []byte, name areaName) (n uint64, table []activity.Extent, ok bool) {
	if !sealed(b, magicRing) || string(b[16:24]) != string(name[:]) {
		return 0, nil, false
	}
	slots := binary.LittleEndian.Uint32(b[24:])
	if slots > slotsMax {
		return 0, nil, false
	}
	for i := range slots {
		table = append(table, binary.LittleEndian.Uint32(b[28+4*i:]))
	}
	return binary.LittleEndian.Uint64(b[8:]), table, true
}

// encodePage puts the bits that are already at bitsAt under a head and a checksum.
func encodePage(b []byte, n int, name areaName) {
	copy(b, magicBits)
	binary.LittleEndian.PutUint64(b[8:], uint64(n))
	copy(b[16:24], name[:])
	clear(b[24:bitsAt])
	seal(b)
}

func parsePage(b []byte, n int, name areaName) (bits []byte, ok bool) {
	if !sealed(b, magicBits) || binary.LittleEndian.Uint64(b[8:]) != uint64(n) || string(b[16:24]) != string(name[:]) {
		return nil, false
	}
	return b[bitsAt:crcAt], true
}
