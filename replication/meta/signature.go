package meta

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"evenkeel/replication/disk"
)

// Foreign is what Recognise found on a disk: whose data, and where they end.
type Foreign struct {
	What string // "" = nothing that is known
	Size uint64 // bytes that the filesystem takes from the disk's start; 0 = cannot be read
}

// signature is a magic at a fixed place.
type signature struct {
	what  string
	at    int
	magic string
	size  func(head []byte) uint64
}

// signatures by the formats' own documents (ext4 disk layout, xfs_dsb, btrfs_super_block, lvm2 label, LUKS headers, swap header, UEFI, MBR).
// More telling ones first: an MBR's two bytes also end a FAT's first block.
var signatures = []signature{
	{"an XFS filesystem", 0, "XFSB", xfsSize},
	{"a LUKS container", 0, "LUKS\xba\xbe", nil},
	{"a LUKS container", 0x4000, "SKUL\xba\xbe", nil},
	{"an LVM physical volume", 512 + 24, "LVM2 001", nil},
	{"an LVM physical volume", 24, "LVM2 001", nil},
	{"swap space", 4096 - 10, "SWAPSPACE2", nil},
	{"a Btrfs filesystem", 0x10040, "_BHRfS_M", func(h []byte) uint64 { return binary.LittleEndian.Uint64(h[0x10070:]) }},
	{"an ext2/3/4 filesystem", 0x438, "\x53\xef", extSize},
	{"a GPT partition table", 512, "EFI PART", nil},
	{"a GPT partition table", 4096, "EFI PART", nil},
	{"an NTFS filesystem", 3, "NTFS    ", nil},
	{"a partition table or a boot sector", 510, "\x55\xaa", nil},
}

// headSize is how much of a disk's start Recognise reads, in bytes.
const headSize = 128 << 10

// Recognise looks for somebody else's data at the start of a disk.
func Recognise(d disk.Disk) (Foreign, error) {
	head := disk.Alloc(headSize)
	defer disk.Free(head)
	clear(head)
	n := min(d.Size(), headSize)
	if err := d.ReadAt(head[:n], 0); err != nil {
		return Foreign{}, fmt.Errorf("cannot read the disk's start: %w", err)
	}
	for _, s := range signatures {
		if bytes.HasPrefix(head[s.at:], []byte(s.magic)) {
			f := Foreign{What: s.what}
			if s.size != nil {
				f.Size = s.size(head)
			}
			return f, nil
		}
	}
	return Foreign{}, nil
}

// extSize: s_blocks_count_lo, s_log_block_size, and the high half with feature 64bit.
func extSize(h []byte) uint64 {
	sb := h[1024:]
	shift := binary.LittleEndian.Uint32(sb[24:])
	if shift > 6 {
		return 0
	}
	blocks := uint64(binary.LittleEndian.Uint32(sb[4:]))
	if binary.LittleEndian.Uint32(sb[96:])&0x80 != 0 {
		blocks |= uint64(binary.LittleEndian.Uint32(sb[0x150:])) << 32
	}
	return blocks << (10 + shift)
}

// xfsSize: sb_dblocks * sb_blocksize, big endian.
func xfsSize(h []byte) uint64 {
	return binary.BigEndian.Uint64(h[8:]) * uint64(binary.BigEndian.Uint32(h[4:]))
}
