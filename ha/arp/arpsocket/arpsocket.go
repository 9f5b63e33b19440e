// Package arpsocket sends and hears ARP frames on one Ethernet device, by a raw packet socket of the current network namespace.
package arpsocket

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel/ha/arp"
)

// Socket is one device's.
type Socket struct {
	device string
	file   *os.File
	mac    arp.MAC
	buf    [128]byte // an ARP frame with the padding of Ethernet is 60 bytes
}

// Open opens a socket on a device. It needs CAP_NET_RAW.
func Open(device string) (*Socket, error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("device %s cannot be asked: %w", device, err)
	}
	if len(link.HardwareAddr) != 6 {
		return nil, fmt.Errorf("device %s has no Ethernet address, so ARP cannot be spoken on it", device)
	}
	const proto = unix.ETH_P_ARP
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("a raw socket on %s is refused: %w", device, err)
	}
	// Bound with the protocol only now, so that no frame of another device slips in.
	var n [2]byte
	binary.BigEndian.PutUint16(n[:], proto)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(n[:]), Ifindex: link.Index}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("a raw socket cannot be bound to %s: %w", device, err)
	}
	return &Socket{device: device, file: os.NewFile(uintptr(fd), "arp:"+device), mac: arp.MAC(link.HardwareAddr)}, nil
}

// MAC is the device's hardware address.
func (s *Socket) MAC() arp.MAC { return s.mac }

// Send sends one frame. A full queue is an error and not a wait: the caller repeats anyway.
func (s *Socket) Send(f arp.Frame) error {
	if err := s.file.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		return err
	}
	if _, err := s.file.Write(arp.Append(make([]byte, 0, arp.Length), f)); err != nil {
		return fmt.Errorf("device %s sends no ARP: %w", s.device, err)
	}
	return nil
}

// Receive returns the next ARP frame, also those that this machine sent; os.ErrDeadlineExceeded if none came in time.
func (s *Socket) Receive(until time.Time) (arp.Frame, error) {
	if err := s.file.SetReadDeadline(until); err != nil {
		return arp.Frame{}, err
	}
	for {
		n, err := s.file.Read(s.buf[:])
		if err != nil {
			return arp.Frame{}, err
		}
		if f, ok := arp.Parse(s.buf[:n]); ok {
			return f, nil
		}
	}
}

// Close ends the socket; a Receive that waits returns an error.
func (s *Socket) Close() error { return s.file.Close() }

// Ask sends a probe for every target at each of the offsets in at, which rise, and gives each frame that names one of the targets as its
// sender to heard, until heard returns true, window is over, or ctx ends. Frames from this machine's own addresses are left out.
func Ask(ctx context.Context, device string, targets []netip.Addr, at []time.Duration, window time.Duration, heard func(arp.Frame) bool) error {
	s, err := Open(device)
	if err != nil {
		return err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	asked := map[netip.Addr]bool{}
	for _, t := range targets {
		asked[t] = true
	}
	if err := s.round(targets, at, window, asked, OwnMACs(), heard); ctx.Err() == nil {
		return err
	}
	return nil // the end of ctx closed the socket
}

// round is the questions of [Ask] and what is heard between and after them.
func (s *Socket) round(targets []netip.Addr, at []time.Duration, window time.Duration, asked map[netip.Addr]bool, own map[arp.MAC]bool, heard func(arp.Frame) bool) error {
	began := time.Now()
	for i := 0; i <= len(at); i++ {
		until := window
		if i < len(at) {
			until = min(at[i], window)
		}
		if done, err := s.collect(began.Add(until), asked, own, heard); done || err != nil {
			return err
		}
		if i < len(at) {
			for _, t := range targets {
				if err := s.Send(arp.Question(s.mac, netip.Addr{}, t)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// collect gives frames to heard until a point in time.
func (s *Socket) collect(until time.Time, asked map[netip.Addr]bool, own map[arp.MAC]bool, heard func(arp.Frame) bool) (done bool, err error) {
	for {
		f, err := s.Receive(until)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, nil
		case errors.Is(err, unix.ENETDOWN):
			return false, fmt.Errorf("device %s is down", s.device)
		case err != nil:
			return false, fmt.Errorf("device %s hears no ARP: %w", s.device, err)
		}
		if asked[f.Sender] && !own[f.SenderMAC] && heard(f) {
			return true, nil
		}
	}
}

// OwnMACs are the hardware addresses of this machine: two of its devices on one network answer each other's questions.
func OwnMACs() map[arp.MAC]bool {
	own := map[arp.MAC]bool{}
	links, err := net.Interfaces()
	if err != nil {
		return own
	}
	for _, l := range links {
		if len(l.HardwareAddr) == 6 {
			own[arp.MAC(l.HardwareAddr)] = true
		}
	}
	return own
}
