package beat

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"evenkeel/ha"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	keyOne = []byte("first key of thirty-two bytes ...")
	keyTwo = []byte("second key of thirty-two bytes ..")
)

func codec(t testing.TB, cluster uint8, node, peer ha.NodeID, keys ...[]byte) *Codec {
	t.Helper()
	c, err := NewCodec(cluster, node, peer, keys)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func onePageOf(t testing.TB, boot ha.BootName, s *ha.Saying) *Page {
	t.Helper()
	p, err := Pages(boot, s)
	if err != nil || len(p) != 1 {
		t.Fatalf("%d pages, %v", len(p), err)
	}
	return &p[0]
}

// example is a master in the middle of losing its peer: every part of the format is in use.
func example() (Head, ha.Saying) {
	boot := ha.BootName{0xb0, 0x07, 0xab, 0xcd, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	h := Head{
		Boot: boot, Seq: 0x123456789a, SentAt: 5_000_000_000, Link: 0x4321, Count: 77, WantFull: true,
		EngineAge: 120 * time.Millisecond, Heard: []uint64{900, 0, 1000}, Promises: []time.Duration{4380 * time.Millisecond},
		Newest: 1000, NewestLink: 2, This: 900,
	}
	generation := ha.Generation("00112233445566778899aabbccddeeff")
	s := ha.Saying{
		Epoch: ha.Epoch{Counter: 9, Node: "a"}, Role: ha.Master, Phase: "services", Armed: true, Healthy: true, Mode: ha.Evidence,
		DeadTime: 3 * time.Second, Revision: 12, Digest: 0xdeadbeef, Version: "0.1.0",
		Volumes: []ha.VolumeSaying{{
			Name: "data", Generation: generation, Role: ha.Primary, Disk: ha.UpToDate, LastPrimary: true, Promise: 4380 * time.Millisecond,
		}},
		Release:    &ha.Release{Epoch: ha.Epoch{Counter: 8, Node: "b"}, Request: 3, NoLone: true},
		HandedBack: &ha.Epoch{Counter: 7, Node: "b"},
		Requests:   []ha.Request{{Number: 5, Kind: ha.AskOutdate, Volume: "data", Generation: generation, Session: 6, Epoch: ha.Epoch{Counter: 9, Node: "a"}}},
		Answers: []ha.Answer{{
			Number: 2, Boot: boot, Kind: ha.AskSnapshots, Volume: "data", Result: ha.AnsweredSnapshot, Reason: "asked", Generation: generation,
			Session: 6, Epoch: ha.Epoch{Counter: 9, Node: "a"}, Payload: []byte("set"),
		}},
	}
	return h, s
}

func TestGolden(t *testing.T) {
	h, s := example()
	a := codec(t, 7, "a", "b", keyOne)
	p := onePageOf(t, h.Boot, &s)
	full := a.AppendFull(nil, &h, p)
	compact := a.AppendCompact(nil, &h, p)
	for name, got := range map[string][]byte{"full": full, "compact": compact, "line": AppendLine(nil, compact)} {
		path := filepath.Join("testdata", name+".hex")
		if *update {
			text := fmt.Sprintf("# %s of example() in beat_test.go, signed with its first key; the offsets are doc.go's\n%s", name, hex.Dump(got))
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(readHex(t, path), got); diff != "" {
			t.Errorf("%s is not as %s has it: the format changed, which needs a new version:\n%s", name, path, diff)
		}
	}
}

// readHex reads what hex.Dump wrote, without its comment lines.
func readHex(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		if line[0] != '#' {
			digits.WriteString(strings.ReplaceAll(line[10:59], " ", ""))
		}
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBothFormsComeBackAsSaid(t *testing.T) {
	h, s := example()
	a, b := codec(t, 7, "a", "b", keyOne), codec(t, 7, "b", "a", keyTwo, keyOne)
	p := onePageOf(t, h.Boot, &s)
	var full, compact Frame
	if no := b.Parse(a.AppendFull(nil, &h, p), &full); no != Accepted {
		t.Fatalf("full form refused: %s", no)
	}
	want := ha.Beat{
		Cluster: 7, Node: "a", Boot: h.Boot, Seq: h.Seq, SentAt: h.SentAt, Heard: h.Heard, EngineAge: h.EngineAge, Saying: s,
	}
	whole := full.Beat(7)
	if diff := cmp.Diff(want, whole); diff != "" {
		t.Error(diff)
	}
	h.Seq, h.EngineAge, h.EngineGone, h.This, h.Promises = h.Seq+1, 11*time.Second, true, 0, []time.Duration{4187 * time.Millisecond}
	if no := b.Parse(a.AppendCompact(nil, &h, p), &compact); no != Accepted {
		t.Fatalf("compact form refused: %s", no)
	}
	if compact.Digest != full.Digest || !compact.SameBoot(h.Boot) || !compact.WantFull {
		t.Errorf("compact form %+v", compact.Head)
	}
	merged := compact.Merge(&whole, 0)
	want.Seq, want.SentAt, want.EngineAge, want.EngineGone, want.Heard = h.Seq, 0, h.EngineAge, true, []uint64{0, 0, 1000}
	want.Volumes[0].Promise = 4180 * time.Millisecond // never more than was promised
	if diff := cmp.Diff(want, merged); diff != "" {
		t.Error(diff)
	}
	if whole.Seq == merged.Seq || whole.Volumes[0].Promise == merged.Volumes[0].Promise {
		t.Error("merging changed the full beat")
	}
}

func TestEachRefusalHasItsName(t *testing.T) {
	h, s := example()
	us := codec(t, 7, "b", "a", keyOne)
	p := onePageOf(t, h.Boot, &s)
	good := codec(t, 7, "a", "b", keyOne).AppendFull(nil, &h, p)
	change := func(at int, to byte) []byte { c := bytes.Clone(good); c[at] = to; return c }
	for _, c := range []struct {
		name string
		form []byte
		want Refusal
	}{
		{"good", good, Accepted},
		{"empty", nil, Malformed},
		{"one byte", []byte{'E'}, Malformed},
		{"no magic", change(0, 'X'), Malformed},
		{"version 2", change(1, 0x20), Version},
		{"third form", change(1, 0x12), Malformed},
		{"other cluster", codec(t, 8, "a", "b", keyOne).AppendFull(nil, &h, p), Cluster},
		{"other key", codec(t, 7, "a", "b", keyTwo).AppendFull(nil, &h, p), Key},
		{"a bit of the body", change(60, good[60]^1), Key},
		{"cut short", good[:len(good)-1], Key},
		{"our own", codec(t, 7, "b", "a", keyOne).AppendFull(nil, &h, p), Own},
		{"a third node", codec(t, 7, "c", "a", keyOne).AppendFull(nil, &h, p), Stranger},
		{"other cluster, compact", codec(t, 8, "a", "b", keyOne).AppendCompact(nil, &h, p), Cluster},
		{"other key, compact", codec(t, 7, "a", "b", keyTwo).AppendCompact(nil, &h, p), Key},
		{"our own, compact", codec(t, 7, "b", "a", keyOne).AppendCompact(nil, &h, p), Own},
	} {
		var f Frame
		if got := us.Parse(c.form, &f); got != c.want {
			t.Errorf("%s: refused as %q, want %q", c.name, got, c.want)
		}
	}
}

func TestWhatDoesNotFitIsNamed(t *testing.T) {
	for want, s := range map[string]ha.Saying{
		"volumes":    {Volumes: make([]ha.VolumeSaying, 5)},
		"requests":   {Requests: make([]ha.Request, 5)},
		"answers":    {Answers: make([]ha.Answer, 5)},
		"payload":    {Answers: []ha.Answer{{Payload: make([]byte, 641)}}},
		"volume na":  {Volumes: []ha.VolumeSaying{{Name: strings.Repeat("x", 17)}}},
		"word":       {Role: "king"},
		"generation": {Volumes: []ha.VolumeSaying{{Generation: "ABC"}}},
		"node id":    {Epoch: ha.Epoch{Node: "ab"}},
	} {
		if _, err := Pages(ha.BootName{}, &s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %q", err, want)
		}
	}
	s := ha.Saying{Phase: strings.Repeat("long ", 20), Version: "v\x00"}
	if _, err := Pages(ha.BootName{}, &s); err != nil {
		t.Errorf("words for people are cut, not refused: %v", err)
	}
}

func TestFullestBeatsKeepTheBound(t *testing.T) {
	g := ha.Generation(strings.Repeat("f", 32))
	name := strings.Repeat("n", MaxName)
	e := ha.Epoch{Counter: 1 << 60, Node: "b"}
	s := ha.Saying{
		Phase: strings.Repeat("p", MaxPhase), Version: strings.Repeat("v", MaxVersion), Release: &ha.Release{}, HandedBack: &ha.Epoch{},
	}
	for range 4 {
		s.Volumes = append(s.Volumes, ha.VolumeSaying{Name: name, Generation: g})
		s.Requests = append(s.Requests, ha.Request{Volume: name, Generation: g, Epoch: e})
		s.Answers = append(s.Answers, ha.Answer{Volume: name, Generation: g, Epoch: e, Reason: ha.Reason(strings.Repeat("r", MaxReason))})
	}
	for _, size := range []int{0, 1, 100, 141, 200, 300, 320, 640} {
		for i := range s.Answers {
			s.Answers[i].Payload, s.Answers[i].Number = make([]byte, size), uint64(i)
		}
		pages, err := Pages(ha.BootName{}, &s)
		if err != nil {
			t.Fatal(err)
		}
		c, longest, said := codec(t, 1, "a", "b", keyOne), 0, 0
		back := codec(t, 1, "b", "a", keyOne)
		for i := range pages {
			form := c.AppendFull(nil, &Head{Heard: make([]uint64, 9)}, &pages[i])
			var f Frame
			if no := back.Parse(form, &f); no != Accepted {
				t.Fatalf("payload %d, page %d refused: %s", size, i, no)
			}
			longest, said = max(longest, len(form)), said+len(f.Saying.Answers)
		}
		if longest > MaxFull || said != 4 || len(pages) > 4 {
			t.Errorf("payload %d: longest %d bytes, %d answers said, %d pages", size, longest, said, len(pages))
		}
	}
}

func anySaying() *rapid.Generator[ha.Saying] {
	return rapid.Custom(func(t *rapid.T) ha.Saying {
		ms := rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Uint32().Draw(t, "ms")) * time.Millisecond
		})
		text := func(most int) *rapid.Generator[string] { return rapid.StringMatching(fmt.Sprintf("[ -~]{0,%d}", most)) }
		gen := rapid.Custom(func(t *rapid.T) ha.Generation {
			return ha.Generation(rapid.StringMatching("|[1-9a-f][0-9a-f]{31}").Draw(t, "generation"))
		})
		epoch := rapid.Custom(func(t *rapid.T) ha.Epoch {
			return ha.Epoch{Counter: rapid.Uint64().Draw(t, "counter"), Node: ha.NodeID(rapid.StringMatching("[a-z]?").Draw(t, "node"))}
		})
		s := ha.Saying{
			Epoch: epoch.Draw(t, "epoch"), Role: rapid.SampledFrom(roles).Draw(t, "role"), Phase: text(24).Draw(t, "phase"),
			Armed: rapid.Bool().Draw(t, "armed"), Attention: rapid.Bool().Draw(t, "attention"), Healthy: rapid.Bool().Draw(t, "healthy"),
			Leaving: rapid.Bool().Draw(t, "leaving"), Mode: rapid.SampledFrom(modes).Draw(t, "mode"), DeadTime: ms.Draw(t, "dead"),
			Revision: rapid.Uint64().Draw(t, "revision"), Digest: rapid.Uint32().Draw(t, "digest"), Version: text(16).Draw(t, "version"),
		}
		for range rapid.IntRange(0, 4).Draw(t, "volumes") {
			s.Volumes = append(s.Volumes, ha.VolumeSaying{
				Name: text(16).Draw(t, "name"), Generation: gen.Draw(t, "g"), Role: rapid.SampledFrom(sides).Draw(t, "r"),
				Disk: rapid.SampledFrom(disks).Draw(t, "disk"), Connected: rapid.Bool().Draw(t, "c"), LastPrimary: rapid.Bool().Draw(t, "l"),
				Promise: ms.Draw(t, "promise"), LeftInSync: rapid.Bool().Draw(t, "i"),
			})
		}
		if rapid.Bool().Draw(t, "release") {
			s.Release = &ha.Release{Epoch: epoch.Draw(t, "e"), Request: rapid.Uint64().Draw(t, "q"), NoLone: rapid.Bool().Draw(t, "n")}
		}
		if rapid.Bool().Draw(t, "back") {
			e := epoch.Draw(t, "e")
			s.HandedBack = &e
		}
		for range rapid.IntRange(0, 4).Draw(t, "requests") {
			s.Requests = append(s.Requests, ha.Request{
				Number: rapid.Uint64().Draw(t, "n"), Kind: rapid.SampledFrom(kinds).Draw(t, "k"), Volume: text(16).Draw(t, "v"),
				Generation: gen.Draw(t, "g"), Session: rapid.Uint64().Draw(t, "s"), Epoch: epoch.Draw(t, "e"),
			})
		}
		for range rapid.IntRange(0, 2).Draw(t, "answers") {
			a := ha.Answer{
				Number: rapid.Uint64().Draw(t, "n"), Kind: rapid.SampledFrom(kinds).Draw(t, "k"), Volume: text(16).Draw(t, "v"),
				Result: rapid.SampledFrom(ends).Draw(t, "r"), Reason: ha.Reason(text(40).Draw(t, "why")), Generation: gen.Draw(t, "g"),
				Session: rapid.Uint64().Draw(t, "s"), Epoch: epoch.Draw(t, "e"),
			}
			if p := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "p"); len(p) > 0 {
				a.Payload = p
			}
			s.Answers = append(s.Answers, a)
		}
		return s
	})
}

