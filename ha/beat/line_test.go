package beat

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCompactBeatTakes64BytesOnTheLine(t *testing.T) {
	h, s := example()
	form := codec(t, 7, "a", "b", keyOne).AppendCompact(nil, &h, onePageOf(t, h.Boot, &s))
	if n := len(AppendLine(nil, form)); len(form) != CompactSize || n != CompactOnLine || n > 64 {
		t.Errorf("%d bytes, %d on the line", len(form), n)
	}
}

// Whatever the pieces, and whatever garbage stands between, each form comes out once and nothing else does.
func TestFormsSurviveGarbage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		forms := rapid.SliceOfN(rapid.SliceOfN(rapid.ByteRange(0, 3), 2, MaxFull), 1, 4).Draw(t, "forms")
		var line []byte
		for _, f := range forms {
			line = append(line, rapid.SliceOfN(rapid.Byte(), 0, 2*maxCoded).Draw(t, "garbage")...)
			before := len(line)
			line = AppendLine(line, f)
			if len(line)-before > OnLine(len(f)) {
				t.Fatalf("%d bytes took %d on the line, more than %d", len(f), len(line)-before, OnLine(len(f)))
			}
		}
		var d Deframer
		var got [][]byte
		for len(line) > 0 {
			n := rapid.IntRange(1, len(line)).Draw(t, "piece")
			d.Push(line[:n], func(f []byte) { got = append(got, bytes.Clone(f)) })
			line = line[n:]
		}
		for i, f := range forms {
			if i >= len(got) || !bytes.Equal(got[i], f) {
				t.Fatalf("form %d of %d is lost among %d", i, len(forms), len(got))
			}
		}
	})
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	h, s := example()
	form := codec(t, 7, "a", "b", keyOne).AppendCompact(nil, &h, onePageOf(t, h.Boot, &s))
	line := AppendLine(nil, form)
	for i := 1; i < len(line)-1; i++ {
		for bit := range 8 {
			bad := bytes.Clone(line)
			bad[i] ^= 1 << bit
			var d Deframer
			if broken := d.Push(bad, func([]byte) { t.Fatalf("byte %d, bit %d: taken for a form", i, bit) }); broken == 0 {
				t.Fatalf("byte %d, bit %d: not counted", i, bit)
			}
		}
	}
}

func FuzzDeframer(f *testing.F) {
	f.Add(AppendLine(nil, []byte("a form")), 3)
	f.Add([]byte{0, 1, 1, 1, 1, 1, 1, 0}, 1)
	f.Fuzz(func(t *testing.T, p []byte, cut int) {
		var d Deframer
		check := func(form []byte) {
			var e Deframer
			var back []byte
			e.Push(AppendLine(nil, form), func(f []byte) { back = bytes.Clone(f) })
			if !bytes.Equal(back, form) {
				t.Fatalf("%x came back as %x", form, back)
			}
		}
		if cut > 0 && cut < len(p) {
			d.Push(p[:cut], check)
			p = p[cut:]
		}
		d.Push(p, check)
	})
}

// At 9600 baud the interval stretches, and full forms find room in what compact ones leave of the quarter (A6).
func TestBeatsTakeAQuarterOfTheLine(t *testing.T) {
	for _, baud := range []int{9600, 19200, 115200} {
		interval := SerialInterval(200*time.Millisecond, baud)
		var b Budget
		bytes, fulls, gap, since := 0, 0, 0, 0
		const beats = 3000
		for range beats {
			b.Pass(interval)
			n := CompactOnLine
			if since++; b.MayFull(OnLine(300), baud, false) {
				n, gap, since = OnLine(300), max(gap, since), 0
				fulls++
			}
			b.Sent(n, baud)
			bytes += n
		}
		share := float64(LineTime(bytes, baud)) / float64(beats*interval)
		t.Logf("%d baud: a beat each %v, a full one at least each %d beats, %.1f %% of the line", baud, interval, gap, 100*share)
		if share > 0.255 || gap > 10 {
			t.Errorf("%d baud: %.1f %% of the line, %d beats between full ones", baud, 100*share, gap)
		}
	}
	var b Budget
	b.Sent(OnLine(300), 9600)
	if b.MayFull(OnLine(300), 9600, false) || !b.MayFull(OnLine(300), 9600, true) {
		t.Error("after a full form only an urgent one may follow")
	}
}
