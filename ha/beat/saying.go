package beat

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"evenkeel/ha"
)

// Page is a slow part, ready to be sent: made once for each saying, used in many beats.
type Page struct {
	Digest  uint32
	Volumes int  // promises that go with it
	Pending bool // a request or an answer is in it
	slow    []byte
}

// payloadRoom is what the payloads of one page may take together: with every other field at its bound such a page is just within MaxFull.
const payloadRoom = MaxPayload

// Pages encodes what the decision says. There are two or more pages if the answers' payloads do not fit into one beat: then each page
// carries some of the answers and all else, and the beats take turns. The error names what does not fit the format; phase and version,
// which are for people, are cut to their bounds instead.
func Pages(boot ha.BootName, s *ha.Saying) ([]Page, error) {
	if err := fits(s); err != nil {
		return nil, err
	}
	var pages []Page
	rest := s.Answers
	for first := true; first || len(rest) > 0; first = false {
		n := onePage(rest)
		p, err := page(boot, s, rest[:n])
		if err != nil {
			return nil, err
		}
		pages, rest = append(pages, p), rest[n:]
	}
	return pages, nil
}

func fits(s *ha.Saying) error {
	switch {
	case len(s.Volumes) > MaxVolumes:
		return fmt.Errorf("%d volumes do not fit a beat: at most %d", len(s.Volumes), MaxVolumes)
	case len(s.Requests) > MaxAsked:
		return fmt.Errorf("%d requests do not fit a beat: at most %d", len(s.Requests), MaxAsked)
	case len(s.Answers) > MaxAsked:
		return fmt.Errorf("%d answers do not fit a beat: at most %d", len(s.Answers), MaxAsked)
	}
	for _, a := range s.Answers {
		if len(a.Payload) > MaxPayload {
			return fmt.Errorf("payload of %d bytes for volume %q does not fit a beat: at most %d", len(a.Payload), a.Volume, MaxPayload)
		}
	}
	return nil
}

// answerFixed is the length of an answer without its payload at its longest.
const answerFixed = 8 + 16 + 1 + 1 + MaxName + 1 + 1 + MaxReason + 16 + 8 + 9 + 2

// onePage is how many of the answers go into one page. Without payloads all four do; with them, payload and fixed part of all but the first
// share the room.
func onePage(answers []ha.Answer) int {
	used := 0
	for i, a := range answers {
		used += len(a.Payload)
		if i > 0 {
			used += answerFixed
		}
		if used > payloadRoom {
			return i
		}
	}
	return len(answers)
}

func page(boot ha.BootName, s *ha.Saying, answers []ha.Answer) (Page, error) {
	w := &writer{p: make([]byte, 0, 512)}
	appendSaying(w, s, answers)
	if w.err != nil {
		return Page{}, w.err
	}
	return Page{
		Digest: digest(boot, w.p), Volumes: len(s.Volumes), Pending: len(s.Requests) > 0 || len(answers) > 0, slow: w.p,
	}, nil
}

func digest(boot ha.BootName, slow []byte) uint32 {
	var buf [MaxFull + 16]byte
	sum := sha256.Sum256(append(append(buf[:0], boot[:]...), slow...))
	return binary.BigEndian.Uint32(sum[:])
}

func appendSaying(w *writer, s *ha.Saying, answers []ha.Answer) {
	w.epoch(s.Epoch)
	put(w, roles, s.Role)
	put(w, modes, s.Mode)
	w.flags(s.Armed, s.Attention, s.Healthy, s.Leaving, s.Release != nil, s.HandedBack != nil, s.Reaches)
	w.u32(msUp(s.DeadTime))
	w.u64(s.Revision)
	w.u32(s.Digest)
	w.text("phase", cut(s.Phase, MaxPhase), MaxPhase)
	w.text("version", cut(s.Version, MaxVersion), MaxVersion)
	w.u8(uint8(len(s.Volumes)))
	for i := range s.Volumes {
		v := &s.Volumes[i]
		w.text("volume name", v.Name, MaxName)
		w.generation(v.Generation)
		put(w, sides, v.Role)
		put(w, disks, v.Disk)
		w.flags(v.Connected, v.LastPrimary, v.LeftInSync)
	}
	if s.Release != nil {
		w.epoch(s.Release.Epoch)
		w.u64(s.Release.Request)
		w.flags(s.Release.NoLone)
	}
	if s.HandedBack != nil {
		w.epoch(*s.HandedBack)
	}
	w.u8(uint8(len(s.Requests)))
	for i := range s.Requests {
		appendRequest(w, &s.Requests[i])
	}
	w.u8(uint8(len(answers)))
	for i := range answers {
		appendAnswer(w, &answers[i])
	}
}

