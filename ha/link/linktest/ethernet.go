package linktest

import (
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Device is the name of the Ethernet device at both ends; AddressA and AddressB are theirs, in a network of 24 bits.
const (
	Device   = "lan"
	AddressA = "10.77.0.1"
	AddressB = "10.77.0.2"
)

// EthernetCable joins the network namespaces of two processes by a veth pair. It is gone with the processes.
type EthernetCable struct {
	t          testing.TB
	pidA, pidB int
}

// Ethernet makes the pair directly inside the namespaces of the two processes; nothing of it appears outside.
func Ethernet(t testing.TB, pidA, pidB int) *EthernetCable {
	t.Helper()
	c := &EthernetCable{t: t, pidA: pidA, pidB: pidB}
	c.Plug()
	return c
}

// Plug makes the devices at both ends, up and with their addresses.
func (c *EthernetCable) Plug() {
	c.t.Helper()
	a, b := handle(c.t, c.pidA), handle(c.t, c.pidB)
	defer a.Close()
	defer b.Close()
	must(c.t, a.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: Device}, PeerName: Device, PeerNamespace: netlink.NsPid(c.pidB),
	}))
	up(c.t, a, AddressA)
	up(c.t, b, AddressB)
}

// Unplug takes the devices away, as a card that is pulled out.
func (c *EthernetCable) Unplug() {
	c.t.Helper()
	c.atA(func(h *netlink.Handle, l netlink.Link) error { return h.LinkDel(l) })
}

// Address takes A's address away, or gives it back.
func (c *EthernetCable) Address(present bool) {
	c.t.Helper()
	a, err := netlink.ParseAddr(AddressA + "/24")
	must(c.t, err)
	c.atA(func(h *netlink.Handle, l netlink.Link) error {
		if present {
			return h.AddrAdd(l, a)
		}
		return h.AddrDel(l, a)
	})
}

func (c *EthernetCable) atA(do func(*netlink.Handle, netlink.Link) error) {
	c.t.Helper()
	h := handle(c.t, c.pidA)
	defer h.Close()
	l, err := h.LinkByName(Device)
	must(c.t, err)
	must(c.t, do(h, l))
}

func handle(t testing.TB, pid int) *netlink.Handle {
	t.Helper()
	ns, err := netns.GetFromPid(pid)
	must(t, err)
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	must(t, err)
	return h
}

func up(t testing.TB, h *netlink.Handle, address string) {
	t.Helper()
	for _, name := range []string{"lo", Device} {
		l, err := h.LinkByName(name)
		must(t, err)
		if name == Device {
			a, err := netlink.ParseAddr(address + "/24")
			must(t, err)
			must(t, h.AddrAdd(l, a))
		}
		must(t, h.LinkSetUp(l))
	}
}

// CutToA drops what goes to A.
func (c *EthernetCable) CutToA(cut bool) { c.drop(c.pidA, cut) }

// CutToB drops what goes to B.
func (c *EthernetCable) CutToB(cut bool) { c.drop(c.pidB, cut) }

func (c *EthernetCable) drop(pid int, cut bool) {
	c.t.Helper()
	rule := "delete table inet cut"
	if cut {
		rule = "table inet cut { chain in { type filter hook input priority 0; policy drop; }; }"
	}
	cmd := exec.Command("nsenter", "-t", strconv.Itoa(pid), "-n", "nft", rule)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("nft %s: %v\n%s", rule, err, out)
	}
}

// Carrier takes the carrier away at A by setting B's end down, and gives it back.
func (c *EthernetCable) Carrier(present bool) {
	c.t.Helper()
	h := handle(c.t, c.pidB)
	defer h.Close()
	l, err := h.LinkByName(Device)
	must(c.t, err)
	if present {
		must(c.t, h.LinkSetUp(l))
	} else {
		must(c.t, h.LinkSetDown(l))
	}
}

// InjectAtB sends datagrams from B's namespace to A's broadcast address, from and to a port, with any TTL: a stranger on the cable.
func (c *EthernetCable) InjectAtB(port uint16, ttl int, payload []byte) {
	c.t.Helper()
	fd := socketIn(c.t, c.pidB)
	defer unix.Close(fd)
	must(c.t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	must(c.t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
	must(c.t, unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, ttl))
	must(c.t, unix.Sendto(fd, payload, 0, &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{10, 77, 0, 255}}))
}

// socketIn makes a socket in the namespace of a process; it stays there wherever it is used.
func socketIn(t testing.TB, pid int) int {
	t.Helper()
	runtime.LockOSThread()
	home, err := netns.Get()
	must(t, err)
	defer home.Close()
	there, err := netns.GetFromPid(pid)
	must(t, err)
	defer there.Close()
	must(t, netns.Set(there))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if back := netns.Set(home); back != nil {
		panic(fmt.Sprintf("this thread cannot go home: %v", back)) // and must never run anything else
	}
	runtime.UnlockOSThread()
	must(t, err)
	return fd
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
