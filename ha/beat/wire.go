package beat

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"evenkeel/ha"
)

// writer appends; its first error sticks and names the thing.
type writer struct {
	p   []byte
	err error
}

func (w *writer) fail(format string, a ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, a...)
	}
}

func (w *writer) u8(v uint8)   { w.p = append(w.p, v) }
func (w *writer) u16(v uint16) { w.p = binary.BigEndian.AppendUint16(w.p, v) }
func (w *writer) u32(v uint32) { w.p = binary.BigEndian.AppendUint32(w.p, v) }
func (w *writer) u64(v uint64) { w.p = binary.BigEndian.AppendUint64(w.p, v) }

// flags writes the bits from the lowest up.
func (w *writer) flags(bits ...bool) {
	var v uint8
	for i, b := range bits {
		if b {
			v |= 1 << i
		}
	}
	w.u8(v)
}

func (w *writer) text(what, s string, most int) {
	if len(s) > most || !printable(s) {
		w.fail("%s %q does not fit a beat: at most %d printable ASCII bytes", what, s, most)
		return
	}
	w.u8(uint8(len(s)))
	w.p = append(w.p, s...)
}

func (w *writer) node(n ha.NodeID) {
	switch {
	case n == "":
		w.u8(0)
	case validNode(n):
		w.u8(n[0])
	default:
		w.fail("node id %q is not one lower-case letter", n)
	}
}

func (w *writer) epoch(e ha.Epoch) { w.u64(e.Counter); w.node(e.Node) }

func (w *writer) generation(g ha.Generation) {
	if g == "" {
		w.p = append(w.p, make([]byte, 16)...)
		return
	}
	b, err := hex.DecodeString(string(g))
	if err != nil || len(b) != 16 || hex.EncodeToString(b) != string(g) || [16]byte(b) == [16]byte{} {
		w.fail("generation %q is not 32 lower-case hex digits other than zero", g)
		return
	}
	w.p = append(w.p, b...)
}

func put[T ~string](w *writer, table []T, word T) {
	i := slices.Index(table, word)
	if i < 0 {
		w.fail("word %q has no code in a beat", string(word))
		return
	}
	w.u8(uint8(i))
}

// reader takes bytes off the front; after the first fault everything is zero and bad is set.
type reader struct {
	p   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.p) {
		r.bad = true
		return nil
	}
	b := r.p[:n]
	r.p = r.p[n:]
	return b
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// flags reads a byte of which only the lowest n bits may be set.
func (r *reader) flags(n int) uint8 {
	v := r.u8()
	if v>>n != 0 {
		r.bad = true
	}
	return v
}

// count reads a count of at most n.
func (r *reader) count(n int) int {
	v := int(r.u8())
	if v > n {
		r.bad = true
		return 0
	}
	return v
}

func (r *reader) text(most int) string {
	b := r.take(r.count(most))
	s := string(b)
	if !printable(s) {
		r.bad = true
	}
	return s
}

func (r *reader) node() ha.NodeID {
	b := r.u8()
	if b == 0 {
		return ""
	}
	if b < 'a' || b > 'z' {
		r.bad = true
		return ""
	}
	return ha.NodeID(rune(b))
}

func (r *reader) epoch() ha.Epoch {
	c := r.u64()
	return ha.Epoch{Counter: c, Node: r.node()}
}

func (r *reader) generation() ha.Generation {
	b := r.take(16)
	if b == nil || [16]byte(b) == [16]byte{} {
		return ""
	}
	return ha.Generation(hex.EncodeToString(b))
}

func (r *reader) ms() time.Duration { return time.Duration(r.u32()) * time.Millisecond }

func get[T ~string](r *reader, table []T) T {
	i := int(r.u8())
	if i >= len(table) {
		r.bad = true
		return ""
	}
	return table[i]
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// msDown and msUp give whole milliseconds within 32 bits: promises are rounded down, ages up, so that neither says too much.
func msDown(d time.Duration) uint32 {
	return uint32(min(max(d/time.Millisecond, 0), 1<<32-1))
}

func msUp(d time.Duration) uint32 { return msDown(d + time.Millisecond - 1) }
