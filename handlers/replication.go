package handlers

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/templates"
)

const (
	volumes  = "replication.volumes"
	mega     = 1_000_000 // bytes in the MB of the speed field
	rateMost = 100_000   // MB/s
)

// Replication serves the page Disk Replication (A33 to A35).
func (p *Pages) Replication() func(http.ResponseWriter, *http.Request) error {
	return p.serve(replicationPage)
}

var replicationPage = settingsPage{
	path: "/ha/replication", title: "Disk Replication",
	intro:    "Volumes that exist on both nodes. What the running master writes is on both disks before it is acknowledged.",
	lists:    []listOf{{name: volumes, key: "name", fresh: freshVolume}},
	encode:   encodeReplication,
	decode:   decodeReplication,
	sections: replicationSections,
	live:     volumeTable,
}

// freshVolume gives a new volume the lowest number that no other one has; its replication port follows from it.
func freshVolume(f *form, i int) {
	used := map[string]bool{}
	for k := range i {
		used[f.text(at(volumes, k, "index"))] = true
	}
	n := 0
	for used[itoa(n)] {
		n++
	}
	f.values.Set(at(volumes, i, "index"), itoa(n))
	f.values.Set(at(volumes, i, "filesystem"), "ext4")
}

func encodeReplication(s ha.Settings) url.Values {
	v, r := url.Values{}, s.Replication
	rate := ""
	if r.Rate > 0 {
		rate = strconv.FormatFloat(float64(r.Rate)/mega, 'f', -1, 64)
	}
	v.Set("replication.rate", rate)
	setFlag(v, "replication.via_lan", r.ViaLAN)
	v.Set("replication.master_address", addrText(r.MasterAddress))
	v.Set("replication.slave_address", addrText(r.SlaveAddress))
	for i, x := range r.Volumes {
		v.Set(at(volumes, i, "name"), x.Name)
		v.Set(at(volumes, i, "index"), itoa(x.Index))
		v.Set(at(volumes, i, "master_backing"), x.MasterBacking)
		v.Set(at(volumes, i, "slave_backing"), x.SlaveBacking)
		v.Set(at(volumes, i, "filesystem"), x.Filesystem)
		v.Set(at(volumes, i, "mount_point"), x.MountPoint)
	}
	return v
}

func decodeReplication(f *form, s *ha.Settings) {
	r := &s.Replication
	r.Rate = 0
	if f.text("replication.rate") != "" {
		if value, ok := f.decimal("replication.rate", rateMost, "a speed in MB/s", "enter 0.01 to 100000, or nothing for no limit"); ok {
			r.Rate = uint64(math.Round(value * mega))
			if r.Rate == 0 { // what means "no limit" to the settings
				f.wrong("replication.rate", "%s MB/s would never end a sync: enter 0.01 to 100000, or nothing for no limit.", clip(f.text("replication.rate")))
			}
		}
	}
	r.ViaLAN = f.flag("replication.via_lan")
	r.MasterAddress = f.addr("replication.master_address")
	r.SlaveAddress = f.addr("replication.slave_address")
	r.Volumes = nil
	for i := range f.rows(volumes, "name") {
		r.Volumes = append(r.Volumes, ha.VolumeSetting{
			Name:          f.text(at(volumes, i, "name")),
			Index:         f.whole(at(volumes, i, "index"), 15),
			MasterBacking: f.text(at(volumes, i, "master_backing")),
			SlaveBacking:  f.text(at(volumes, i, "slave_backing")),
			Filesystem:    f.text(at(volumes, i, "filesystem")),
			MountPoint:    f.text(at(volumes, i, "mount_point")),
		})
	}
}

