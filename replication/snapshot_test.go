package replication

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "write the golden file anew; review the difference: it is a change of the wire format")

// anyID prefers few values, so that relations between generations are met.
func anyID(t *rapid.T) (id GenerationID) {
	id[0] = rapid.ByteRange(0, 5).Draw(t, "id")
	return id
}

func anyEntry(t *rapid.T) GenerationEntry {
	return GenerationEntry{ID: anyID(t), Reason: ReasonAlone, Node: 'a', At: rapid.Int64Range(0, 1<<32-1).Draw(t, "at")}
}

func anySnapshot(t *rapid.T, node string) Snapshot {
	s := Snapshot{
		Volume: [16]byte{rapid.ByteRange(0, 1).Draw(t, "volume")}, Node: node, Role: Secondary,
		Disk:  DiskState(rapid.Uint8Range(uint8(Diskless), uint8(UpToDate)).Draw(t, "disk")),
		Flags: Flags(rapid.Uint32Range(0, 1<<15-1).Draw(t, "flags")), Unknown: rapid.IntRange(0, 9).Draw(t, "unknown") == 0,
		Permitted: rapid.Bool().Draw(t, "permitted"), Current: anyEntry(t), BitmapOf: anyEntry(t),
		Epoch:      Epoch{Counter: rapid.Uint64Range(0, 2).Draw(t, "epoch"), Node: node},
		Promoted:   Epoch{Counter: rapid.Uint64Range(0, 2).Draw(t, "promoted"), Node: node},
		Mark:       Mark{Session: rapid.Uint64Range(0, 2).Draw(t, "mark")},
		PeerMark:   Mark{Session: rapid.Uint64Range(0, 2).Draw(t, "peermark")},
		DirtyBytes: rapid.Uint64Range(0, 2).Draw(t, "dirty") * 4096, Size: rapid.Uint64Range(1, 2).Draw(t, "size") << 20,
	}
	if s.Flags.Has(PrimaryIndicator) {
		s.Role = Primary
	}
	s.History[0], s.History[1] = anyEntry(t), anyEntry(t)
	return s
}

// TestMirrored: whatever two sides say, both ends decide the same, seen from their own side, and an unusable side is never the source.
func TestMirrored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anySnapshot(t, "a"), anySnapshot(t, "b")
		v, w := Compare(a, b), Compare(b, a)
		if v.Mirror() != w || w.Mirror() != v || v.Reason == "" {
			t.Fatalf("not mirrored:\n%+v\n%+v", v, w)
		}
		source, target := a, b
		if v.Direction == Target {
			source, target = b, a
		}
		if v.Direction != Source && v.Direction != Target {
			return
		}
		if source.Disk <= Inconsistent || source.Unknown || target.Role == Primary || target.Disk <= Failed {
			t.Fatalf("%+v: from %v %v to %v %v", v, source.Disk, source.Role, target.Disk, target.Role)
		}
	})
}

func TestSnapshotRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySnapshot(t, "node-1")
		b := s.Encode()
		got, err := ParseSnapshot(b)
		if err != nil || got != s || len(b) > SnapshotMax {
			t.Fatalf("%d bytes, %v:\n%+v\n%+v", len(b), err, s, got)
		}
		b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := ParseSnapshot(b); err == nil {
			t.Fatal("a damaged snapshot was taken")
		}
	})
}

func TestSnapshotGolden(t *testing.T) {
	s := New([16]byte{1}, "a", 1<<30, true, GenerationID{2}, 1_790_000_000).Connect(3).Advance()
	s.Flags &^= Fresh
	b := s.Rotate(GenerationID{4}, 1_790_000_001).Snapshot(8192).Encode()
	if *rewrite {
		if err := os.WriteFile("testdata/snapshot.golden", b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/snapshot.golden")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Error("the format changed: a peer of the version before would refuse it")
	}
}

func FuzzSnapshot(f *testing.F) {
	b, err := os.ReadFile("testdata/snapshot.golden")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:40])
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSnapshot(data)
		if err == nil && !bytes.Equal(s.Encode(), data) {
			t.Fatal("a snapshot that was taken is not written the same way")
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add(New([16]byte{1}, "a", 1<<30, true, GenerationID{2}, 3).Encode())
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseState(data)
		if err != nil {
			return
		}
		if again, err := ParseState(s.Encode()); err != nil || again != s {
			t.Fatalf("%+v became %+v (%v)", s, again, err)
		}
	})
}
