package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// golden is the format's promise: these bytes may change only together with Version.
var golden = []struct {
	name string
	h    Header
	hex  string
}{
	{"write", Header{Kind: KindWrite, Flags: FlagFUA, Seq: 7, Offset: 4096, Length: 4, Size: 4, Sum: Sum([]byte("data"))},
		"456b010700010000000000000000000700000000000010000000000400000004aed87dd1f27f814e"},
	{"ack", Header{Kind: KindAck, Flags: FlagFailed, Seq: 1 << 40},
		"456b01200004000000000100000000000000000000000000000000000000000000000000074b1fd2"},
}

func TestGolden(t *testing.T) {
	for _, g := range golden {
		if got := hex.EncodeToString(g.h.Append(nil)); got != g.hex {
			t.Errorf("%s: got %s, want %s", g.name, got, g.hex)
		}
	}
}

func header(t *rapid.T) Header {
	kinds := []Kind{KindHello, KindWrite, KindZeroes, KindFlush, KindSyncData, KindSyncHash, KindBye, KindAck, KindMark}
	h := Header{
		Kind:   rapid.SampledFrom(kinds).Draw(t, "kind"),
		Flags:  Flags(rapid.Uint16().Draw(t, "flags")) & allFlags,
		Seq:    rapid.Uint64().Draw(t, "seq"),
		Offset: rapid.Uint64Max(1<<62).Draw(t, "offset"),
		Length: rapid.Uint32().Draw(t, "length"),
		Size:   rapid.Uint32Max(MaxPayload).Draw(t, "size"),
	}
	if h.Kind == KindWrite || h.Kind == KindSyncData {
		h.Size = max(h.Size, 1)
		h.Length = h.Size
	}
	if h.Size > 0 {
		h.Sum = rapid.Uint32().Draw(t, "sum")
	}
	return h
}

func TestHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := header(t)
		got, err := ParseHeader(h.Append(nil))
		if err != nil || got != h {
			t.Fatalf("%+v came back as %+v, %v", h, got, err)
		}
	})
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	whole := golden[0].h.Append(nil)
	for bit := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := ParseHeader(b); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit %d flipped: %v", bit, err)
		}
	}
	if err := golden[0].h.Check([]byte("dat\x00")); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a changed payload: %v", err)
	}
}

func TestOtherVersionIsNamed(t *testing.T) {
	b := golden[0].h.Append(nil)
	b[2] = 9
	sum := Sum(b[:36])
	b[36], b[37], b[38], b[39] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
	if _, err := ParseHeader(b); !errors.Is(err, ErrVersion) {
		t.Fatalf("got %v", err)
	}
}

func TestWordsRoundTrip(t *testing.T) {
	want := Hello{Role: RoleData, Token: "x", Dialer: true, Cluster: 3, Volume: "data", Node: "a", Peer: "b", Size: 1 << 40, Session: 9}
	got, err := Decode[Hello](Encode(want))
	if err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "{", `{"unknown":1}`, `{}{}`, `{"size":-1}`} {
		if _, err := Decode[Hello]([]byte(bad)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, g := range golden {
		f.Add(g.h.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			return
		}
		if !bytes.Equal(h.Append(nil), b[:HeaderSize]) {
			t.Fatalf("%+v is not written as it was read", h)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(Hello{Volume: "data"}))
	f.Add(Encode(Finished{Snapshot: []byte{1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := Decode[Verdict](b); err == nil {
			if again, err := Decode[Verdict](Encode(v)); err != nil || again != v {
				t.Fatalf("%+v became %+v, %v", v, again, err)
			}
		}
	})
}
