package ha

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// replication checks the page Disk Replication apart from its volumes (A33 to A35).
func (v *validation) replication() {
	r := v.s.Replication
	if r.Rate != 0 && (r.Rate < minRate || r.Rate > maxRate) {
		v.wrong("replication.rate", "%s MB/s is out of range: enter 0.01 to 100000 MB/s, or nothing for no limit.", strconv.FormatFloat(float64(r.Rate)/1e6, 'f', -1, 64))
	}
	needed := len(r.Volumes) > 0 && !r.ViaLAN
	v.nodeAddress("replication.master_address", r.MasterAddress, needed)
	v.nodeAddress("replication.slave_address", r.SlaveAddress, needed)
	if r.MasterAddress.IsValid() && r.MasterAddress == r.SlaveAddress {
		v.wrong("replication.slave_address", "Both nodes replicate from %v: enter the slave's own address.", r.SlaveAddress)
	}
}

// volumes checks each volume by itself and against those before it.
func (v *validation) volumes() {
	const list = "replication.volumes"
	all := v.s.Replication.Volumes
	if len(all) > MaxVolumes {
		v.wrong(list, "There are %d volumes: enter at most %d.", len(all), MaxVolumes)
		return
	}
	for i, x := range all {
		if !IsVolumeName(x.Name) {
			v.wrongIn(list, i, "name", "%q does not do as a name: enter 1 to 16 of a-z, 0-9 and -, with a letter or digit first.", clip(x.Name))
		}
		if x.Index < 0 || x.Index > 15 {
			v.wrongIn(list, i, "index", "Index %d is out of range: enter 0 to 15.", x.Index)
		}
		v.backing(i, "master_backing", x.MasterBacking)
		v.backing(i, "slave_backing", x.SlaveBacking)
		v.mountPoint(i, x)
		for _, y := range all[:i] {
			v.volumesApart(i, x, y)
		}
	}
}

// backing checks one backing device.
func (v *validation) backing(i int, field, p string) {
	if !isBelow(p, v.limits.BackingPrefixes) {
		v.wrongIn("replication.volumes", i, field, "%q is not a backing device that this machine allows: enter an absolute path below %s.",
			clip(p), prefixes(v.limits.BackingPrefixes))
	}
}

// mountPoint checks filesystem and mount point, which go together.
func (v *validation) mountPoint(i int, x VolumeSetting) {
	const list = "replication.volumes"
	if x.Filesystem != "" && x.Filesystem != "ext4" {
		v.wrongIn(list, i, "filesystem", "%q is not a known filesystem: choose ext4, or none for a bare device.", clip(x.Filesystem))
		return
	}
	switch {
	case x.Filesystem == "" && x.MountPoint != "":
		v.wrongIn(list, i, "mount_point", "A volume without a filesystem cannot be mounted: leave the mount point empty, or choose ext4.")
	case x.Filesystem != "" && !isBelow(x.MountPoint, v.limits.MountPrefixes):
		v.wrongIn(list, i, "mount_point", "%q is not a mount point that this machine allows: enter an absolute path below %s.",
			clip(x.MountPoint), prefixes(v.limits.MountPrefixes))
	}
}

// volumesApart checks that two volumes share nothing.
func (v *validation) volumesApart(i int, x, y VolumeSetting) {
	const list = "replication.volumes"
	if x.Name == y.Name {
		v.wrongIn(list, i, "name", "The name %q is used twice: enter another one.", clip(x.Name))
	}
	if x.Index == y.Index {
		v.wrongIn(list, i, "index", "Index %d is used by the volume %q: enter a free one.", x.Index, clip(y.Name))
	}
	if x.MasterBacking != "" && x.MasterBacking == y.MasterBacking {
		v.wrongIn(list, i, "master_backing", "%q backs the volume %q already: enter another device or file.", clip(x.MasterBacking), clip(y.Name))
	}
	if x.SlaveBacking != "" && x.SlaveBacking == y.SlaveBacking {
		v.wrongIn(list, i, "slave_backing", "%q backs the volume %q already: enter another device or file.", clip(x.SlaveBacking), clip(y.Name))
	}
	if x.MountPoint != "" && y.MountPoint != "" && (within(x.MountPoint, y.MountPoint) || within(y.MountPoint, x.MountPoint)) {
		v.wrongIn(list, i, "mount_point", "%q and the mount point %q of the volume %q overlap: mount them beside each other.", clip(x.MountPoint), clip(y.MountPoint), clip(y.Name))
	}
}

// addresses checks the page Virtual IP Addresses (A36 to A41).
func (v *validation) addresses() {
	all := v.s.Addresses
	if len(all) > MaxAddresses {
		v.wrong("addresses", "There are %d virtual addresses: enter at most %d, and aliases for more.", len(all), MaxAddresses)
		return
	}
	bases, seen := v.bases(), map[netip.Addr]bool{}
	for i, a := range all {
		if !isDevice(a.Device) {
			v.noDevice("addresses", i, a.Device)
		}
		if v.virtual(fmt.Sprintf("addresses[%d].address", i), a.Address, bases, seen) {
			v.baseAddresses(i, a)
			v.aliases(i, a, bases, seen)
		}
		for _, b := range all[:i] {
			if a.Device == b.Device && a.MasterAddress == b.MasterAddress && a.SlaveAddress == b.SlaveAddress {
				v.wrongIn("addresses", i, "device", "%s has a virtual address for these node addresses already (%v): enter this one as its alias.", clip(a.Device), b.Address)
				break
			}
		}
	}
}

