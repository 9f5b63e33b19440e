package ha

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// labLimits allow what the lab's settings use.
var labLimits = Limits{BackingPrefixes: []string{"/var/lib/evenkeel/disks", "/dev"}, MountPrefixes: []string{"/srv"}, Catalogue: []string{"guestbook", "echo"}}

// labSettings are the lab's, all valid.
func labSettings() Settings {
	ip := netip.MustParseAddr
	s := Settings{
		Revision: 1,
		General: General{Active: true, MasterNode: "a", SlaveNode: "b", MasterAddress: ip("10.88.1.1"), SlaveAddress: ip("10.88.1.2"),
			Mode: Evidence, References: []Reference{{Name: "gateway", Address: ip("10.88.1.254")}}},
		Heartbeat: Heartbeat{ClusterID: 7, Profile: ProfileStandard, BootWait: 5 * time.Second, Serial: true,
			MasterSerial: "/dev/ttyS0", SlaveSerial: "/dev/ttyS0", Baud: 115200,
			Devices: []BeatDevice{{"lan", true}, {"wan", true}, {"sync", true}}, SyncDevice: "sync", Port: 999},
		Replication: ReplicationSettings{MasterAddress: ip("10.88.3.1"), SlaveAddress: ip("10.88.3.2"), Volumes: []VolumeSetting{
			{Name: "data", MasterBacking: "/var/lib/evenkeel/disks/data", SlaveBacking: "/var/lib/evenkeel/disks/data", Filesystem: "ext4", MountPoint: "/srv/data"},
			{Name: "scratch", Index: 1, MasterBacking: "/dev/sdb", SlaveBacking: "/dev/sdc"}}},
		Addresses: []VirtualAddress{
			{Enabled: true, Device: "lan", Address: netip.MustParsePrefix("10.88.1.100/24"), Aliases: []netip.Prefix{netip.MustParsePrefix("10.88.1.101/24")}, MasterAddress: ip("10.88.1.1"), SlaveAddress: ip("10.88.1.2")},
			{Enabled: true, Device: "wan", Address: netip.MustParsePrefix("10.88.2.100/24"), MasterAddress: ip("10.88.2.1"), SlaveAddress: ip("10.88.2.2")}},
		Services: []ServiceSetting{{"guestbook", MasterSide}, {"echo", Both}},
	}
	s.ApplyProfile()
	return s
}

func TestLabSettingsAreValid(t *testing.T) {
	for _, p := range []Profile{ProfileStandard, ProfileFast, ProfileCautious} {
		s := labSettings()
		s.Heartbeat.Profile = p
		s.ApplyProfile()
		if s.Heartbeat.BootWait != 5*time.Second {
			t.Errorf("%s: the lab's boot wait became %v", p, s.Heartbeat.BootWait)
		}
		if e := s.Validate(labLimits); len(e) != 0 {
			t.Errorf("%s: %v", p, e)
		}
	}
}

func TestInactivePairMayBeIncomplete(t *testing.T) {
	s := Settings{General: General{Mode: Evidence}, Heartbeat: Heartbeat{Profile: ProfileStandard, Port: 999}}
	s.ApplyProfile()
	if e := s.Validate(Limits{}); len(e) != 0 {
		t.Errorf("inactive: %v", e)
	}
	s.General.Active = true
	if e := s.Validate(Limits{}); len(e) != 5 {
		t.Errorf("active: want both nodes, both addresses and a link, got %v", e)
	}
}

func TestApplyProfileTakesItsOwnBootWait(t *testing.T) {
	s := labSettings()
	s.Heartbeat.BootWait, s.Heartbeat.Profile = 30*time.Second, ProfileCautious
	s.ApplyProfile()
	if h := s.Heartbeat; h.BootWait != time.Minute || h.DeadTime != 20*time.Second || h.Interval != time.Second {
		t.Errorf("cautious: %+v", h)
	}
}

// fault is one change to the lab's settings, and what Validate says of it.
type fault struct {
	name, field, says string
	change            func(*Settings)
}

func ipOf(s string) netip.Addr    { return netip.MustParseAddr(s) }
func netOf(s string) netip.Prefix { return netip.MustParsePrefix(s) }

