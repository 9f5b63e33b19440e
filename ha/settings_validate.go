package ha

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of the settings. Lists are bounded because a beat has room for so many links and volumes only.
const (
	MaxLinks      = 8
	MaxReferences = 8
	MaxVolumes    = 16
	MaxAddresses  = 16
	MaxAliases    = 32
	MaxServices   = 64

	// RevokeTime is the longest measured time of a revoke; a master must have given everything up between 0.8 D and D.
	RevokeTime = 100 * time.Millisecond

	minInterval = 50 * time.Millisecond
	maxInterval = 5 * time.Second
	maxDeadTime = 120 * time.Second
	minBootWait = 2 * time.Second
	maxBootWait = 30 * time.Minute
	maxRate     = 100_000_000_000 // bytes/s
	minRate     = 10_000          // bytes/s
)

// bauds are the rates of a serial line that Linux and its peers agree on.
var bauds = []int{9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600}

// ProfileTimes returns what a profile fixes (10-product); ok is false for Custom and for a name that is none. The boot wait is a proposal only.
func ProfileTimes(p Profile) (interval, dead, wait time.Duration, ok bool) {
	switch p {
	case ProfileStandard:
		return 200 * time.Millisecond, 3 * time.Second, 30 * time.Second, true
	case ProfileFast:
		return 100 * time.Millisecond, 600 * time.Millisecond, 15 * time.Second, true
	case ProfileCautious:
		return time.Second, 20 * time.Second, 60 * time.Second, true
	}
	return 0, 0, 0, false
}

// ApplyProfile fills interval and time-out of a named profile. The boot wait is changed only where it is empty or
// another profile's own proposal.
func (s *Settings) ApplyProfile() {
	interval, dead, wait, ok := ProfileTimes(s.Heartbeat.Profile)
	if !ok {
		return
	}
	proposed := s.Heartbeat.BootWait == 0
	for _, p := range []Profile{ProfileStandard, ProfileFast, ProfileCautious} {
		_, _, w, _ := ProfileTimes(p)
		proposed = proposed || s.Heartbeat.BootWait == w
	}
	s.Heartbeat.Interval, s.Heartbeat.DeadTime = interval, dead
	if proposed {
		s.Heartbeat.BootWait = wait
	}
}

// serialBeatTime is how long a compact beat of 64 bytes, 10 bits each on the line, takes at a rate in baud.
func serialBeatTime(baud int) time.Duration {
	return 64 * 10 * time.Second / time.Duration(baud)
}

// serialInterval is the interval of beats on a serial line: all beats take at most a quarter of the line, and the compact
// ones two thirds of that (ha/beat stretches it so).
func serialInterval(interval time.Duration, baud int) time.Duration {
	return max(interval, 6*serialBeatTime(baud))
}

// Validate says what is wrong with the settings, field by field; empty = valid. It is the one place of these rules:
// the console, the store and the engine ask it, the engine as if a stranger had written the settings. An inactive pair may be incomplete.
func (s Settings) Validate(l Limits) FieldErrors {
	v := &validation{s: s, limits: l}
	v.general()
	v.references()
	v.heartbeat()
	v.serial()
	v.devices()
	v.deadTime()
	v.replication()
	v.volumes()
	v.addresses()
	v.services()
	return v.errors
}

// validation gathers what is wrong.
type validation struct {
	s      Settings
	limits Limits
	errors FieldErrors
}

// wrong notes one fault.
func (v *validation) wrong(field, format string, args ...any) {
	v.errors = append(v.errors, FieldError{Field: field, Text: fmt.Sprintf(format, args...)})
}

// wrongIn notes one fault of an element of a list.
func (v *validation) wrongIn(list string, i int, field, format string, args ...any) {
	name := fmt.Sprintf("%s[%d]", list, i)
	if field != "" {
		name += "." + field
	}
	v.wrong(name, format, args...)
}

// needed says whether an empty field is a fault: a pair that is not active may be set up step by step.
func (v *validation) needed() bool { return v.s.General.Active }