func replicationSections(_ context.Context, f *form) []templates.Section {
	list := templates.Section{ID: templates.FieldID(volumes), Title: "Volumes", List: true, Error: f.errorAt(volumes),
		Add: "add:" + volumes, AddLabel: "Add a volume", Empty: "None: the pair shares addresses and services only."}
	for i := range f.rows(volumes, "name") {
		title := f.text(at(volumes, i, "name"))
		if title == "" {
			title = "New volume"
		}
		number := f.field(templates.NumberField, at(volumes, i, "index"), "Number", "Its replication port is 7790 plus this number.")
		list.Items = append(list.Items, templates.Item{Title: title, Remove: removeButton(volumes, i), Rows: []templates.Row{
			row(f.field(templates.TextField, at(volumes, i, "name"), "Name", "1 to 16 of a-z, 0-9 and -, a letter or digit first."), number),
			row(mono(f.field(templates.TextField, at(volumes, i, "master_backing"), "Master backing device", "Disk, partition or file that holds the data there."), "/dev/sdb1"),
				mono(f.field(templates.TextField, at(volumes, i, "slave_backing"), "Slave backing device", ""), "/dev/sdb1")),
			row(choices(f.field(templates.SelectField, at(volumes, i, "filesystem"), "Filesystem", ""),
				templates.Option{Value: "ext4", Label: "ext4"}, templates.Option{Value: "", Label: "none: a bare device"}),
				mono(f.field(templates.TextField, at(volumes, i, "mount_point"), "Mount point", "On the running master."), "/srv/data")),
		}})
	}
	return []templates.Section{
		{ID: "replication", Title: "Replication", Rows: []templates.Row{
			row(unit(f.field(templates.NumberField, "replication.rate", "Disk replication speed", "Limit while a node catches up. Empty: as fast as the line and the disks go without slowing the services."), "MB/s")),
			row(f.field(templates.CheckField, "replication.via_lan", "Disk Replication via primary secure LAN", "Not recommended: use an own line, then the two addresses below are those on it.")),
			row(mono(f.field(templates.TextField, "replication.master_address", "Master Disk Replication Address", ""), "10.88.3.1"),
				mono(f.field(templates.TextField, "replication.slave_address", "Slave Disk Replication Address", ""), "10.88.3.2")),
		}},
		list,
	}
}

// volumeTable shows this node's side of each volume.
func volumeTable(s *control.Status, stale bool) templates.Table {
	t := templates.Table{ID: "volumes", Caption: "Volumes on this node", Empty: "There is no volume.",
		Head: []string{"Volume", "Disk", "Role", "Peer's disk", "Connection", "Out of sync", "Progress", "Mounted at", "Generation"}}
	for _, v := range s.Volumes {
		t.Rows = append(t.Rows, []templates.Cell{
			{Text: v.Name, Mono: true},
			{State: aged(diskState(v), stale)},
			{Text: v.Role}, {Text: v.PeerDisk}, {Text: v.Connection},
			{Text: outOfSync(v), Number: true},
			{Text: progress(v)},
			{Text: orDash(v.Mount), Mono: true},
			{Text: dash(shortGeneration(v.Generation)), Mono: true},
		})
	}
	return t
}

// diskState judges a volume by all of disk, connection and split-brain: a disk alone says too little.
func diskState(v control.Volume) templates.State {
	switch {
	case v.SplitBrain:
		return templates.State{Kind: templates.Critical, Word: "Split-brain"}
	case v.Holding:
		return templates.State{Kind: templates.Critical, Word: v.Disk + ", holding"}
	case v.Disk == string(ha.UpToDate) && v.PeerDisk == v.Disk && connected(v.Connection):
		return templates.State{Kind: templates.OK, Word: v.Disk}
	case v.Disk == string(ha.UpToDate), v.Disk == string(ha.Consistent), v.Disk == string(ha.Outdated), v.Disk == string(ha.Inconsistent): // as their conditions
		return templates.State{Kind: templates.Warning, Word: v.Disk}
	case v.Disk == "" || v.Disk == string(ha.DUnknown):
		return templates.State{Kind: templates.Unknown, Word: "unknown"}
	}
	return templates.State{Kind: templates.Critical, Word: v.Disk}
}

func connected(connection string) bool {
	switch connection {
	case "Connected", "SyncSource", "SyncTarget":
		return true
	}
	return false
}

func progress(v control.Volume) string {
	if v.Resync == nil {
		return "-"
	}
	text := fmt.Sprintf("%.1f %%, %s/s", v.Resync.Percent, bytesText(v.Resync.RateBytes))
	if v.Resync.Paused {
		return text + ", paused"
	}
	if v.Resync.SecondsLeft != nil {
		text += ", " + spanText(*v.Resync.SecondsLeft*1000) + " left"
	}
	return text
}

// outOfSync is what is not on the other side; without a disk nobody knows.
func outOfSync(v control.Volume) string {
	if v.Disk == string(ha.Diskless) {
		return "-"
	}
	return bytesText(v.OutOfSyncBytes)
}

func shortGeneration(g string) string {
	if len(g) > 8 {
		return g[:8]
	}
	return g
}

// orDash and dash show what is not known.
func orDash(s *string) string {
	if s == nil {
		return "-"
	}
	return dash(*s)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