var generalFaults = []fault{
	{"no node", "general.master_node", "one lower-case letter", func(s *Settings) { s.General.MasterNode = "" }},
	{"one node twice", "general.slave_node", "Both nodes", func(s *Settings) { s.General.SlaveNode = "a" }},
	{"A22 none", "general.master_address", "missing", func(s *Settings) { s.General.MasterAddress = netip.Addr{} }},
	{"A23 the master's", "general.slave_address", "slave's own", func(s *Settings) { s.General.SlaveAddress = s.General.MasterAddress }},
	{"IPv6 node", "general.slave_address", "IPv4", func(s *Settings) { s.General.SlaveAddress = ipOf("fe80::1") }},
	{"loopback", "general.slave_address", "10.88.1.1", func(s *Settings) { s.General.SlaveAddress = ipOf("127.0.0.1") }},
	{"mode", "general.mode", "not a mode", func(s *Settings) { s.General.Mode = "lease" }},
	{"availability with a volume", "general.mode", "without a volume", func(s *Settings) { s.General.Mode = Availability }},
	{"A31 own", "general.references[0].address", "the master's address", func(s *Settings) { s.General.References[0].Address = ipOf("10.88.1.1") }},
	{"A31 virtual", "general.references[0].address", "virtual", func(s *Settings) { s.General.References[0].Address = ipOf("10.88.2.100") }},
	{"A31 alias", "general.references[0].address", "alias", func(s *Settings) { s.General.References[0].Address = ipOf("10.88.1.101") }},
	{"reference twice", "general.references[1].address", "twice", func(s *Settings) {
		s.General.References = append(s.General.References, Reference{"again", ipOf("10.88.1.254")})
	}},
	{"reference name", "general.references[0].name", "printable", func(s *Settings) { s.General.References[0].Name = "\n" }},
	{"many references", "general.references", "at most 8", func(s *Settings) { s.General.References = make([]Reference, 9) }},
}

var heartbeatFaults = []fault{
	{"N17", "heartbeat.cluster_id", "0 to 63", func(s *Settings) { s.Heartbeat.ClusterID = 64 }},
	{"port", "heartbeat.port", "999", func(s *Settings) { s.Heartbeat.Port = 0 }},
	{"profile", "heartbeat.profile", "not a profile", func(s *Settings) { s.Heartbeat.Profile = "brisk" }},
	{"A9 not the profile's", "heartbeat.dead_time", "choose Custom", func(s *Settings) { s.Heartbeat.DeadTime = 4 * time.Second }},
	{"interval not the profile's", "heartbeat.interval", "choose Custom", func(s *Settings) { s.Heartbeat.Interval = 300 * time.Millisecond }},
	{"boot wait", "heartbeat.boot_wait", "2 s to 1800 s", func(s *Settings) { s.Heartbeat.BootWait = time.Second }},
	{"short interval", "heartbeat.interval", "out of range", custom(40*time.Millisecond, time.Second)},
	{"five intervals", "heartbeat.dead_time", "five intervals (1 s)", custom(200*time.Millisecond, 900*time.Millisecond)},
	{"120 s", "heartbeat.dead_time", "120 s", custom(time.Second, 121*time.Second)},
	{"no D", "heartbeat.dead_time", "out of range", custom(time.Second, 0)},
	{"0.2 D under the revoke time", "heartbeat.dead_time", "0.5 s or more", custom(50*time.Millisecond, 450*time.Millisecond)},
	{"Fast at 9600 baud", "heartbeat.dead_time", "9600 baud", func(s *Settings) {
		s.Heartbeat.Profile, s.Heartbeat.Baud = ProfileFast, 9600
		s.ApplyProfile()
	}},
	{"A7 none", "heartbeat.master_serial", "/dev/ttyS0", func(s *Settings) { s.Heartbeat.MasterSerial = "" }},
	{"A7 elsewhere", "heartbeat.slave_serial", "below /dev", func(s *Settings) { s.Heartbeat.SlaveSerial = "/dev/../etc/passwd" }},
	{"baud", "heartbeat.baud", "115200", func(s *Settings) { s.Heartbeat.Baud = 12345 }},
	{"device name", "heartbeat.devices[1].device", "name of an Ethernet device", func(s *Settings) { s.Heartbeat.Devices[1].Device = "a/b" }},
	{"device twice", "heartbeat.devices[1].device", "twice", func(s *Settings) { s.Heartbeat.Devices[1].Device = "lan" }},
	{"sync", "heartbeat.sync_device", "not one of", func(s *Settings) { s.Heartbeat.SyncDevice = "eth7" }},
	{"no link", "heartbeat.devices", "No link", func(s *Settings) { s.Heartbeat.Serial, s.Heartbeat.Devices, s.Heartbeat.SyncDevice = false, nil, "" }},
	{"many links", "heartbeat.devices", "room for 7", func(s *Settings) { s.Heartbeat.Devices = make([]BeatDevice, 8) }},
}