// general checks the page General (A21 to A23).
func (v *validation) general() {
	g := v.s.General
	nodes := []struct {
		field string
		node  NodeID
	}{{"general.master_node", g.MasterNode}, {"general.slave_node", g.SlaveNode}}
	for _, n := range nodes {
		if n.node == "" && !v.needed() {
			continue
		}
		if len(n.node) != 1 || n.node[0] < 'a' || n.node[0] > 'z' {
			v.wrong(n.field, "%q is not a node's id: enter one lower-case letter.", clip(string(n.node)))
		}
	}
	if g.MasterNode != "" && g.MasterNode == g.SlaveNode {
		v.wrong("general.slave_node", "Both nodes are called %q: enter the other node's id.", clip(string(g.SlaveNode)))
	}
	v.nodeAddress("general.master_address", g.MasterAddress, v.needed())
	v.nodeAddress("general.slave_address", g.SlaveAddress, v.needed())
	if g.MasterAddress.IsValid() && g.MasterAddress == g.SlaveAddress {
		v.wrong("general.slave_address", "Both nodes have the address %v: enter the slave's own address.", g.SlaveAddress)
	}
	switch g.Mode {
	case Evidence:
	case Availability:
		if len(v.s.Replication.Volumes) > 0 {
			v.wrong("general.mode", "Availability takes over without evidence and is for pairs without a volume: choose Evidence, or remove the volumes.")
		}
	default:
		v.wrong("general.mode", "%q is not a mode: choose %q or %q.", clip(string(g.Mode)), Evidence, Availability)
	}
}

// references checks the reference points (A31: own, peer and virtual addresses prove nothing).
func (v *validation) references() {
	refs := v.s.General.References
	if len(refs) > MaxReferences {
		v.wrong("general.references", "There are %d reference points: enter at most %d.", len(refs), MaxReferences)
		return
	}
	names, seen := map[string]bool{}, map[netip.Addr]bool{}
	ours := v.ours()
	for i, r := range refs {
		const list = "general.references"
		if !isLabel(r.Name) {
			v.wrongIn(list, i, "name", "The name %q does not do: enter 1 to 32 printable characters.", clip(r.Name))
		} else if names[r.Name] {
			v.wrongIn(list, i, "name", "The name %q is used twice: enter another one.", r.Name)
		}
		names[r.Name] = true
		if !v.host(fmt.Sprintf("%s[%d].address", list, i), r.Address, true) {
			continue
		}
		if what, is := ours[r.Address]; is {
			v.wrongIn(list, i, "address", "%v is %s: a reference point is something else on the network, such as the gateway.", r.Address, what)
		} else if seen[r.Address] {
			v.wrongIn(list, i, "address", "%v is entered twice: remove one.", r.Address)
		}
		seen[r.Address] = true
	}
}

// ours names every address that belongs to the pair.
func (v *validation) ours() map[netip.Addr]string {
	m := map[netip.Addr]string{}
	add := func(a netip.Addr, what string) {
		if a.IsValid() {
			m[a] = what
		}
	}
	for _, a := range v.s.Addresses {
		add(a.Address.Addr(), "a virtual address")
		for _, x := range a.Aliases {
			add(x.Addr(), "an alias of a virtual address")
		}
		add(a.MasterAddress, "the master's address")
		add(a.SlaveAddress, "the slave's address")
	}
	add(v.s.Replication.MasterAddress, "the master's replication address")
	add(v.s.Replication.SlaveAddress, "the slave's replication address")
	add(v.s.General.MasterAddress, "the master's address")
	add(v.s.General.SlaveAddress, "the slave's address")
	return m
}

