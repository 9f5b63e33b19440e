package lab

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// hub is the hidden namespace with the bridges, and the client's namespace.
type hub struct {
	space  netns.NsHandle
	link   *netlink.Handle
	client netns.NsHandle
}

// newHub makes the namespaces, the bridges with their gateways, and the client.
func newHub() (*hub, error) {
	space, err := newNamespace()
	if err != nil {
		return nil, err
	}
	h := &hub{space: space}
	if h.link, err = netlink.NewHandleAt(space); err != nil {
		return nil, err
	}
	for _, n := range networks {
		if err := h.bridge(n); err != nil {
			return nil, fmt.Errorf("bridge %s cannot be made: %w", n.name, err)
		}
	}
	if h.client, err = newNamespace(); err != nil {
		return nil, err
	}
	return h, h.plug("client", h.client)
}

// close lets go of both namespaces; the kernel removes them with their devices.
func (h *hub) close() {
	h.link.Close()
	_ = h.space.Close()
	_ = h.client.Close()
}

// bridge makes one network; its gateway answers ping.
func (h *hub) bridge(n network) error {
	// Without an address of its own a bridge takes the lowest of its ports', so that a machine's power cut would change the gateway's.
	b := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: n.name, HardwareAddr: n.hardware("gateway")}}
	if err := h.link.LinkAdd(b); err != nil {
		return err
	}
	if n.gateway {
		if err := addAddress(h.link, b, n.address("gateway")); err != nil {
			return err
		}
	}
	return h.link.LinkSetUp(b)
}

// plug gives a machine its devices and addresses. Its hardware addresses are the same at each power-on.
func (h *hub) plug(who string, space netns.NsHandle) error {
	inside, err := netlink.NewHandleAt(space)
	if err != nil {
		return err
	}
	defer inside.Close()
	lo, err := inside.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := inside.LinkSetUp(lo); err != nil {
		return err
	}
	for _, n := range networks {
		if who == "client" && !n.client {
			continue
		}
		if err := h.connect(n, cableID{who, n.name}, inside, space); err != nil {
			return fmt.Errorf("cable %s:%s cannot be laid: %w", who, n.name, err)
		}
	}
	return defaultRoute(inside)
}

// connect lays one cable: a veth pair from the bridge to the machine.
func (h *hub) connect(n network, id cableID, inside *netlink.Handle, space netns.NsHandle) error {
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: id.port()},
		PeerName:         n.name,
		PeerHardwareAddr: n.hardware(id.node),
		PeerNamespace:    netlink.NsFd(int(space)),
	}
	if err := h.link.LinkAdd(veth); err != nil {
		return err
	}
	bridge, err := h.link.LinkByName(n.name)
	if err != nil {
		return err
	}
	if err := h.link.LinkSetMaster(veth, bridge); err != nil {
		return err
	}
	device, err := inside.LinkByName(n.name)
	if err != nil {
		return err
	}
	if err := addAddress(inside, device, n.address(id.node)); err != nil {
		return err
	}
	if err := inside.LinkSetUp(device); err != nil {
		return err
	}
	return h.link.LinkSetUp(veth)
}

// unplug removes a machine's cables, as a power-off takes the carrier away.
func (h *hub) unplug(node string) error {
	for _, n := range networks {
		l, err := h.link.LinkByName(cableID{node, n.name}.port())
		if err != nil {
			continue // gone with the machine's namespace
		}
		if err := h.link.LinkDel(l); err != nil && err != unix.ENODEV {
			return err
		}
	}
	return nil
}

// apply makes carriers and rules follow the faults. A cable of a machine that is off does not exist.
func (h *hub) apply(f faults) error {
	for id, c := range f.cables {
		l, err := h.link.LinkByName(id.port())
		if err != nil {
			continue
		}
		set := h.link.LinkSetUp
		if c.Cut {
			set = h.link.LinkSetDown
		}
		if err := set(l); err != nil {
			return fmt.Errorf("cable %s does not follow: %w", id, err)
		}
	}
	return inNetwork(h.space, func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(f.rules())
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft refused the lab's rules: %w: %s", err, firstLine(out))
		}
		return nil
	})
}

// hardware is the hardware address of a machine on a network, made from the last numbers of its address.
func (n network) hardware(who string) net.HardwareAddr {
	ip := net.ParseIP(n.address(who)).To4()
	return net.HardwareAddr{0x02, 0x45, 0x4b, 0, ip[2], ip[3]}
}

// addAddress gives a device an address of a /24.
func addAddress(h *netlink.Handle, l netlink.Link, address string) error {
	a, err := netlink.ParseAddr(address + "/24")
	if err != nil {
		return err
	}
	return h.AddrAdd(l, a)
}

// defaultRoute sends everything else to the gateway of the Internet network.
func defaultRoute(h *netlink.Handle) error {
	wan := networks[1]
	l, err := h.LinkByName(wan.name)
	if err != nil {
		return err
	}
	return h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(wan.address("gateway"))})
}

// newNamespace makes a network namespace that lives as long as the handle or a process in it.
func newNamespace() (space netns.NsHandle, err error) {
	onThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("a network namespace cannot be made: %w; the lab needs root", err)
			return
		}
		space, err = netns.Get()
	})
	return space, err
}

// inNetwork runs f on a thread inside the network namespace; processes and sockets made by f on that thread are there.
func inNetwork(space netns.NsHandle, f func() error) (err error) {
	onThread(func() {
		if err = netns.Set(space); err == nil {
			err = f()
		}
	})
	return err
}

// onThread runs f on a thread that ends afterwards, with whatever namespace it is in. That is never the process's first thread: it would not
// end, and /proc names its namespaces as those of the whole process.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			f() // never unlocked: the thread ends with the goroutine
			return
		}
		defer runtime.UnlockOSThread()
		onThread(f) // this one is held meanwhile
	}()
	<-done
}

// space names one network namespace of this machine for good. The kernel gives an inode that has become free to the next
// namespace, which may be another lab's; a cookie is never given again.
type space struct {
	Inode  uint64 `json:"inode"`
	Cookie uint64 `json:"cookie"`
}

// spaceOf names the namespace behind a handle.
func spaceOf(handle netns.NsHandle) (s space, err error) {
	s.Inode = inode(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(handle)))
	return s, inNetwork(handle, func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		s.Cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return err
	})
}

// spaceOfProcess names the network namespace of a process; the zero value if it is gone.
func spaceOfProcess(pid int) space {
	handle, err := netns.GetFromPid(pid)
	if err != nil {
		return space{}
	}
	defer handle.Close()
	s, err := spaceOf(handle)
	if err != nil {
		return space{}
	}
	return s
}

// firstLine is a command's complaint.
func firstLine(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
