package ha

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Settings is one numbered revision of everything that an administrator enters. It is the same on both nodes; a pair of
// master's and slave's values holds what is a node's own. Validate (settings_validate.go) is the one place where its rules stand.
type Settings struct {
	Revision  uint64    `json:"revision"`
	SavedAt   time.Time `json:"saved_at"`
	SavedBy   string    `json:"saved_by"`
	General   General   `json:"general"`
	Heartbeat Heartbeat `json:"heartbeat"`
	// Replication holds the page Disk Replication.
	Replication ReplicationSettings `json:"replication"`
	Addresses   []VirtualAddress    `json:"addresses"`
	Services    []ServiceSetting    `json:"services"`
}

// General is the page General.
type General struct {
	Active        bool       `json:"active"` // High Availability Active (A21)
	MasterNode    NodeID     `json:"master_node"`
	SlaveNode     NodeID     `json:"slave_node"`
	MasterAddress netip.Addr `json:"master_address"` // primary secure LAN address (A22)
	SlaveAddress  netip.Addr `json:"slave_address"`  // (A23)
	Mode          Mode       `json:"mode"`
	// References are the reference points on the secure LAN: IPv4 addresses that answer ping.
	References []Reference `json:"references"`
}

// Reference is one reference point.
type Reference struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
}

// Profile names a set of heartbeat times.
type Profile string

// The profiles (10-product): Standard 200 ms / 3 s / 30 s, Fast 100 ms / 0.6 s / 15 s, Cautious 1 s / 20 s / 60 s.
const (
	ProfileStandard Profile = "standard"
	ProfileFast     Profile = "fast"
	ProfileCautious Profile = "cautious"
	ProfileCustom   Profile = "custom"
)

// Heartbeat is the page Heartbeat. Interval, DeadTime and BootWait hold the values in force whatever the profile.
type Heartbeat struct {
	ClusterID    uint8         `json:"cluster_id"` // 0 to 63
	Profile      Profile       `json:"profile"`
	Interval     time.Duration `json:"interval"`
	DeadTime     time.Duration `json:"dead_time"` // "Time-out other node down" (A9)
	BootWait     time.Duration `json:"boot_wait"`
	Serial       bool          `json:"serial"`        // "Heartbeat via serial port" (A6)
	MasterSerial string        `json:"master_serial"` // device path (A7)
	SlaveSerial  string        `json:"slave_serial"`
	Baud         int           `json:"baud"`
	Devices      []BeatDevice  `json:"devices"` // Ethernet devices, same name on both nodes
	SyncDevice   string        `json:"sync_device"`
	Port         uint16        `json:"port"` // 999 (N10)
}

// BeatDevice is one Ethernet device that can carry beats.
type BeatDevice struct {
	Device string `json:"device"`
	Send   bool   `json:"send"` // sending can be off per device (N9); such a device is no link
}

// ReplicationSettings is the page Disk Replication.
type ReplicationSettings struct {
	Rate          uint64          `json:"rate"`    // bytes/s for resync; 0 = adaptive, no cap
	ViaLAN        bool            `json:"via_lan"` // over the primary secure LAN addresses (A34)
	MasterAddress netip.Addr      `json:"master_address"`
	SlaveAddress  netip.Addr      `json:"slave_address"`
	Volumes       []VolumeSetting `json:"volumes"`
}

// VolumeSetting is one replicated volume. Index is its place in ports and never reused while it exists.
type VolumeSetting struct {
	Name          string `json:"name"`  // 1 to 16 of a-z 0-9 -
	Index         int    `json:"index"` // 0 to 15: replication port is 7790 + Index
	MasterBacking string `json:"master_backing"`
	SlaveBacking  string `json:"slave_backing"`
	Filesystem    string `json:"filesystem"` // "ext4", or "" = a bare device
	MountPoint    string `json:"mount_point"`
}

// VirtualAddress is one virtual address with its aliases (A36 to A41).
type VirtualAddress struct {
	Enabled       bool           `json:"enabled"`
	Device        string         `json:"device"`
	Address       netip.Prefix   `json:"address"`
	Aliases       []netip.Prefix `json:"aliases"`
	MasterAddress netip.Addr     `json:"master_address"` // base address of the master on that network (A39)
	SlaveAddress  netip.Addr     `json:"slave_address"`
}

// ServiceSetting places one service of the catalogue (A47).
type ServiceSetting struct {
	Name      string `json:"name"`
	Placement Side   `json:"placement"`
}

// FieldError says what is wrong with one field and what would be right.
type FieldError struct {
	Field string `json:"field"` // e.g. "heartbeat.dead_time", "addresses[0].address"
	Text  string `json:"text"`  // "Time-out 0.5 s is shorter than five intervals (1 s): enter 1 s or more, or a shorter interval."
}

// FieldErrors is the result of Validate; empty = valid.
type FieldErrors []FieldError

// Error joins the texts, without a full stop at the end.
func (e FieldErrors) Error() string {
	s := ""
	for i, f := range e {
		if i > 0 {
			s += "; "
		}
		s += f.Field + ": " + strings.TrimSuffix(f.Text, ".")
	}
	return s
}

// ForeignNodes names each node id of s that belongs neither to self, the node where s is to be saved, nor to the pair of the settings before:
// such a revision makes the nodes deaf to each other. Empty ids are for Validate.
func (s Settings) ForeignNodes(self NodeID, before Settings) (wrong FieldErrors) {
	known := []NodeID{self, before.General.MasterNode, before.General.SlaveNode, ""}
	other := before.General.MasterNode
	if other == self {
		other = before.General.SlaveNode
	}
	for _, f := range []struct {
		field string
		id    NodeID
	}{{"general.master_node", s.General.MasterNode}, {"general.slave_node", s.General.SlaveNode}} {
		if !slices.Contains(known, f.id) {
			wrong = append(wrong, FieldError{Field: f.field, Text: fmt.Sprintf("%q is the id of neither node: this one is %s and the other one is %s; enter one of these.", f.id, self, other)})
		}
	}
	return wrong
}

// Renamed names each volume of s that is one of the settings before under another name, by its backing device. The nodes would apply that apart from each
// other, each refuse the other's name, and the role would move: a volume that is in use keeps its name.
func (s Settings) Renamed(before Settings) (wrong FieldErrors) {
	had, has := before.volumeNames(), s.volumeNames()
	for i, v := range s.Replication.Volumes {
		if slices.Contains(had, v.Name) {
			continue
		}
		for _, old := range before.Replication.Volumes {
			stays := slices.Contains(has, old.Name)
			same := v.MasterBacking != "" && v.MasterBacking == old.MasterBacking || v.SlaveBacking != "" && v.SlaveBacking == old.SlaveBacking
			if !stays && same {
				wrong = append(wrong, FieldError{Field: fmt.Sprintf("replication.volumes[%d].name", i),
					Text: fmt.Sprintf("The volume %q keeps its name while it is in use: enter %q again, or remove the volume and save, which ends what needs it, and enter it anew as %q.", old.Name, old.Name, v.Name)})
			}
		}
	}
	return wrong
}

func (s Settings) volumeNames() (list []string) {
	for _, v := range s.Replication.Volumes {
		list = append(list, v.Name)
	}
	return list
}

// Limits is what root's evenkeel.toml and this machine allow; Validate takes it as an argument. An empty list allows nothing.
type Limits struct {
	BackingPrefixes []string // backing devices only below these
	MountPrefixes   []string
	Catalogue       []string // services that may be placed
}