// heartbeat checks identity and times of the beats, apart from D against the lines.
func (v *validation) heartbeat() {
	h := v.s.Heartbeat
	if h.ClusterID > 63 {
		v.wrong("heartbeat.cluster_id", "Cluster id %d is out of range: enter 0 to 63.", h.ClusterID)
	}
	if h.Port == 0 {
		v.wrong("heartbeat.port", "The port is 0: enter 1 to 65535; 999 is usual.")
	}
	interval, dead, _, named := ProfileTimes(h.Profile)
	switch {
	case named:
		if h.Interval != interval {
			v.wrong("heartbeat.interval", "Interval %s does not belong to the profile %s (%s): choose Custom to set it.", seconds(h.Interval), h.Profile, seconds(interval))
		}
		if h.DeadTime != dead {
			v.wrong("heartbeat.dead_time", "Time-out %s does not belong to the profile %s (%s): choose Custom to set it.", seconds(h.DeadTime), h.Profile, seconds(dead))
		}
	case h.Profile != ProfileCustom:
		v.wrong("heartbeat.profile", "%q is not a profile: choose standard, fast, cautious or custom.", clip(string(h.Profile)))
	}
	if !named && (h.Interval < minInterval || h.Interval > maxInterval) {
		v.wrong("heartbeat.interval", "Interval %s is out of range: enter %s to %s.", seconds(h.Interval), seconds(minInterval), seconds(maxInterval))
	}
	if h.BootWait < minBootWait || h.BootWait > maxBootWait {
		v.wrong("heartbeat.boot_wait", "The wait for the other node at start, %s, is out of range: enter %s to %s.", seconds(h.BootWait), seconds(minBootWait), seconds(maxBootWait))
	}
}

// serial checks the serial line (A6, A7).
func (v *validation) serial() {
	h := v.s.Heartbeat
	paths := []struct{ field, path string }{{"heartbeat.master_serial", h.MasterSerial}, {"heartbeat.slave_serial", h.SlaveSerial}}
	for _, p := range paths {
		switch {
		case p.path == "" && h.Serial:
			v.wrong(p.field, "The serial device is missing: enter one such as /dev/ttyS0, or switch the heartbeat via serial port off.")
		case p.path != "" && !isBelow(p.path, []string{"/dev"}):
			v.wrong(p.field, "%q is not a serial device: enter a path below /dev such as /dev/ttyS0.", clip(p.path))
		}
	}
	if (h.Serial || h.Baud != 0) && !slices.Contains(bauds, h.Baud) {
		v.wrong("heartbeat.baud", "%d is not a rate of a serial line: choose one of %s baud.", h.Baud, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(bauds)), ", "), "[]"))
	}
}

// devices checks the Ethernet devices that carry beats, and that there is a link at all.
func (v *validation) devices() {
	h := v.s.Heartbeat
	if len(h.Devices) >= MaxLinks {
		v.wrong("heartbeat.devices", "There are %d devices: a beat has room for %d beside the serial line.", len(h.Devices), MaxLinks-1)
		return
	}
	seen, links := map[string]bool{}, 0
	for i, d := range h.Devices {
		if !isDevice(d.Device) {
			v.noDevice("heartbeat.devices", i, d.Device)
		} else if seen[d.Device] {
			v.wrongIn("heartbeat.devices", i, "device", "%s is entered twice: remove one.", d.Device)
		}
		seen[d.Device] = true
		if d.Send {
			links++
		}
	}
	if h.SyncDevice != "" && !seen[h.SyncDevice] {
		v.wrong("heartbeat.sync_device", "%q is not one of the heartbeat's devices: choose one of them, or none.", clip(h.SyncDevice))
	}
	if v.needed() && links == 0 && !h.Serial {
		v.wrong("heartbeat.devices", "No link is left: switch sending on for a device, or the heartbeat via serial port.")
	}
}

