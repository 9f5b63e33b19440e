package check

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel/ha"
)

// An ICMP echo of ours (RFC 792), big-endian:
//
//	0 1 type: 8 question, 0 answer   1 1 code 0   2 2 checksum (RFC 1071)
//	4 2 identifier, random by socket  6 2 sequence
//	8 8 nonce, random by question: an answer counts only with it
const (
	echoLength   = 16
	echoQuestion = 8
	echoAnswer   = 0
)

// appendEcho appends the bytes of one echo.
func appendEcho(dst []byte, kind byte, id, seq uint16, nonce uint64) []byte {
	at := len(dst)
	dst = append(dst, kind, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = binary.BigEndian.AppendUint16(dst, seq)
	dst = binary.BigEndian.AppendUint64(dst, nonce)
	binary.BigEndian.PutUint16(dst[at+2:], checksum(dst[at:]))
	return dst
}

// parseEcho reads an answer; ok is false if it is none of this form.
func parseEcho(b []byte) (id, seq uint16, nonce uint64, ok bool) {
	if len(b) != echoLength || b[0] != echoAnswer || b[1] != 0 || checksum(b) != 0 {
		return 0, 0, 0, false
	}
	return binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]), binary.BigEndian.Uint64(b[8:]), true
}

// checksum is the one's complement of the one's complement sum; over a whole good message it is 0.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// now is this machine's clock since boot, suspension included.
func now() ha.Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // a kernel without this clock runs no Go program of ours
	}
	return ha.Instant(ts.Nano())
}

// question is one echo that was sent.
type question struct {
	seq   uint16
	nonce uint64
	to    netip.Addr
	at    ha.Instant
}

// echoSocket asks by ICMP and hears the answers. One owner calls ask, another may call hear.
type echoSocket struct {
	conn *net.IPConn
	id   uint16
	seq  uint16
}

// openEcho opens a raw socket; it needs CAP_NET_RAW.
func openEcho() (*echoSocket, error) {
	conn, err := net.ListenIP("ip4:icmp", &net.IPAddr{IP: net.IPv4zero})
	if err != nil {
		return nil, fmt.Errorf("no ICMP socket to ask with: %w", err)
	}
	return &echoSocket{conn: conn, id: uint16(rand.Uint32())}, nil
}

// ask sends one question.
func (s *echoSocket) ask(to netip.Addr) (question, error) {
	if s.seq++; s.seq == 0 {
		s.seq = 1 // 0 means that none was sent
	}
	q := question{seq: s.seq, nonce: rand.Uint64(), to: to, at: now()}
	if err := s.conn.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		return q, err
	}
	b := appendEcho(make([]byte, 0, echoLength), echoQuestion, s.id, q.seq, q.nonce)
	_, err := s.conn.WriteToIP(b, &net.IPAddr{IP: to.AsSlice()})
	return q, err
}

// answer is one echo that came back.
type answer struct {
	from  netip.Addr
	seq   uint16
	nonce uint64
}

// to says whether a answers q.
func (a answer) to(q question) bool { return a.seq == q.seq && a.nonce == q.nonce && a.from == q.to }

// hear returns the next answer to this socket, at the latest at until (zero: when the socket is closed).
func (s *echoSocket) hear(until time.Time) (answer, error) {
	if err := s.conn.SetReadDeadline(until); err != nil {
		return answer{}, err
	}
	var b [128]byte
	for {
		n, from, err := s.conn.ReadFromIP(b[:])
		if errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.ECONNREFUSED) {
			continue // an ICMP error of an earlier question, which its own deadline deals with
		}
		if err != nil {
			return answer{}, err
		}
		addr, _ := netip.AddrFromSlice(from.IP.To4())
		if id, seq, nonce, ok := parseEcho(b[:n]); ok && id == s.id {
			return answer{from: addr, seq: seq, nonce: nonce}, nil
		}
	}
}

func (s *echoSocket) close() { _ = s.conn.Close() }
