package handlers

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"evenkeel/ha"
	"evenkeel/templates"
)

const devices = "heartbeat.devices"

// Heartbeat serves the page Heartbeat (A6 to A9, N6 to N17).
func (p *Pages) Heartbeat() func(http.ResponseWriter, *http.Request) error {
	return p.serve(heartbeatPage)
}

var heartbeatPage = settingsPage{
	path: "/ha/heartbeat", title: "Heartbeat",
	intro:    "How the nodes hear each other, and after how much silence the other one counts as down. At least two separate links make a pair; a serial line is the one that no switch can cut.",
	lists:    []listOf{{name: devices, key: "device", fresh: func(f *form, i int) { f.values.Set(at(devices, i, "send"), "on") }}},
	encode:   encodeHeartbeat,
	decode:   decodeHeartbeat,
	sections: heartbeatSections,
	live:     linkTable,
}

func encodeHeartbeat(s ha.Settings) url.Values {
	v, h := url.Values{}, s.Heartbeat
	v.Set("heartbeat.profile", string(h.Profile))
	v.Set("heartbeat.interval", secondsText(h.Interval))
	v.Set("heartbeat.dead_time", secondsText(h.DeadTime))
	v.Set("heartbeat.boot_wait", secondsText(h.BootWait))
	v.Set("heartbeat.cluster_id", itoa(int(h.ClusterID)))
	setFlag(v, "heartbeat.serial", h.Serial)
	v.Set("heartbeat.master_serial", h.MasterSerial)
	v.Set("heartbeat.slave_serial", h.SlaveSerial)
	v.Set("heartbeat.baud", itoa(h.Baud))
	v.Set("heartbeat.sync_device", h.SyncDevice)
	for i, d := range h.Devices {
		v.Set(at(devices, i, "device"), d.Device)
		setFlag(v, at(devices, i, "send"), d.Send)
	}
	return v
}

func decodeHeartbeat(f *form, s *ha.Settings) {
	h := &s.Heartbeat
	was := *h
	h.Profile = ha.Profile(f.text("heartbeat.profile"))
	h.Interval = f.seconds("heartbeat.interval")
	h.DeadTime = f.seconds("heartbeat.dead_time")
	h.BootWait = f.seconds("heartbeat.boot_wait")
	h.ClusterID = uint8(f.whole("heartbeat.cluster_id", 63))
	h.Serial = f.flag("heartbeat.serial")
	h.MasterSerial = f.text("heartbeat.master_serial")
	h.SlaveSerial = f.text("heartbeat.slave_serial")
	h.Baud = f.whole("heartbeat.baud", 1_000_000)
	h.SyncDevice = f.text("heartbeat.sync_device")
	h.Devices = nil
	for i := range f.rows(devices, "device") {
		h.Devices = append(h.Devices, ha.BeatDevice{Device: f.text(at(devices, i, "device")), Send: f.flag(at(devices, i, "send"))})
	}
	applyProfile(h, was)
}

// applyProfile lets a named profile fill the times that were left as they were. A time that was typed stays, so that
// Validate says that it does not belong to the profile: what is typed is never dropped without a word.
func applyProfile(h *ha.Heartbeat, was ha.Heartbeat) {
	interval, dead, _, named := ha.ProfileTimes(h.Profile)
	if !named {
		return
	}
	if h.Interval == was.Interval {
		h.Interval = interval
	}
	if h.DeadTime == was.DeadTime {
		h.DeadTime = dead
	}
}

func heartbeatSections(_ context.Context, f *form) []templates.Section {
	number := func(name, label, help string) templates.Field {
		return unit(f.field(templates.NumberField, name, label, help), "s")
	}
	list := templates.Section{ID: templates.FieldID(devices), Title: "Ethernet devices", List: true, Error: f.errorAt(devices),
		Help: "Devices that bear the same name on both nodes. Beats are always received; a device that does not send is no link.",
		Add:  "add:" + devices, AddLabel: "Add a device", Empty: "None."}
	sync := []templates.Option{{Value: "", Label: "none"}}
	for i := range f.rows(devices, "device") {
		name := f.text(at(devices, i, "device"))
		title := name
		if name == "" {
			title = "New device"
		} else {
			sync = append(sync, templates.Option{Value: name, Label: name})
		}
		list.Items = append(list.Items, templates.Item{Title: title, Remove: removeButton(devices, i), Rows: []templates.Row{row(
			mono(f.field(templates.TextField, at(devices, i, "device"), "Device", ""), "eth1"),
			f.field(templates.CheckField, at(devices, i, "send"), "Send beats", ""))}})
	}
	return []templates.Section{
		{ID: "times", Title: "Times", Rows: []templates.Row{
			row(choices(f.field(templates.SelectField, "heartbeat.profile", "Profile", "A named profile sets interval and time-out; Custom takes the ones below."), profiles...)),
			row(number("heartbeat.interval", "Interval", "Between two beats on one link; 0.05 to 5 s."),
				number("heartbeat.dead_time", "Time-out other node down", "Beyond this time the other node is considered down; at least five intervals.")),
			row(number("heartbeat.boot_wait", "Wait for the other node at start", "How long a node that starts waits to hear the other one."),
				f.field(templates.NumberField, "heartbeat.cluster_id", "Cluster id", "0 to 63. Two pairs in one network must differ.")),
		}},
		{ID: "serial", Title: "Serial line", Rows: []templates.Row{
			row(f.field(templates.CheckField, "heartbeat.serial", "Heartbeat via serial port", "Highly recommended: it keeps working when the network does not.")),
			row(mono(f.field(templates.TextField, "heartbeat.master_serial", "Master heartbeat serial device", ""), "/dev/ttyS0"),
				mono(f.field(templates.TextField, "heartbeat.slave_serial", "Slave heartbeat serial device", ""), "/dev/ttyS0")),
			row(choices(unit(f.field(templates.SelectField, "heartbeat.baud", "Serial speed", "The same on both nodes."), ""), bauds...)),
		}},
		list,
		{ID: "sync", Title: "Sync device", Rows: []templates.Row{
			row(choices(f.field(templates.SelectField, "heartbeat.sync_device", "Sync device", "The link of the replication: beats go twice as often over it."), sync...)),
		}},
	}
}

var profiles = []templates.Option{
	{Value: string(ha.ProfileStandard), Label: "Standard: 0.2 s, time-out 3 s"},
	{Value: string(ha.ProfileFast), Label: "Fast: 0.1 s, time-out 0.6 s"},
	{Value: string(ha.ProfileCautious), Label: "Cautious: 1 s, time-out 20 s"},
	{Value: string(ha.ProfileCustom), Label: "Custom"},
}

var bauds = func() (list []templates.Option) {
	for _, b := range []int{9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600} {
		list = append(list, templates.Option{Value: itoa(b), Label: itoa(b) + " baud"})
	}
	return list
}()

func itoa(n int) string { return strconv.Itoa(n) }