func appendRequest(w *writer, q *ha.Request) {
	w.u64(q.Number)
	put(w, kinds, q.Kind)
	w.text("volume name", q.Volume, MaxName)
	w.generation(q.Generation)
	w.u64(q.Session)
	w.epoch(q.Epoch)
}

func appendAnswer(w *writer, a *ha.Answer) {
	w.u64(a.Number)
	w.p = append(w.p, a.Boot[:]...)
	put(w, kinds, a.Kind)
	w.text("volume name", a.Volume, MaxName)
	put(w, ends, a.Result)
	w.text("reason", string(a.Reason), MaxReason)
	w.generation(a.Generation)
	w.u64(a.Session)
	w.epoch(a.Epoch)
	w.u16(uint16(len(a.Payload)))
	w.p = append(w.p, a.Payload...)
}

func readSaying(r *reader, s *ha.Saying) {
	s.Epoch = r.epoch()
	s.Role = get(r, roles)
	s.Mode = get(r, modes)
	f := r.flags(7)
	s.Armed, s.Attention, s.Healthy, s.Leaving = f&1 != 0, f&2 != 0, f&4 != 0, f&8 != 0
	s.Reaches = f&64 != 0
	s.DeadTime = r.ms()
	s.Revision = r.u64()
	s.Digest = r.u32()
	s.Phase = r.text(MaxPhase)
	s.Version = r.text(MaxVersion)
	for range r.count(MaxVolumes) {
		s.Volumes = append(s.Volumes, readVolume(r))
	}
	if f&16 != 0 {
		s.Release = &ha.Release{Epoch: r.epoch(), Request: r.u64(), NoLone: r.flags(1) != 0}
	}
	if f&32 != 0 {
		e := r.epoch()
		s.HandedBack = &e
	}
	for range r.count(MaxAsked) {
		s.Requests = append(s.Requests, readRequest(r))
	}
	for range r.count(MaxAsked) {
		s.Answers = append(s.Answers, readAnswer(r))
	}
}

func readVolume(r *reader) ha.VolumeSaying {
	v := ha.VolumeSaying{Name: r.text(MaxName), Generation: r.generation(), Role: get(r, sides), Disk: get(r, disks)}
	f := r.flags(3)
	v.Connected, v.LastPrimary, v.LeftInSync = f&1 != 0, f&2 != 0, f&4 != 0
	return v
}

func readRequest(r *reader) ha.Request {
	return ha.Request{
		Number: r.u64(), Kind: get(r, kinds), Volume: r.text(MaxName), Generation: r.generation(), Session: r.u64(), Epoch: r.epoch(),
	}
}

func readAnswer(r *reader) ha.Answer {
	a := ha.Answer{Number: r.u64()}
	copy(a.Boot[:], r.take(16))
	a.Kind, a.Volume, a.Result = get(r, kinds), r.text(MaxName), get(r, ends)
	a.Reason = ha.Reason(r.text(MaxReason))
	a.Generation, a.Session, a.Epoch = r.generation(), r.u64(), r.epoch()
	n := int(r.u16())
	if n > MaxPayload {
		r.bad = true
		return a
	}
	if b := r.take(n); len(b) > 0 {
		a.Payload = append([]byte(nil), b...)
	}
	return a
}

// cut shortens a word for people and keeps it printable.
func cut(s string, most int) string {
	b := []byte(s[:min(len(s), most)])
	for i := range b {
		if b[i] < ' ' || b[i] > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
