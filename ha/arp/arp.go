// Package arp has the bytes of an ARP frame for IPv4 over Ethernet (RFC 826; probes and announcements: RFC 5227). It is pure: the socket is
// in arpsocket.
//
//	 0       6      12    14                                     42
//	+-------+-------+-----+--------------------------------------+
//	| dst   | src   |0806 | 28 bytes of ARP                      |
//	+-------+-------+-----+--------------------------------------+
//	14  2 hardware type 0001      16  2 protocol type 0800
//	18  1 hardware length 06      19  1 protocol length 04
//	20  2 operation: 1 request, 2 reply
//	22  6 sender's MAC            28  4 sender's address (0.0.0.0 in a probe)
//	32  6 target's MAC (0 in a request)   38  4 target's address
//
// All numbers are big-endian. What follows after byte 42 is padding.
package arp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// The operations.
const (
	Request uint16 = 1
	Reply   uint16 = 2
)

// Length is that of a frame without padding.
const Length = 42

// MAC is a hardware address.
type MAC [6]byte

// Broadcast is every station's.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// String is "02:00:0a:58:01:01".
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Frame is one ARP frame with its Ethernet header.
type Frame struct {
	Destination, Source  MAC // of the Ethernet header
	Operation            uint16
	SenderMAC, TargetMAC MAC
	Sender, Target       netip.Addr // IPv4
}

// Question asks who has target. An invalid sender makes it a probe, which leaves no trace in anybody's table.
func Question(mac MAC, sender, target netip.Addr) Frame {
	if !sender.Is4() {
		sender = netip.IPv4Unspecified()
	}
	return Frame{Destination: Broadcast, Source: mac, Operation: Request, SenderMAC: mac, Sender: sender, Target: target}
}

// Announcement says that addr is at mac now. It is a request: Linux heeds a broadcast reply only once in a second.
func Announcement(mac MAC, addr netip.Addr) Frame {
	return Frame{Destination: Broadcast, Source: mac, Operation: Request, SenderMAC: mac, Sender: addr, Target: addr}
}

// header is bytes 12 to 20, the same in every frame.
var header = [8]byte{0x08, 0x06, 0, 1, 0x08, 0, 6, 4}

// Append appends the frame's bytes to dst.
func Append(dst []byte, f Frame) []byte {
	sender, target := f.Sender.As4(), f.Target.As4()
	dst = append(dst, f.Destination[:]...)
	dst = append(dst, f.Source[:]...)
	dst = append(dst, header[:]...)
	dst = binary.BigEndian.AppendUint16(dst, f.Operation)
	dst = append(dst, f.SenderMAC[:]...)
	dst = append(dst, sender[:]...)
	dst = append(dst, f.TargetMAC[:]...)
	return append(dst, target[:]...)
}

// Parse reads a frame; ok is false if it is no ARP for IPv4 over Ethernet.
func Parse(b []byte) (f Frame, ok bool) {
	if len(b) < Length || [8]byte(b[12:20]) != header {
		return Frame{}, false
	}
	f = Frame{
		Destination: MAC(b[0:6]), Source: MAC(b[6:12]),
		Operation: binary.BigEndian.Uint16(b[20:]),
		SenderMAC: MAC(b[22:28]), Sender: netip.AddrFrom4([4]byte(b[28:32])),
		TargetMAC: MAC(b[32:38]), Target: netip.AddrFrom4([4]byte(b[38:42])),
	}
	return f, f.Operation == Request || f.Operation == Reply
}