// bases are the nodes' own addresses, which no virtual address may be.
func (v *validation) bases() map[netip.Addr]bool {
	m := map[netip.Addr]bool{
		v.s.General.MasterAddress: true, v.s.General.SlaveAddress: true,
		v.s.Replication.MasterAddress: true, v.s.Replication.SlaveAddress: true,
	}
	for _, a := range v.s.Addresses {
		m[a.MasterAddress], m[a.SlaveAddress] = true, true
	}
	return m
}

// referenceAt is the name of the reference point that has an address; "" if there is none.
func (v *validation) referenceAt(a netip.Addr) string {
	for _, r := range v.s.General.References {
		if r.Address == a {
			return clip(r.Name)
		}
	}
	return ""
}

// virtual checks one virtual address or alias; it says whether it is an address at all. seen gathers them.
func (v *validation) virtual(field string, p netip.Prefix, bases, seen map[netip.Addr]bool) bool {
	switch {
	case !p.IsValid():
		v.wrong(field, "The virtual address is missing: enter an IPv4 address with its prefix, such as 10.88.1.100/24.")
		return false
	case p.Addr().Is6():
		v.wrong(field, "%s is an IPv6 address, which cannot be a virtual address yet: enter an IPv4 address.", clip(p.String()))
		return false
	case !isHost(p.Addr()) || p.Bits() < 8 || isEdge(p):
		v.wrong(field, "%v is not the address of a machine with its prefix: enter one such as 10.88.1.100/24.", p)
		return false
	case bases[p.Addr()]:
		v.wrong(field, "%v is an address of one of the nodes: enter a third one, which no machine has.", p.Addr())
	case v.referenceAt(p.Addr()) != "":
		v.wrong(field, "%v is the reference point %q: enter an address that no machine has.", p.Addr(), v.referenceAt(p.Addr()))
	case seen[p.Addr()]:
		v.wrong(field, "%v is entered twice: enter another one, a virtual address is unique.", p.Addr())
	}
	seen[p.Addr()] = true
	return true
}

// baseAddresses checks the node addresses that belong to a virtual address (A39).
func (v *validation) baseAddresses(i int, a VirtualAddress) {
	net := a.Address.Masked()
	pair := []struct {
		field string
		addr  netip.Addr
	}{{"master_address", a.MasterAddress}, {"slave_address", a.SlaveAddress}}
	for _, b := range pair {
		field := fmt.Sprintf("addresses[%d].%s", i, b.field)
		if v.host(field, b.addr, true) && !net.Contains(b.addr) {
			v.wrong(field, "%v is not in %v, the network of the virtual address: correct one of them.", b.addr, net)
		}
	}
	if a.MasterAddress.IsValid() && a.MasterAddress == a.SlaveAddress {
		v.wrongIn("addresses", i, "slave_address", "Both nodes have the address %v: enter the slave's own address.", a.SlaveAddress)
	}
}

// aliases checks the aliases of one virtual address (A38).
func (v *validation) aliases(i int, a VirtualAddress, bases, seen map[netip.Addr]bool) {
	if len(a.Aliases) > MaxAliases {
		v.wrongIn("addresses", i, "aliases", "There are %d aliases: enter at most %d.", len(a.Aliases), MaxAliases)
		return
	}
	for j, p := range a.Aliases {
		field := fmt.Sprintf("addresses[%d].aliases[%d]", i, j)
		if v.virtual(field, p, bases, seen) && !bases[p.Addr()] && !a.Address.Masked().Contains(p.Addr()) {
			v.wrong(field, "%v is not in %v, the network of the virtual address: enter one of that network, or make it a virtual address of its own.", p.Addr(), a.Address.Masked())
		}
	}
}

// services checks the page Services (A47).
func (v *validation) services() {
	all := v.s.Services
	if len(all) > MaxServices {
		v.wrong("services", "There are %d services: enter at most %d.", len(all), MaxServices)
		return
	}
	seen := map[string]bool{}
	for i, s := range all {
		if !slices.Contains(v.limits.Catalogue, s.Name) {
			v.wrongIn("services", i, "name", "%q is not in this machine's catalogue: choose one that is, or let root add it.", clip(s.Name))
		} else if seen[s.Name] {
			v.wrongIn("services", i, "name", "%q is placed twice: remove one.", s.Name)
		}
		seen[s.Name] = true
		if s.Placement != MasterSide && s.Placement != SlaveSide && s.Placement != Both {
			v.wrongIn("services", i, "placement", "%q is not a place: choose master, slave or both.", clip(string(s.Placement)))
		}
	}
}

// isEdge says whether p is its network's own or broadcast address.
func isEdge(p netip.Prefix) bool {
	if p.Bits() >= 31 {
		return false
	}
	host := uint32(1)<<(32-p.Bits()) - 1
	b := p.Addr().As4()
	n := (uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])) & host
	return n == 0 || n == host
}

// IsVolumeName keeps names fit for file names, beats and device names.
func IsVolumeName(s string) bool {
	if s == "" || len(s) > 16 || s[0] == '-' {
		return false // a leading - would be read as a flag
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' })
}

// isBelow says whether p is an absolute path in its shortest form strictly below one of the prefixes.
func isBelow(p string, prefixes []string) bool {
	if !path.IsAbs(p) || path.Clean(p) != p || len(p) > 255 || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
		return false
	}
	return slices.ContainsFunc(prefixes, func(dir string) bool { return p != path.Clean(dir) && within(p, dir) })
}

// within says whether p is dir or below it.
func within(p, dir string) bool {
	p, dir = path.Clean(p), path.Clean(dir)
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// prefixes names the folders that root allows.
func prefixes(list []string) string {
	if len(list) == 0 {
		return "a folder that root names in evenkeel.toml (there is none now)"
	}
	return strings.Join(list, " or ")
}
