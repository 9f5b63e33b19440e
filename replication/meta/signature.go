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
	{"an LVM physical volume", 1024 + 24, "LVM2 001", nil},
	{"an LVM physical volume", 1536 + 24, "LVM2 001", nil},
	{"a member of a Linux RAID", 0, raidMagic, nil},
	{"a member of a Linux RAID", 4096, raidMagic, nil},
	{"a bcache device", 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", nil},
	{"an F2FS filesystem", 1024, "\x10\x20\xf5\xf2", nil},
	{"a ZFS pool's member", 128 << 10, "\x0c\xb1\xba\x00\x00\x00\x00\x00", nil},
	{"a QEMU disk image", 0, "QFI\xfb", nil},
	{"swap space", 4096 - 10, "SWAPSPACE2", nil},
	{"a Btrfs filesystem", 0x10040, "_BHRfS_M", func(h []byte) uint64 { return binary.LittleEndian.Uint64(h[0x10070:]) }},
	{"an ext2/3/4 filesystem", 0x438, "\x53\xef", extSize},
	{"a GPT partition table", 512, "EFI PART", nil},
	{"a GPT partition table", 4096, "EFI PART", nil},
	{"an NTFS filesystem", 3, "NTFS    ", nil},
	{"a partition table or a boot sector", 510, "\x55\xaa", nil},
}

// headSize is how much of a disk's start Recognise reads, in bytes.
const headSize = 132 << 10

// raidMagic begins a superblock of Linux's md (0xa92b4efc, little endian).
const raidMagic = "\xfc\x4e\x2b\xa9"

// tails are the magics that stand at a place counted from the disk's end: there the metadata area would go.
var tails = []struct {
	what  string
	at    func(size uint64) uint64
	magic string
}{
	{"a member of a Linux RAID", func(size uint64) uint64 { return (size - 8<<10) / 4096 * 4096 }, raidMagic},
	{"a member of a Linux RAID", func(size uint64) uint64 { return size/(64<<10)*(64<<10) - 64<<10 }, raidMagic},
	{"a DRBD volume", drbdMagic, "\x83\x74\x02\x6b"},
	{"a DRBD volume", drbdMagic, "\x83\x74\x02\x6c"},
	{"a DRBD volume", drbdMagic, "\x83\x74\x02\x6d"},
}

// drbdMagic is where DRBD's internal metadata have their magic: in the last 4 KiB.
func drbdMagic(size uint64) uint64 { return size/4096*4096 - 4096 + 60 }

// Recognise looks for somebody else's data at the start and at the end of a disk.
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
	return recogniseEnd(d)
}

func recogniseEnd(d disk.Disk) (Foreign, error) {
	magic := make([]byte, len(raidMagic))
	for _, s := range tails {
		if d.Size() < headSize {
			break
		}
		if err := d.ReadAt(magic, s.at(d.Size())); err != nil {
			return Foreign{}, fmt.Errorf("cannot read the disk's end: %w", err)
		}
		if string(magic) == s.magic {
			return Foreign{What: s.what}, nil
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