var dataFaults = []fault{
	{"A33", "replication.rate", "MB/s", func(s *Settings) { s.Replication.Rate = 5 }},
	{"A35 none", "replication.slave_address", "missing", func(s *Settings) { s.Replication.SlaveAddress = netip.Addr{} }},
	{"A35 same", "replication.slave_address", "slave's own", func(s *Settings) { s.Replication.SlaveAddress = s.Replication.MasterAddress }},
	{"volume name", "replication.volumes[0].name", "1 to 16", func(s *Settings) { s.Replication.Volumes[0].Name = "../x" }},
	{"volume name like a flag", "replication.volumes[0].name", "digit first", func(s *Settings) { s.Replication.Volumes[0].Name = "-a" }},
	{"volume name twice", "replication.volumes[1].name", "twice", func(s *Settings) { s.Replication.Volumes[1].Name = "data" }},
	{"index twice", "replication.volumes[1].index", "free one", func(s *Settings) { s.Replication.Volumes[1].Index = 0 }},
	{"index", "replication.volumes[1].index", "0 to 15", func(s *Settings) { s.Replication.Volumes[1].Index = 16 }},
	{"backing elsewhere", "replication.volumes[0].master_backing", "/var/lib/evenkeel/disks or /dev", func(s *Settings) { s.Replication.Volumes[0].MasterBacking = "/etc/shadow" }},
	{"backing climbs", "replication.volumes[0].slave_backing", "absolute path", func(s *Settings) { s.Replication.Volumes[0].SlaveBacking = "/dev/../etc/shadow" }},
	{"backing looks below", "replication.volumes[0].slave_backing", "absolute path", func(s *Settings) { s.Replication.Volumes[0].SlaveBacking = "/devil" }},
	{"backing is the folder", "replication.volumes[0].slave_backing", "below", func(s *Settings) { s.Replication.Volumes[0].SlaveBacking = "/dev" }},
	{"backing twice", "replication.volumes[1].master_backing", "already", func(s *Settings) { s.Replication.Volumes[1].MasterBacking = "/var/lib/evenkeel/disks/data" }},
	{"filesystem", "replication.volumes[0].filesystem", "ext4", func(s *Settings) { s.Replication.Volumes[0].Filesystem = "vfat" }},
	{"mount of a bare device", "replication.volumes[1].mount_point", "without a filesystem", func(s *Settings) { s.Replication.Volumes[1].MountPoint = "/srv/x" }},
	{"mount elsewhere", "replication.volumes[0].mount_point", "/srv", func(s *Settings) { s.Replication.Volumes[0].MountPoint = "/etc" }},
	{"mounts overlap", "replication.volumes[1].mount_point", "beside each other", func(s *Settings) {
		s.Replication.Volumes[1].Filesystem, s.Replication.Volumes[1].MountPoint = "ext4", "/srv/data/more"
	}},
	{"many volumes", "replication.volumes", "at most 16", func(s *Settings) { s.Replication.Volumes = make([]VolumeSetting, 17) }},
	{"A37 address", "addresses[0].slave_address", "not in 10.88.1.0/24", func(s *Settings) { s.Addresses[0].SlaveAddress = ipOf("10.99.1.2") }},
	{"A37 alias", "addresses[0].aliases[0]", "not in 10.88.1.0/24", func(s *Settings) { s.Addresses[0].Aliases[0] = netOf("10.99.1.2/24") }},
	{"A39 none", "addresses[0].master_address", "missing", func(s *Settings) { s.Addresses[0].MasterAddress = netip.Addr{} }},
	{"A39 same", "addresses[0].slave_address", "slave's own", func(s *Settings) { s.Addresses[0].SlaveAddress = ipOf("10.88.1.1") }},
	{"A40", "addresses[0].aliases[0]", "twice", func(s *Settings) { s.Addresses[0].Aliases[0] = netOf("10.88.1.100/24") }},
	{"A41", "addresses[2].device", "as its alias", func(s *Settings) {
		a := s.Addresses[0]
		a.Address, a.Aliases = netOf("10.88.1.102/24"), nil
		s.Addresses = append(s.Addresses, a)
	}},
	{"a reference point's", "addresses[0].address", "gateway", func(s *Settings) { s.Addresses[0].Address = netOf("10.88.1.254/24") }},
	{"a node's own is virtual (A22)", "general.master_address", "own address", func(s *Settings) { s.General.MasterAddress = ipOf("10.88.1.100") }},
	{"a replication address is virtual (A35)", "replication.slave_address", "own address", func(s *Settings) { s.Replication.SlaveAddress = ipOf("10.88.1.100") }},
	{"speed in its own unit (A33)", "replication.rate", "0.005 MB/s", func(s *Settings) { s.Replication.Rate = 5000 }},
	{"a node's own", "addresses[0].address", "third one", func(s *Settings) { s.Addresses[0].Address = netOf("10.88.1.2/24") }},
	{"broadcast", "addresses[0].address", "10.88.1.100/24", func(s *Settings) { s.Addresses[0].Address = netOf("10.88.1.255/24") }},
	{"IPv6", "addresses[0].address", "IPv6", func(s *Settings) { s.Addresses[0].Address = netOf("fd00::1/64") }},
	{"none", "addresses[1].address", "missing", func(s *Settings) { s.Addresses[1].Address = netip.Prefix{} }},
	{"device", "addresses[1].device", "Ethernet", func(s *Settings) { s.Addresses[1].Device = "" }},
	{"many addresses", "addresses", "at most 16", func(s *Settings) { s.Addresses = make([]VirtualAddress, 17) }},
	{"A47 unknown", "services[0].name", "catalogue", func(s *Settings) { s.Services[0].Name = "rm" }},
	{"A47 twice", "services[1].name", "twice", func(s *Settings) { s.Services[1].Name = "guestbook" }},
	{"placement", "services[1].placement", "master, slave or both", func(s *Settings) { s.Services[1].Placement = "" }},
}

