package e2e

import (
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// field is one field of a page, what is entered, and what both nodes must show of it; the rest stands in functions of its own below.
type field struct {
	name, path string
	change     func(url.Values)
	sees       map[string]func(control.Status) bool // by node
}

// onBoth is an observation that both nodes must make.
func onBoth(see func(control.Status) bool) map[string]func(control.Status) bool {
	return map[string]func(control.Status) bool{"a": see, "b": see}
}

// link finds a link by its name.
func link(s control.Status, name string) *control.Link {
	for i := range s.Links {
		if s.Links[i].Name == name {
			return &s.Links[i]
		}
	}
	return nil
}

func everyLinkUp(s control.Status) bool {
	for _, l := range s.Links {
		if l.State != "up" {
			return false
		}
	}
	return len(s.Links) == 4
}

func service(s control.Status, name string) string {
	for _, x := range s.Services {
		if x.Name == name {
			return x.State
		}
	}
	return ""
}

func blocked(s control.Status, code string) bool {
	for _, b := range s.Takeover.Blockers {
		if b.Code == code {
			return true
		}
	}
	return false
}

func reference(s control.Status, name, state string) bool {
	return len(s.References) == 1 && s.References[0].Name == name && s.References[0].State == state
}

// plainFields are those whose effect stands in status: read from the kernel, the links, the processes, not from the settings.
var plainFields = []field{
	{"reference point's name", "/ha/general", set("general.references[0].name", "switch"), onBoth(func(s control.Status) bool { return reference(s, "switch", "good") })},
	{"reference point's address", "/ha/general", set("general.references[0].address", "10.88.1.77"), onBoth(func(s control.Status) bool { return reference(s, "gateway", "bad") })},
	{"profile", "/ha/heartbeat", set("heartbeat.profile", "fast"), onBoth(func(s control.Status) bool {
		return s.Heartbeat.Profile == "fast" && s.Heartbeat.DeadTimeMS == 600 && link(s, "lan").IntervalMS == 100
	})},
	{"interval", "/ha/heartbeat", set("heartbeat.profile", "custom", "heartbeat.interval", "0.1"), onBoth(func(s control.Status) bool {
		return link(s, "lan").IntervalMS == 100 && link(s, "sync").IntervalMS == 50
	})},
	{"time-out", "/ha/heartbeat", set("heartbeat.profile", "custom", "heartbeat.dead_time", "4.5"), onBoth(func(s control.Status) bool { return s.Heartbeat.DeadTimeMS == 4500 })},
	{"heartbeat via serial port", "/ha/heartbeat", set("heartbeat.serial", ""), onBoth(func(s control.Status) bool { return link(s, "/dev/ttyS0") == nil && link(s, "lan") != nil })},
	{"master's serial device", "/ha/heartbeat", set("heartbeat.master_serial", "/dev/ttyS9"), map[string]func(control.Status) bool{
		"a": func(s control.Status) bool { l := link(s, "/dev/ttyS9"); return l != nil && l.Problem != nil },
		"b": func(s control.Status) bool { l := link(s, "/dev/ttyS0"); return l != nil && l.State != "up" }}},
	{"slave's serial device", "/ha/heartbeat", set("heartbeat.slave_serial", "/dev/ttyS9"), map[string]func(control.Status) bool{
		"b": func(s control.Status) bool { l := link(s, "/dev/ttyS9"); return l != nil && l.Problem != nil },
		"a": func(s control.Status) bool { l := link(s, "/dev/ttyS0"); return l != nil && l.State != "up" }}},
	{"serial speed", "/ha/heartbeat", set("heartbeat.baud", "9600"), onBoth(func(s control.Status) bool { l := link(s, "/dev/ttyS0"); return l != nil && l.IntervalMS == 400 })},
	{"device", "/ha/heartbeat", set("heartbeat.devices[1].device", "nic9"), onBoth(func(s control.Status) bool {
		l := link(s, "nic9")
		return l != nil && l.State != "up" && link(s, "wan") == nil
	})},
	{"device does not send", "/ha/heartbeat", set("heartbeat.devices[1].send", ""), onBoth(func(s control.Status) bool { return link(s, "wan") == nil && link(s, "lan").State == "up" })},
	{"sync device", "/ha/heartbeat", set("heartbeat.sync_device", "lan"), onBoth(func(s control.Status) bool {
		return link(s, "lan").Sync && link(s, "lan").IntervalMS == 100 && !link(s, "sync").Sync
	})},
	{"address enabled", "/ha/addresses", set("addresses[1].enabled", ""), map[string]func(control.Status) bool{"a": func(s control.Status) bool { return !holds(s, "10.88.2.100") && holds(s, "10.88.1.100") }}},
	{"address", "/ha/addresses", set("addresses[1].address", "10.88.2.150/24"), map[string]func(control.Status) bool{"a": func(s control.Status) bool { return holds(s, "10.88.2.150") && !holds(s, "10.88.2.100") }}},
	{"aliases", "/ha/addresses", set("addresses[1].aliases", "10.88.2.151/24\n10.88.2.152/24"), map[string]func(control.Status) bool{"a": func(s control.Status) bool { return holds(s, "10.88.2.151") && holds(s, "10.88.2.152") }}},
	{"address's device", "/ha/addresses", set("addresses[1].device", "sync", "addresses[1].address", "10.88.3.100/24", "addresses[1].master_address", "10.88.3.1", "addresses[1].slave_address", "10.88.3.2"),
		map[string]func(control.Status) bool{"a": func(s control.Status) bool { return holds(s, "10.88.3.100") && !holds(s, "10.88.2.100") }}},
	{"service's placement", "/ha/services", set("services[0].placement", "slave"), map[string]func(control.Status) bool{
		"a": func(s control.Status) bool { return service(s, "echo") == "stopped" },
		"b": func(s control.Status) bool { return service(s, "echo") == "running" }}},
	{"service's name", "/ha/services", set("services[0].name", "", "services[0].placement", "", "services[1].name", "", "services[1].placement", ""),
		onBoth(func(s control.Status) bool { return service(s, "echo") == "" && service(s, "guestbook") == "" })},
}

// TestFields enters every field of every console page on a, and observes what it changes on both nodes.
func TestFields(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	d := l.desk(t, "a")
	for _, f := range plainFields {
		t.Run(f.name, func(t *testing.T) {
			for _, node := range []string{"a", "b"} { // so that what is seen afterwards is new
				l.is(t, 20*time.Second, node, "hears the other one over every link", everyLinkUp)
			}
			was := d.update(t, f.path, f.change)
			defer l.settle(t, "a")
			defer d.undo(t, f.path, was)
			for node, see := range f.sees {
				l.is(t, 20*time.Second, node, "shows the new "+f.name, see)
			}
		})
	}
	if t.Failed() {
		return
	}
	t.Run("high availability active", func(t *testing.T) { l.testActive(t, d) })
	t.Run("cluster id", func(t *testing.T) { l.testClusterID(t, d) })
	t.Run("replication addresses", func(t *testing.T) { l.testReplicationAddresses(t, d) })
	t.Run("node addresses of a virtual address", func(t *testing.T) { l.testBaseAddresses(t, d) })
	t.Run("volume", func(t *testing.T) { l.testNewVolume(t, d) })
	t.Run("speed", func(t *testing.T) { l.testSpeed(t, d) })
	t.Run("wait at start", func(t *testing.T) { l.testBootWait(t, d) })
}

// testActive switches high availability off: then nothing is taken over by itself.
func (l *lab) testActive(t *testing.T, d *desk) {
	was := d.update(t, "/ha/general", set("general.active", ""))
	l.agree(t)
	l.do(t, "kill", "a")
	l.is(t, 20*time.Second, "b", "stays what it is and says why", func(s control.Status) bool {
		return s.Peer.Verdict == "dead" && s.RunningRole == "slave" && blocked(s, "ha_inactive")
	})
	l.do(t, "start", "a")
	l.await(t, 30*time.Second, "the console of a is back", func() bool {
		r, err := d.client.Get(d.base + "/signin")
		return err == nil && r.Body.Close() == nil
	})
	d.undo(t, "/ha/general", was)
	l.home(t)
}

// home brings the role back to a, wherever it is.
func (l *lab) home(t *testing.T) {
	t.Helper()
	l.await(t, 60*time.Second, "the pair serves and is in sync", func() bool {
		a, up1 := l.status("a")
		b, up2 := l.status("b")
		return up1 && up2 && inSync(a) && inSync(b) && (serving(a) && isSlave(b) || serving(b) && isSlave(a))
	})
	if s, _ := l.status("a"); isSlave(s) {
		l.run(t, "--node", "a", "takeover")
	}
	l.settle(t, "a")
}

// testClusterID reads the id from a beat on the line.
func (l *lab) testClusterID(t *testing.T, d *desk) {
	was := d.update(t, "/ha/heartbeat", set("heartbeat.cluster_id", "42"))
	for _, node := range []string{"10.88.1.1", "10.88.1.2"} {
		l.await(t, 20*time.Second, "beats of "+node+" bear the id 42", func() bool {
			out, err := l.try(10*time.Second, "lab", "exec", "client", "--", "timeout", "5", "tcpdump", "-i", "lan", "-nn", "-x", "-c", "1", "-Z", "root", "udp port 999 and src "+node)
			return err == nil && beatByte(out, 3) == "2a"
		})
	}
	d.undo(t, "/ha/heartbeat", was)
	l.settle(t, "a")
}

// beatByte is one byte, in hex, of the beat in tcpdump's dump: 20 bytes of IP and 8 of UDP stand before it.
func beatByte(dump string, i int) string {
	hex := ""
	for _, line := range strings.Split(dump, "\n") {
		if _, words, ok := strings.Cut(line, ": "); ok && strings.HasPrefix(strings.TrimSpace(line), "0x") {
			hex += strings.ReplaceAll(strings.TrimSpace(words), " ", "")
		}
	}
	at := 2 * (28 + i)
	if len(hex) < at+2 {
		return ""
	}
	return hex[at : at+2]
}

// testReplicationAddresses gives both nodes a second address on lan, and sees the replication move to it: by its own two fields, and by
// the primary addresses of General with "via primary secure LAN".
func (l *lab) testReplicationAddresses(t *testing.T, d *desk) {
	for node, address := range map[string]string{"a": "10.88.1.11/24", "b": "10.88.1.12/24"} {
		l.in(t, node, "ip", "address", "add", address, "dev", "lan")
	}
	over := func(own, peer string) {
		t.Helper()
		l.await(t, 30*time.Second, "the volume is replicated between "+own+" and "+peer, func() bool {
			out, err := l.try(10*time.Second, "lab", "exec", "a", "--", "ss", "-Htn", "state", "established", "src", own, "dst", peer, "sport", "7790")
			return err == nil && strings.TrimSpace(out) != ""
		})
		l.settle(t, "a")
	}
	over("10.88.3.1", "10.88.3.2")
	replication := d.update(t, "/ha/replication", set("replication.master_address", "10.88.1.11", "replication.slave_address", "10.88.1.12"))
	over("10.88.1.11", "10.88.1.12")
	d.undo(t, "/ha/replication", replication)
	over("10.88.3.1", "10.88.3.2")
	replication = d.update(t, "/ha/replication", set("replication.via_lan", "on"))
	over("10.88.1.1", "10.88.1.2")
	general := d.update(t, "/ha/general", set("general.master_address", "10.88.1.11", "general.slave_address", "10.88.1.12"))
	over("10.88.1.11", "10.88.1.12")
	d.undo(t, "/ha/general", general)
	d.undo(t, "/ha/replication", replication)
	over("10.88.3.1", "10.88.3.2")
}

// testBaseAddresses enters other node addresses for the address on wan: when a node falls silent, the other one probes it there (A39). The long
// time-out keeps the role where it is.
func (l *lab) testBaseAddresses(t *testing.T, d *desk) {
	times := d.update(t, "/ha/heartbeat", set("heartbeat.profile", "custom", "heartbeat.dead_time", "20"))
	was := d.update(t, "/ha/addresses", set("addresses[1].master_address", "10.88.2.71", "addresses[1].slave_address", "10.88.2.72"))
	l.settle(t, "a")
	for node, address := range map[string]string{"b": "10.88.2.72", "a": "10.88.2.71"} {
		listen := exec.Command(bin, "lab", "exec", "client", "--dir", l.dir, "--", "timeout", "30", "tcpdump", "-i", "wan", "-nn", "-c", "1", "-Z", "root", "arp and host "+address)
		if err := listen.Start(); err != nil {
			t.Fatal(err)
		}
		l.do(t, "freeze", node)
		err := listen.Wait()
		l.do(t, "thaw", node)
		if err != nil {
			t.Errorf("%s fell silent and nobody asked for %s: %v", node, address, err)
		}
		l.home(t)
	}
	d.undo(t, "/ha/addresses", was)
	d.undo(t, "/ha/heartbeat", times)
	l.settle(t, "a")
}

// testNewVolume adds a volume: name, number, both backing devices, filesystem and mount point are each seen in the kernel.
func (l *lab) testNewVolume(t *testing.T, d *desk) {
	for node, image := range map[string]string{"a": "left.img", "b": "right.img"} {
		path := "/var/lib/evenkeel/disks/" + image
		l.in(t, node, "truncate", "-s", "64M", path)
		args := []string{bin, "volume", "create", "extra", "--backing", path}
		if node == "a" {
			args = append(args, "--first", "--filesystem", "ext4")
		}
		l.in(t, node, args...)
	}
	row := func(field string) string { return "replication.volumes[1]." + field }
	was := d.update(t, "/ha/replication", set(row("name"), "extra", row("index"), "5", row("master_backing"), "/var/lib/evenkeel/disks/left.img",
		row("slave_backing"), "/var/lib/evenkeel/disks/right.img", row("filesystem"), "ext4", row("mount_point"), "/srv/extra"))
	l.await(t, 60*time.Second, "the new volume is in sync and mounted", func() bool {
		m, up := l.status("a")
		return up && len(m.Volumes) == 2 && inSync(m) && m.Volumes[1].Mount != nil && *m.Volumes[1].Mount == "/srv/extra"
	})
	if out := l.in(t, "a", "findmnt", "-n", "-o", "FSTYPE", "/srv/extra"); strings.TrimSpace(out) != "ext4" {
		t.Errorf("/srv/extra is %q", out)
	}
	if out := l.in(t, "a", "ss", "-Htn", "state", "established", "sport", "7795"); strings.TrimSpace(out) == "" {
		t.Error("nothing is connected on port 7790 + 5")
	}
	for node, image := range map[string]string{"a": "left.img", "b": "right.img"} {
		if out := l.in(t, node, "sh", "-c", "ls -l /proc/[0-9]*/fd 2>/dev/null; true"); !strings.Contains(out, image) {
			t.Errorf("no process of %s has %s open", node, image)
		}
	}
	d.undo(t, "/ha/replication", was)
	l.await(t, 30*time.Second, "the volume is gone again", func() bool {
		m, up := l.status("a")
		out, err := l.try(10*time.Second, "lab", "exec", "a", "--", "findmnt", "-n", "/srv/extra")
		return up && len(m.Volumes) == 1 && err != nil && strings.TrimSpace(out) == ""
	})
	l.settle(t, "a")
}

// testSpeed caps the resync at 1 MB/s while b catches up, and takes the cap off.
func (l *lab) testSpeed(t *testing.T, d *desk) {
	d.update(t, "/ha/replication", set("replication.rate", "1"))
	l.settle(t, "a")
	l.do(t, "kill", "b")
	l.in(t, "a", "dd", "if=/dev/urandom", "of=/srv/data/fill", "bs=1M", "count=24", "conv=fsync", "status=none")
	l.do(t, "start", "b")
	began := time.Now()
	least := ^uint64(0)
	l.is(t, 60*time.Second, "b", "catches up at 1 MB/s for five seconds", func(s control.Status) bool {
		if len(s.Volumes) != 1 || s.Volumes[0].Resync == nil || time.Since(began) < 5*time.Second {
			return false
		}
		least = s.Volumes[0].OutOfSyncBytes
		rate := s.Volumes[0].Resync.RateBytes
		return rate > 0 && rate < 3_000_000
	})
	if least < 8_000_000 {
		t.Errorf("after five seconds at 1 MB/s only %d of 24 MB are left", least)
	}
	d.update(t, "/ha/replication", func(v url.Values) { v.Set("replication.rate", "") })
	took := l.is(t, 60*time.Second, "b", "is in sync without the cap", func(s control.Status) bool { return len(s.Volumes) == 1 && inSync(s) })
	t.Logf("the rest of %d bytes took %v without the cap", least, took)
	l.in(t, "a", "rm", "/srv/data/fill")
	l.settle(t, "a")
}

// testBootWait starts b alone, which waits for the other one for as long as it was told.
func (l *lab) testBootWait(t *testing.T, d *desk) {
	d.update(t, "/ha/heartbeat", set("heartbeat.boot_wait", "2"))
	l.settle(t, "a")
	for _, node := range []string{"b", "a"} {
		l.do(t, "kill", node)
	}
	l.do(t, "start", "b")
	var began time.Time
	l.is(t, 20*time.Second, "b", "starts", func(s control.Status) bool {
		began = s.StateSince
		return s.State == "starting" && !began.IsZero() // zero: the engine answers, but has not decided yet
	})
	l.is(t, 30*time.Second, "b", "has waited", func(s control.Status) bool {
		if s.State == "starting" {
			return false
		}
		if waited := s.StateSince.Sub(began); waited < time.Second || waited > 4500*time.Millisecond { // counted from the engine's start, which comes before its first decision
			t.Errorf("b waited %v, saved were 2 s (before: 5 s)", waited)
		}
		return true
	})
	l.do(t, "start", "a")
	l.home(t)
}

// TestProofField runs the pair without a volume: under Evidence without a reference point nothing is taken over by itself, under Availability
// silence is enough. The mode is changed while both hear each other: until then the stricter one of the two counts.
func TestProofField(t *testing.T) {
	l := upLab(t, "--no-volume")
	l.settle(t, "a")
	l.desk(t, "a").update(t, "/ha/general", set("general.mode", "evidence", "general.references[0].name", "", "general.references[0].address", ""))
	l.agree(t)
	l.do(t, "kill", "a")
	l.is(t, 20*time.Second, "b", "does not take over without a reference point", func(s control.Status) bool {
		return s.Peer.Verdict == "dead" && s.State == "blocked" && blocked(s, "no_reference")
	})
	l.do(t, "start", "a")
	l.home(t)
	l.desk(t, "a").update(t, "/ha/general", set("general.mode", "availability"))
	l.agree(t)
	l.do(t, "kill", "a")
	l.is(t, 20*time.Second, "b", "serves under Availability", isMaster)
}

// agree waits until both nodes know that the other one uses the same settings.
func (l *lab) agree(t *testing.T) {
	t.Helper()
	for _, node := range []string{"a", "b"} {
		l.is(t, 20*time.Second, node, "uses the same settings as the other one", func(s control.Status) bool {
			return s.Peer.Revision != nil && *s.Peer.Revision == s.Settings.Revision && s.Settings.Revision > 1 && condition(s, "settings.differ") == nil
		})
	}
}
