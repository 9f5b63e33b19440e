package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	watchEvery   = 100 * time.Millisecond // carrier
	addressEvery = 10                     // watches between two looks at index and address
	receiveQueue = 64 << 10               // bytes; what waits longer than that is stale anyway
)

// udpLink sends to the broadcast address of one device, from and to the same port, with TTL 255 (N10 to N13). Its socket is bound to the device, not to
// an address: one that is bound to an address hears no broadcast.
type udpLink struct {
	noted
	setup Setup
	way   atomic.Pointer[way]
	peer  atomic.Pointer[netip.Addr]
}

// way is an open socket and where its datagrams go.
type way struct {
	conn  *net.UDPConn
	raw   syscall.RawConn
	index int // of the device when the socket was bound
	to    *unix.SockaddrInet4
}

func (l *udpLink) Send(p []byte) error {
	w := l.way.Load()
	if w == nil || w.to == nil {
		return ErrDown
	}
	var sent error
	err := w.raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), p, unix.MSG_DONTWAIT, w.to)
		return true // never wait until the socket is writable
	})
	return errors.Join(err, sent)
}

func (l *udpLink) HeardFrom(a netip.Addr) {
	if old := l.peer.Load(); old == nil || *old != a {
		l.peer.Store(&a)
	}
}

func (l *udpLink) Run(ctx context.Context) {
	for ctx.Err() == nil {
		w, err := l.bind(ctx)
		if err != nil {
			l.carrier(nil)
			l.problem(err.Error())
			if !pause(ctx, 2*watchEvery) {
				return
			}
			continue
		}
		l.serve(ctx, w)
	}
}

// serve reads until the socket is closed, by the watcher or because ctx ended.
func (l *udpLink) serve(ctx context.Context, w *way) {
	ctx, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	l.way.Store(w)
	go func() { defer close(watched); l.watch(ctx, w); l.way.Store(nil); w.conn.Close() }()
	defer func() { stop(); <-watched }()
	buf, oob := make([]byte, 2048), make([]byte, 128)
	for {
		n, on, _, from, err := w.conn.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // a device that went down answers so; the watcher finds out the rest
			if !pause(ctx, watchEvery) {
				return
			}
			continue
		}
		l.setup.Receive(Received{Bytes: buf[:n], From: from.Addr().Unmap(), TTL: ttlOf(oob[:on])})
	}
}

// bind opens the socket on the device.
func (l *udpLink) bind(ctx context.Context) (*way, error) {
	dev, err := net.InterfaceByName(l.setup.Name)
	if err != nil {
		return nil, fmt.Errorf("device %s does not exist on this machine: choose another on the Heartbeat page, or bring it back", l.setup.Name)
	}
	conf := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = prepare(int(fd), l.setup.Name) })
		return errors.Join(err, failed)
	}}
	pc, err := conf.ListenPacket(ctx, "udp4", fmt.Sprintf(":%d", l.setup.Port))
	if err != nil {
		return nil, fmt.Errorf("UDP port %d on device %s cannot be opened: %w; heart needs root's rights and the port free", l.setup.Port, l.setup.Name, err)
	}
	conn := pc.(*net.UDPConn)
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("the socket on device %s cannot be used: %w", l.setup.Name, err)
	}
	w := &way{conn: conn, raw: raw, index: dev.Index}
	return l.aim(w, dev), nil
}

// prepare sets what a beat's socket needs. TOS CS6 is the class of network control.
func prepare(fd int, device string) error {
	return errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveQueue),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, 255),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, 0xc0),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTTL, 1),
		unix.BindToDevice(fd, device),
	)
}

// aim finds the device's broadcast address and says what is wrong without one.
func (l *udpLink) aim(w *way, dev *net.Interface) *way {
	to, ok := broadcast(dev)
	next := &way{conn: w.conn, raw: w.raw, index: w.index}
	if !ok {
		l.problem(fmt.Sprintf("device %s has no IPv4 address: no beat can be sent on it until it has one", l.setup.Name))
		return next
	}
	next.to = &unix.SockaddrInet4{Port: int(l.setup.Port), Addr: to}
	l.problem("")
	return next
}

// broadcast is that of the device's first IPv4 address; a network of one or two addresses has none of its own, there the limited one serves.
func broadcast(dev *net.Interface) (to [4]byte, ok bool) {
	addrs, err := dev.Addrs()
	if err != nil {
		return to, false
	}
	for _, a := range addrs {
		n, isNet := a.(*net.IPNet)
		if !isNet || n.IP.To4() == nil {
			continue
		}
		ones, _ := n.Mask.Size()
		if ones > 30 {
			return [4]byte{255, 255, 255, 255}, true
		}
		copy(to[:], n.IP.To4())
		for i := range to {
			to[i] |= ^n.Mask[len(n.Mask)-4+i]
		}
		return to, true
	}
	return to, false
}

// watch keeps the carrier, the target and the peer's hardware address current. It returns when ctx ends or the device is another one.
func (l *udpLink) watch(ctx context.Context, w *way) {
	for i := 0; ; i++ {
		l.carrier(carrierOf(w.raw, l.setup.Name))
		if i%addressEvery == addressEvery-1 {
			dev, err := net.InterfaceByName(l.setup.Name)
			if err != nil || dev.Index != w.index {
				return
			}
			l.way.Store(l.aim(w, dev))
		}
		if every := macEvery(l.Status().PeerMAC != ""); i%every == every-1 {
			l.lookUp(w.index)
		}
		if !pause(ctx, watchEvery) {
			return
		}
	}
}

// macEvery is how many watches pass between two looks at the peer's hardware address: few until it is known, many then.
func macEvery(known bool) int {
	if known {
		return 50
	}
	return 3
}

// carrierOf asks the kernel whether the device runs; it takes no lock there that others could hold.
func carrierOf(raw syscall.RawConn, device string) *bool {
	req, err := unix.NewIfreq(device)
	if err != nil {
		return nil
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.IoctlIfreq(int(fd), unix.SIOCGIFFLAGS, req) }); err != nil || failed != nil {
		return nil
	}
	up := req.Uint16()&unix.IFF_RUNNING != 0
	return &up
}

// lookUp reads the peer's hardware address from the kernel's neighbours. A broadcast makes no neighbour: where there is none, the kernel is told that we
// use the address, and asks for it itself; the next look finds the answer.
func (l *udpLink) lookUp(index int) {
	peer := l.peer.Load()
	if peer == nil {
		return
	}
	list, err := netlink.NeighList(index, unix.AF_INET)
	if err != nil {
		return
	}
	ip := net.IP(peer.AsSlice())
	for _, n := range list {
		if n.IP.Equal(ip) && len(n.HardwareAddr) == 6 && n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
			l.peerMAC(n.HardwareAddr.String())
			return
		}
	}
	_ = netlink.NeighSet(&netlink.Neigh{LinkIndex: index, IP: ip, State: netlink.NUD_NONE, Flags: netlink.NTF_USE}) // the next look tells
}

// ttlOf finds the TTL among the control messages; 0 = none.
func ttlOf(oob []byte) int {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for _, m := range msgs {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TTL && len(m.Data) >= 4 {
			return int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return 0
}
