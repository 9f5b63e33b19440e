// Package addresstest gives tests a network of their own and shows the kernel's addresses as text.
//
//	namespace of the test binary        namespace of a Machine
//	      lan 10.88.1.1/24  ---- veth ----  lan 10.88.1.2/24
//
// The other machine is nothing but its kernel, which answers ARP and ICMP by itself. All namespaces end with the process.
package addresstest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

const insideName = "ADDRESSTEST_INSIDE"

// Main runs a package's tests in a new network namespace: the test binary starts itself again inside. TestMain calls it.
// Without the right to make namespaces the tests are skipped with a word about it.
func Main(m *testing.M) {
	if os.Getenv(insideName) != "" {
		up("lo")
		os.Exit(m.Run())
	}
	if os.Getuid() != 0 {
		fmt.Println("skipped: these tests make network namespaces, which needs root")
		os.Exit(0)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideName+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the death signal is that of the thread
	if err := cmd.Run(); err != nil {
		fmt.Println("the tests inside the namespace:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func up(device string) {
	if l, err := netlink.LinkByName(device); err != nil || netlink.LinkSetUp(l) != nil {
		panic("device " + device + " does not come up")
	}
}

// Machine is another machine, joined by one cable per device.
type Machine struct {
	t      testing.TB
	space  netns.NsHandle
	Kernel *netlink.Handle
}

// NewMachine makes another machine; it is gone when the test ends.
func NewMachine(t testing.TB) *Machine {
	t.Helper()
	type result struct {
		space netns.NsHandle
		err   error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			made <- result{err: err}
			return
		}
		space, err := netns.Get()
		made <- result{space, err}
	}()
	r := <-made
	if r.err != nil {
		t.Fatal(r.err)
	}
	kernel, err := netlink.NewHandleAt(r.space)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kernel.Close(); r.space.Close() })
	return &Machine{t: t, space: r.space, Kernel: kernel}
}

// Cable joins device here and the device of the same name there, with an address each; it is pulled when the test ends.
func (m *Machine) Cable(device, here, there string) {
	m.t.Helper()
	far := "far" + device
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: device}, PeerName: far}
	must(m.t, netlink.LinkAdd(pair))
	m.t.Cleanup(func() { _ = netlink.LinkDel(pair) })
	other, err := netlink.LinkByName(far)
	must(m.t, err)
	must(m.t, netlink.LinkSetNsFd(other, int(m.space)))
	other, err = m.Kernel.LinkByName(far)
	must(m.t, err)
	must(m.t, m.Kernel.LinkSetName(other, device))
	m.Address(device, there)
	must(m.t, m.Kernel.LinkSetUp(other))
	must(m.t, netlink.AddrAdd(pair, parse(m.t, here)))
	must(m.t, netlink.LinkSetUp(pair))
}

// Address adds an address there.
func (m *Machine) Address(device, address string) {
	m.t.Helper()
	l, err := m.Kernel.LinkByName(device)
	must(m.t, err)
	must(m.t, m.Kernel.AddrAdd(l, parse(m.t, address)))
}

// Down pulls the other end of a cable, Up puts it back: the device here loses its carrier and gets it again.
func (m *Machine) Down(device string) { m.set(device, m.Kernel.LinkSetDown) }

// Up is the opposite of Down.
func (m *Machine) Up(device string) { m.set(device, m.Kernel.LinkSetUp) }

func (m *Machine) set(device string, do func(netlink.Link) error) {
	m.t.Helper()
	l, err := m.Kernel.LinkByName(device)
	must(m.t, err)
	must(m.t, do(l))
}

// MAC is the hardware address of a device there.
func (m *Machine) MAC(device string) string {
	m.t.Helper()
	l, err := m.Kernel.LinkByName(device)
	must(m.t, err)
	return l.Attrs().HardwareAddr.String()
}

// Neighbour is the hardware address that the other machine's kernel has in mind for an address; empty = none.
func (m *Machine) Neighbour(device, address string) string {
	m.t.Helper()
	l, err := m.Kernel.LinkByName(device)
	must(m.t, err)
	all, err := m.Kernel.NeighList(l.Attrs().Index, netlink.FAMILY_V4)
	must(m.t, err)
	for _, n := range all {
		if n.IP.Equal(net.ParseIP(address)) {
			return n.HardwareAddr.String()
		}
	}
	return ""
}

// Inside runs f on a thread in the other machine's namespace: what it opens belongs there.
func (m *Machine) Inside(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, as above
		if err := netns.Set(m.space); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// Text shows the IPv4 addresses of a device as the kernel has them, one per line in the order of the text:
//
//	10.88.1.100/24 label lan:ek valid 2s deprecated
func Text(t testing.TB, device string) string {
	t.Helper()
	l, err := netlink.LinkByName(device)
	must(t, err)
	all, err := netlink.AddrList(l, netlink.FAMILY_V4)
	must(t, err)
	var lines []string
	for _, a := range all {
		line := a.IPNet.String()
		if a.Label != device {
			line += " label " + a.Label
		}
		if a.ValidLft > 0 && uint32(a.ValidLft) != ^uint32(0) {
			line += fmt.Sprintf(" valid %ds", a.ValidLft)
		}
		if a.Flags&syscall.IFA_F_DEPRECATED != 0 {
			line += " deprecated"
		}
		lines = append(lines, line+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func parse(t testing.TB, address string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(address)
	must(t, err)
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
