package meta

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"evenkeel/replication"
	"evenkeel/replication/activity"

	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew; review the difference: it is a change of the on-disk format")

// golden compares b with testdata/name.
func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("%s: the format changed; disks in the field would not be understood", name)
	}
}

// sample is a state with every field set.
func sample() replication.State {
	s := replication.New([16]byte{1, 2, 3}, "a", 1<<30, true, replication.GenerationID{0xaa}, 1_790_000_000)
	s = s.Connect(7).Advance().ConfirmPeer(replication.Mark{Session: 7, Counter: 3})
	s.Flags &^= replication.Fresh
	s = s.Rotate(replication.GenerationID{0xbb}, 1_790_000_100)
	s.History[15] = replication.GenerationEntry{ID: replication.GenerationID{0xcc}, Reason: replication.ReasonForced, Node: 'b', At: 1}
	s.Epoch, s.Promoted = replication.Epoch{Counter: 9, Node: "b"}, replication.Epoch{Counter: 8, Node: "a"}
	s.Permission = replication.Permission{Epoch: s.Promoted, Generation: s.Current.ID, Reason: "outdated"}
	s.Licence, s.Boot = "isolated", [16]byte{5}
	s.Answer = replication.Answer{Number: 4, Boot: "boot", Generation: s.Current.ID, Session: 7, Epoch: s.Epoch, Result: "outdated", Reason: "asked"}
	s.DiskID, s.PeerDisk = [8]byte{6}, [8]byte{7}
	return s
}

func superOf(s replication.State) []byte {
	b := make([]byte, block)
	superblock{slot: 1, sequence: 12, size: 1 << 30, data: 1<<30 - 1<<20, ring: ringBlocks, pages: 9, name: areaName{6}, record: s.Encode()}.encode(b)
	return b
}

func TestGolden(t *testing.T) {
	super := superOf(sample())
	golden(t, "superblock.golden", super)
	ring := make([]byte, block)
	encodeRing(ring, 77, areaName{6}, []activity.Extent{3, activity.Free, 9})
	golden(t, "ring.golden", ring)
	page := make([]byte, block)
	page[bitsAt] = 0x81
	encodePage(page, 4, areaName{6})
	golden(t, "page.golden", page)

	got, ok := parseSuperblock(super)
	state, err := replication.ParseState(got.record)
	if !ok || err != nil || state != sample() || got.sequence != 12 || got.name != (areaName{6}) {
		t.Fatalf("read back %+v %v", state, err)
	}
}

func TestRoomForTheState(t *testing.T) {
	if replication.StateSize > crcAt-stateAt {
		t.Fatalf("the state takes %d bytes, the superblock has %d", replication.StateSize, crcAt-stateAt)
	}
	if activity.Slots > slotsMax {
		t.Fatalf("%d slots do not fit a record of %d", activity.Slots, slotsMax)
	}
}

func TestRingRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := rapid.SliceOfN(rapid.Uint32(), 0, slotsMax).Draw(t, "table")
		n := rapid.Uint64().Draw(t, "n")
		b := make([]byte, block)
		encodeRing(b, n, areaName{1}, table)
		gotN, got, ok := parseRing(b, areaName{1})
		if !ok || gotN != n || !slices.Equal(got, table) {
			t.Fatal("not read back")
		}
		if _, _, ok := parseRing(b, areaName{2}); ok {
			t.Fatal("a record of another life was taken")
		}
		b[rapid.IntRange(0, block-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, _, ok := parseRing(b, areaName{1}); ok {
			t.Fatal("a damaged record was taken")
		}
	})
}

// The fuzz targets seal the block first, so that the mutations reach behind the checksum.
func fuzzBlock(f *testing.F, golden string, try func(t *testing.T, b []byte)) {
	b, err := os.ReadFile(filepath.Join("testdata", golden))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, true)
	f.Add([]byte("EVENKEEL"), false)
	f.Fuzz(func(t *testing.T, data []byte, sum bool) {
		b := make([]byte, block)
		copy(b, data)
		if sum {
			seal(b)
		}
		try(t, b)
	})
}

func FuzzSuperblock(f *testing.F) {
	fuzzBlock(f, "superblock.golden", func(t *testing.T, b []byte) {
		if s, ok := parseSuperblock(b); ok {
			if state, err := replication.ParseState(s.record); err == nil && len(state.Encode()) != replication.StateSize {
				t.Fatal("the state changed its size")
			}
		}
	})
}

func FuzzRing(f *testing.F) {
	fuzzBlock(f, "ring.golden", func(t *testing.T, b []byte) {
		if _, table, ok := parseRing(b, areaName(b[16:24])); ok && len(table) > slotsMax {
			t.Fatal("more slots than fit")
		}
	})
}

func FuzzPage(f *testing.F) {
	fuzzBlock(f, "page.golden", func(t *testing.T, b []byte) {
		if bits, ok := parsePage(b, 4, areaName{6}); ok && len(bits) != block-bitsAt-4 {
			t.Fatal("a page of another size")
		}
	})
}