// custom sets times of the profile Custom, without a serial line.
func custom(interval, dead time.Duration) func(*Settings) {
	return func(s *Settings) {
		s.Heartbeat.Profile, s.Heartbeat.Serial = ProfileCustom, false
		s.Heartbeat.Interval, s.Heartbeat.DeadTime = interval, dead
	}
}

func TestValidateNamesTheField(t *testing.T) {
	for _, table := range [][]fault{generalFaults, heartbeatFaults, dataFaults} {
		for _, f := range table {
			t.Run(f.name, func(t *testing.T) {
				s := labSettings()
				f.change(&s)
				found := s.Validate(labLimits)
				for _, e := range found {
					if e.Field == f.field && strings.Contains(e.Text, f.says) {
						return
					}
				}
				t.Errorf("nothing at %s says %q: %v", f.field, f.says, found)
			})
		}
	}
}

// One fault is one message at its field: what follows from it is not said too.
func TestOneFaultIsOneMessage(t *testing.T) {
	for field, change := range map[string]func(*Settings){
		"heartbeat.interval":      func(s *Settings) { s.Heartbeat.Interval = 6 * time.Second },
		"heartbeat.dead_time":     func(s *Settings) { s.Heartbeat.DeadTime = time.Hour },
		"addresses[0].aliases[0]": func(s *Settings) { s.Addresses[0].Aliases[0] = netOf("10.88.2.1/24") },
	} {
		s := labSettings()
		change(&s)
		if found := s.Validate(labLimits); len(found) != 1 || found[0].Field != field {
			t.Errorf("%s: %v", field, found)
		}
	}
}

func TestDeadTimeAndSerialLine(t *testing.T) {
	cases := []struct {
		profile Profile
		baud    int
		valid   bool
	}{{ProfileStandard, 9600, true}, {ProfileFast, 115200, true}, {ProfileFast, 38400, true}, {ProfileFast, 19200, false}, {ProfileCautious, 9600, true}}
	for _, c := range cases {
		s := labSettings()
		s.Heartbeat.Profile, s.Heartbeat.Baud = c.profile, c.baud
		s.ApplyProfile()
		if e := s.Validate(labLimits); (len(e) == 0) != c.valid {
			t.Errorf("%s at %d baud: %v", c.profile, c.baud, e)
		}
	}
	if i := serialInterval(200*time.Millisecond, 9600); i.Round(time.Millisecond) != 400*time.Millisecond {
		t.Errorf("at 9600 baud a beat takes 66.7 ms and a sixth of the line is one in 400 ms, not %v", i)
	}
	if i := serialInterval(200*time.Millisecond, 115200); i != 200*time.Millisecond {
		t.Errorf("at 115200 baud nothing stretches: %v", i)
	}
}

func TestShortCustomTimesWithoutVolume(t *testing.T) {
	s := labSettings()
	custom(50*time.Millisecond, 350*time.Millisecond)(&s)
	s.Replication.Volumes = nil
	if e := s.Validate(labLimits); len(e) != 0 {
		t.Errorf("50 ms and 0.35 s without a volume: %v", e)
	}
}

func TestNoLimitsAllowNothing(t *testing.T) {
	if e := labSettings().Validate(Limits{}); len(e) != 7 {
		t.Errorf("want four backing devices, a mount point and two services refused: %v", e)
	}
}

// FuzzValidate reads settings as the engine reads them from a database that a stranger may have written.
func FuzzValidate(f *testing.F) {
	good, err := json.Marshal(labSettings())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"heartbeat":{"baud":-1,"interval":-9223372036854775808,"serial":true},"addresses":[{"address":"0.0.0.0/0"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s Settings
		if json.Unmarshal(data, &s) != nil {
			return
		}
		for _, e := range s.Validate(labLimits) {
			if e.Field == "" || e.Text == "" || len(e.Text) > 1000 {
				t.Errorf("an empty or endless message: %+v", e)
			}
		}
	})
}
