package address

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Protocol is the number that the kernel keeps with our addresses (IFA_PROTO, Linux 5.18; 0 to 3 are the kernel's own).
const Protocol = 0x45

// Lifetime is how long the kernel keeps an address that heart does not renew.
const Lifetime = 2 * time.Second

const (
	ifaProto     = 11    // IFA_PROTO; the netlink library has no field for it
	labelSuffix  = ":ek" // what people see in `ip address`
	labelMax     = 15    // bytes, without the final zero
	stateRetries = 3     // of a dump that was interrupted by a change
)

// Label is the label of our addresses on a device: "lan:ek".
func Label(device string) string {
	return device[:min(len(device), labelMax-len(labelSuffix))] + labelSuffix
}

// entry is one IPv4 address in the kernel.
type entry struct {
	Wish
	own   bool
	index int32
}

// request builds a message on one address. The attributes are those of `ip address add`, plus IFA_PROTO.
func request(kind, flags int, index int, scope uint8, p netip.Prefix, label string, valid time.Duration) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, flags|unix.NLM_F_ACK)
	msg := nl.NewIfAddrmsg(unix.AF_INET)
	msg.Index, msg.Prefixlen, msg.Scope = uint32(index), uint8(p.Bits()), scope
	req.AddData(msg)
	a := p.Addr().As4()
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, a[:]))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, a[:]))
	if kind == unix.RTM_DELADDR {
		return req
	}
	if p.Bits() < 31 {
		b := broadcast(p)
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, b[:]))
	}
	// The base address brings the network's route. A deprecated address (preferred for 0 s) is nobody's source by choice.
	req.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(unix.IFA_F_NOPREFIXROUTE)))
	req.AddData(nl.NewRtAttr(unix.IFA_LABEL, nl.ZeroTerminated(label)))
	req.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, cacheInfo(valid)))
	req.AddData(nl.NewRtAttr(ifaProto, nl.Uint8Attr(Protocol)))
	return req
}

// cacheInfo is struct ifa_cacheinfo: preferred and valid time in whole seconds, two time stamps that the kernel fills.
func cacheInfo(valid time.Duration) []byte {
	b := make([]byte, 16)
	binary.NativeEndian.PutUint32(b[4:], uint32((valid+time.Second-1)/time.Second))
	return b
}

// broadcast is the last address of a network.
func broadcast(p netip.Prefix) [4]byte {
	a := p.Addr().As4()
	n := binary.BigEndian.Uint32(a[:]) | (1<<(32-p.Bits()) - 1)
	binary.BigEndian.PutUint32(a[:], n)
	return a
}

// dump returns every IPv4 address of this network namespace, without the names of the devices.
func dump(sockets map[int]*nl.SocketHandle) ([]entry, error) {
	for try := 1; ; try++ {
		req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		req.Sockets = sockets
		req.AddData(nl.NewIfAddrmsg(unix.AF_INET))
		msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
		if err != nil && !(try < stateRetries && errors.Is(err, nl.ErrDumpInterrupted)) {
			return nil, fmt.Errorf("the kernel does not list its addresses: %w", err)
		}
		if err == nil {
			var all []entry
			for _, m := range msgs {
				if e, ok := parse(m); ok {
					all = append(all, e)
				}
			}
			return all, nil
		}
	}
}

// list is dump with the names of the devices.
func list(sockets map[int]*nl.SocketHandle) ([]entry, error) {
	all, err := dump(sockets)
	if err != nil {
		return nil, err
	}
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("the kernel does not list its devices: %w", err)
	}
	for i := range all {
		for _, l := range links {
			if int32(l.Index) == all[i].index {
				all[i].Device = l.Name
			}
		}
	}
	return all, nil
}

// parse reads one RTM_NEWADDR or RTM_DELADDR. The device is left empty: the message has its index only.
func parse(m []byte) (e entry, ok bool) {
	if len(m) < unix.SizeofIfAddrmsg {
		return entry{}, false
	}
	head := nl.DeserializeIfAddrmsg(m)
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofIfAddrmsg:])
	if err != nil || head.Family != unix.AF_INET {
		return entry{}, false
	}
	e.index = int32(head.Index)
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFA_LOCAL:
			if addr, isAddr := netip.AddrFromSlice(a.Value); isAddr {
				e.Address = netip.PrefixFrom(addr, int(head.Prefixlen))
			}
		case unix.IFA_LABEL:
			label := nl.BytesToString(a.Value)
			e.own = e.own || len(label) > len(labelSuffix) && label[len(label)-len(labelSuffix):] == labelSuffix
		case ifaProto:
			e.own = e.own || len(a.Value) == 1 && a.Value[0] == Protocol
		}
	}
	return e, e.Address.IsValid()
}

// index is the number of a device.
func index(device string) (int, error) {
	l, err := net.InterfaceByName(device)
	if err != nil {
		return 0, fmt.Errorf("device %s is not there: %w", device, err)
	}
	return l.Index, nil
}

// add installs one address for [Lifetime]; one that stands there already is an error (EEXIST).
func add(sockets map[int]*nl.SocketHandle, w Wish) error {
	n, err := index(w.Device)
	if err != nil {
		return err
	}
	req := request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, n, unix.RT_SCOPE_UNIVERSE, w.Address, Label(w.Device), Lifetime)
	req.Sockets = sockets
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// remove takes one address off; one that is gone already is as wished.
func remove(sockets map[int]*nl.SocketHandle, e entry) error {
	req := request(unix.RTM_DELADDR, 0, int(e.index), unix.RT_SCOPE_UNIVERSE, e.Address, "", 0)
	req.Sockets = sockets
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// Renew sets the remaining lifetime (whole seconds, rounded up) of an address that the kernel still has; one that it
// has not is an error and is not brought back. The heart process calls it every 500 ms.
//
// The kernel itself would create a missing address on this request whatever its flags. So it is asked first; and the
// request names a scope that differs from the base address's, which the kernel ignores when it changes an address and
// refuses when it would insert one beside another of the same network: an address that was revoked in between stays off.
func Renew(device, address, label string, valid time.Duration) error {
	p, err := netip.ParsePrefix(address)
	if err != nil || !p.Addr().Is4() || valid < time.Second {
		return fmt.Errorf("%q on %s cannot be renewed for %v: it wants an IPv4 address with its prefix, and a second or more", address, device, valid)
	}
	n, err := index(device)
	if err != nil {
		return err
	}
	held, err := dump(nil)
	if err != nil {
		return err
	}
	for _, e := range held {
		if e.own && int(e.index) == n && e.Address == p {
			return renew(n, p, label, valid)
		}
	}
	return fmt.Errorf("%v is not on %s any more: it is not renewed", p, device)
}

// renew is the request of [Renew].
func renew(n int, p netip.Prefix, label string, valid time.Duration) error {
	req := request(unix.RTM_NEWADDR, unix.NLM_F_REPLACE, n, unix.RT_SCOPE_HOST, p, label, valid)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("%v is not renewed: %w", p, err)
	}
	return nil
}