// deadTime holds D against the interval, every line in use and the time that a revoke takes. An Ethernet frame's own time
// is nothing at these scales; a serial line's counts.
func (v *validation) deadTime() {
	const field = "heartbeat.dead_time"
	h := v.s.Heartbeat
	if interval, dead, _, named := ProfileTimes(h.Profile); named && (h.Interval != interval || h.DeadTime != dead) {
		return // said already: times that do not belong to their profile
	}
	if h.DeadTime <= 0 || h.DeadTime > maxDeadTime {
		v.wrong(field, "Time-out %s is out of range: enter five intervals to %s.", seconds(h.DeadTime), seconds(maxDeadTime))
		return
	}
	if h.Interval < minInterval || h.Interval > maxInterval {
		return // the interval's own message says it
	}
	if least := 5 * h.Interval; h.DeadTime < least {
		v.wrong(field, "Time-out %s is shorter than five intervals (%s): enter %s or more, or a shorter interval.", seconds(h.DeadTime), seconds(least), seconds(least))
	} else if h.Serial && slices.Contains(bauds, h.Baud) {
		line := serialInterval(h.Interval, h.Baud)
		least := (5*line + 4*serialBeatTime(h.Baud)).Round(time.Millisecond)
		if h.DeadTime < least {
			v.wrong(field, "Time-out %s is too short for the serial line at %d baud, where five intervals and four beats take %s: enter that or more, or a faster line.", seconds(h.DeadTime), h.Baud, seconds(least))
		}
	}
	if len(v.s.Replication.Volumes) > 0 && h.DeadTime/5 < RevokeTime {
		v.wrong(field, "Time-out %s leaves a fifth of it, %s, to give a volume up, which takes up to %s: enter %s or more.", seconds(h.DeadTime), seconds(h.DeadTime/5), seconds(RevokeTime), seconds(5*RevokeTime))
	}
}

// seconds writes a time as the console's fields take it: "0.5 s".
func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Round(time.Millisecond).Seconds(), 'f', -1, 64) + " s"
}

// host wants the IPv4 address of one machine; it says whether it is one.
func (v *validation) host(field string, a netip.Addr, needed bool) bool {
	if !a.IsValid() {
		if needed {
			v.wrong(field, "The address is missing: enter an IPv4 address such as 10.88.1.1.")
		}
		return false
	}
	if !isHost(a) {
		v.wrong(field, "%s is not the IPv4 address of a machine: enter one such as 10.88.1.1.", clip(a.String()))
		return false
	}
	return true
}

// nodeAddress wants a node's own address, which no virtual one may be.
func (v *validation) nodeAddress(field string, a netip.Addr, needed bool) {
	if v.host(field, a, needed) && v.virtuals()[a] {
		v.wrong(field, "%v is a virtual address: enter the node's own address.", a)
	}
}

// virtuals are the addresses that move with the role.
func (v *validation) virtuals() map[netip.Addr]bool {
	m := map[netip.Addr]bool{}
	for _, a := range v.s.Addresses {
		m[a.Address.Addr()] = true
		for _, x := range a.Aliases {
			m[x.Addr()] = true
		}
	}
	return m
}

// isHost says whether a can be the address of one machine. IPv6 comes with neighbour advertisements, in a later issue.
func isHost(a netip.Addr) bool {
	return a.Is4() && !a.IsLoopback() && !a.IsMulticast() && !a.IsUnspecified() && a.As4()[0] != 0 && a.As4()[0] < 240
}

// noDevice notes what isDevice refuses.
func (v *validation) noDevice(list string, i int, device string) {
	if device == "" {
		v.wrongIn(list, i, "device", "The Ethernet device is missing: enter one such as eth1.")
		return
	}
	v.wrongIn(list, i, "device", "%q is not the name of an Ethernet device: enter one of 1 to 15 characters such as eth1.", clip(device))
}

// isDevice says whether s can be a network device's name (kernel: 1 to 15 bytes).
func isDevice(s string) bool {
	if s == "" || len(s) > 15 || s == "." || s == ".." || s == "lo" {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' })
}

// isLabel says whether s is a short text for people.
func isLabel(s string) bool {
	return strings.TrimSpace(s) == s && s != "" && len(s) <= 32 &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}

// clip shortens a stranger's text for a message.
func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return strings.ToValidUTF8(s[:61], "") + "..."
}
