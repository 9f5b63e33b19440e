package beat

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maxCoded bounds what stands between two delimiters: a full form, its CRC and COBS' overhead of one byte in 254.
const maxCoded = MaxFull + 4 + (MaxFull+4)/254 + 1

// OnLine is what a form of n bytes takes on a serial line at most.
func OnLine(n int) int { return n + 4 + (n+4)/254 + 1 + 2 }

// AppendLine appends form to dst as it goes over a serial line: delimiter, COBS(form, CRC-32C), delimiter.
func AppendLine(dst, form []byte) []byte {
	var tail [4]byte
	binary.BigEndian.PutUint32(tail[:], crc32.Checksum(form, castagnoli))
	s := stuffer{p: append(dst, 0, 0), code: len(dst) + 1}
	s.write(form)
	s.write(tail[:])
	s.p[s.code] = byte(len(s.p) - s.code)
	return append(s.p, 0)
}

// stuffer is COBS (Cheshire and Baker 1999): each code byte says after how many bytes the next zero would be.
type stuffer struct {
	p    []byte
	code int // where the open block's code byte stands
}

func (s *stuffer) write(b []byte) {
	for _, v := range b {
		if v != 0 {
			s.p = append(s.p, v)
		}
		if v == 0 || len(s.p)-s.code == 255 {
			s.p[s.code] = byte(len(s.p) - s.code)
			s.code = len(s.p)
			s.p = append(s.p, 0)
		}
	}
}

// Deframer finds forms in what a serial line delivers, in pieces of any size.
type Deframer struct {
	buf  [maxCoded]byte
	n    int
	over bool // more bytes than any form has, since the last delimiter
	out  [maxCoded]byte
}

// Push takes bytes and calls form for each whole form; broken counts what was no form: noise, a wrong rate. The slice is valid during the call.
func (d *Deframer) Push(p []byte, form func([]byte)) (broken int) {
	for _, v := range p {
		if v != 0 {
			if d.n == len(d.buf) {
				d.over = true
				continue
			}
			d.buf[d.n] = v
			d.n++
			continue
		}
		if f := d.unstuff(); f != nil {
			form(f)
		} else if d.n > 0 {
			broken++
		}
		d.n, d.over = 0, false
	}
	return broken
}

// unstuff decodes what stands between two delimiters; nil if it is no form.
func (d *Deframer) unstuff() []byte {
	if d.over || d.n < 6 {
		return nil
	}
	in, out := d.buf[:d.n], d.out[:0]
	for len(in) > 0 {
		code := int(in[0])
		if code > len(in) {
			return nil
		}
		out = append(out, in[1:code]...)
		if in = in[code:]; code < 255 && len(in) > 0 {
			out = append(out, 0)
		}
	}
	body := len(out) - 4
	if body < 1 || crc32.Checksum(out[:body], castagnoli) != binary.BigEndian.Uint32(out[body:]) {
		return nil
	}
	return out[:body]
}

// Beats may take a quarter of a serial line: two thirds of that for compact forms at their interval, the rest for full ones.
//
//	|----------- the line, 10 bits a byte -----------|
//	|compact |full|       left alone                 |
const (
	lineShare    = 4
	compactShare = 6
)

// SerialInterval stretches an interval for a line of that baud rate.
func SerialInterval(interval time.Duration, baud int) time.Duration {
	if baud <= 0 {
		return interval
	}
	return max(interval, LineTime(CompactOnLine*compactShare, baud))
}

// LineTime is how long n bytes take on a line, at 10 bits a byte.
func LineTime(n, baud int) time.Duration {
	return time.Duration(n) * 10 * time.Second / time.Duration(baud)
}

// Budget keeps a quarter of a serial line: what was sent is a debt that the line pays back with time. The zero value owes nothing.
type Budget struct {
	debt time.Duration // line time, times lineShare, not yet paid back
}

// Pass lets time go by.
func (b *Budget) Pass(d time.Duration) { b.debt = max(b.debt-d, 0) }

// MayFull says whether a full form of n bytes on the line may be sent now. One that is urgent may follow another at once.
func (b *Budget) MayFull(n, baud int, urgent bool) bool {
	if urgent {
		return b.debt <= lineShare*LineTime(n, baud)
	}
	return b.debt == 0
}

// Sent notes that n bytes went out.
func (b *Budget) Sent(n, baud int) { b.debt += lineShare * LineTime(n, baud) }