func TestEverySayingComesBack(t *testing.T) {
	a, b := codec(t, 0, "a", "b", keyOne), codec(t, 0, "b", "", keyOne)
	rapid.Check(t, func(t *rapid.T) {
		s := anySaying().Draw(t, "saying")
		h := Head{Seq: rapid.Uint64().Draw(t, "seq"), Heard: rapid.SliceOfN(rapid.Uint64(), 1, 8).Draw(t, "heard")}
		for _, v := range s.Volumes {
			h.Promises = append(h.Promises, v.Promise)
		}
		pages, err := Pages(h.Boot, &s)
		if err != nil || len(pages) != 1 {
			t.Fatalf("%d pages, %v", len(pages), err)
		}
		var f Frame
		if no := b.Parse(a.AppendFull(nil, &h, &pages[0]), &f); no != Accepted {
			t.Fatal(no)
		}
		if diff := cmp.Diff(ha.Beat{Node: "a", Seq: h.Seq, Heard: h.Heard, Saying: s}, f.Beat(0)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// again writes a frame as it was read; it must be the same bytes.
func again(t testing.TB, c *Codec, f *Frame) []byte {
	if f.Form == Compact {
		return c.AppendCompact(nil, &f.Head, &Page{Digest: f.Digest, Volumes: MaxVolumes})
	}
	p, err := Pages(f.Boot, &f.Saying)
	if err != nil {
		t.Fatalf("a saying that was read cannot be written: %v", err)
	}
	if len(p) != 1 {
		return nil // more payload in one beat than we would put there
	}
	return c.AppendFull(nil, &f.Head, &p[0])
}

// FuzzParse signs whatever the fuzzer finds, so that it gets behind the key: nothing may panic, and what is accepted has one spelling.
func FuzzParse(f *testing.F) {
	h, s := example()
	a := codec(f, 7, "a", "b", keyOne)
	p := onePageOf(f, h.Boot, &s)
	f.Add(a.AppendFull(nil, &h, p))
	f.Add(a.AppendCompact(nil, &h, p))
	f.Add(a.AppendFull(nil, &Head{}, onePageOf(f, h.Boot, &ha.Saying{})))
	f.Add([]byte("E\x10"))
	b := codec(f, 7, "b", "a", keyOne)
	f.Fuzz(func(t *testing.T, form []byte) {
		var got Frame
		b.Parse(form, &got)
		tag := fullTag
		if len(form) == CompactSize && form[1]&15 == 1 {
			tag = compactTag
		}
		if len(form) < 5+tag {
			return
		}
		form = bytes.Clone(form[:len(form)-tag])
		form[2], form[3], form[4] = a.keys[0].id, 7, 'a'
		form = a.finish(form, 0, tag)
		if b.Parse(form, &got) != Accepted {
			return
		}
		if back := again(t, a, &got); back != nil && !bytes.Equal(back, form) {
			t.Fatalf("two spellings of one beat:\n%x\n%x", form, back)
		}
	})
}

func BenchmarkAppendFull(b *testing.B) {
	h, s := example()
	c, p := codec(b, 7, "a", "b", keyOne), onePageOf(b, h.Boot, &s)
	buf := make([]byte, 0, MaxFull)
	b.ReportAllocs()
	for b.Loop() {
		buf = c.AppendFull(buf[:0], &h, p)
	}
}

func BenchmarkAppendCompact(b *testing.B) {
	h, s := example()
	c, p := codec(b, 7, "a", "b", keyOne), onePageOf(b, h.Boot, &s)
	buf := make([]byte, 0, MaxFull)
	b.ReportAllocs()
	for b.Loop() {
		buf = c.AppendCompact(buf[:0], &h, p)
	}
}

func BenchmarkParseFull(b *testing.B) {
	h, s := example()
	form := codec(b, 7, "a", "b", keyOne).AppendFull(nil, &h, onePageOf(b, h.Boot, &s))
	benchmarkParse(b, form)
}

func BenchmarkParseCompact(b *testing.B) {
	h, s := example()
	form := codec(b, 7, "a", "b", keyOne).AppendCompact(nil, &h, onePageOf(b, h.Boot, &s))
	benchmarkParse(b, form)
}

func benchmarkParse(b *testing.B, form []byte) {
	c := codec(b, 7, "b", "a", keyOne)
	var f Frame
	b.ReportAllocs()
	for b.Loop() {
		if no := c.Parse(form, &f); no != Accepted {
			b.Fatal(no)
		}
	}
}
