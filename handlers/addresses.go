package handlers

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/templates"
)

const addresses = "addresses"

// Addresses serves the page Virtual IP Addresses (A36 to A41).
func (p *Pages) Addresses() func(http.ResponseWriter, *http.Request) error {
	return p.serve(addressesPage)
}

var addressesPage = settingsPage{
	path: "/ha/addresses", title: "Virtual IP Addresses",
	intro:    "Addresses that belong to the running master and move with the role. Clients use these; further addresses of the same network are aliases.",
	lists:    []listOf{{name: addresses, key: "address", fresh: func(f *form, i int) { f.values.Set(at(addresses, i, "enabled"), "on") }}},
	encode:   encodeAddresses,
	decode:   decodeAddresses,
	sections: addressSections,
	live:     addressTable,
}

func encodeAddresses(s ha.Settings) url.Values {
	v := url.Values{}
	for i, a := range s.Addresses {
		setFlag(v, at(addresses, i, "enabled"), a.Enabled)
		v.Set(at(addresses, i, "device"), a.Device)
		v.Set(at(addresses, i, "address"), prefixText(a.Address))
		var aliases []string
		for _, alias := range a.Aliases {
			aliases = append(aliases, prefixText(alias))
		}
		v.Set(at(addresses, i, "aliases"), strings.Join(aliases, "\n"))
		v.Set(at(addresses, i, "master_address"), addrText(a.MasterAddress))
		v.Set(at(addresses, i, "slave_address"), addrText(a.SlaveAddress))
	}
	return v
}

func decodeAddresses(f *form, s *ha.Settings) {
	s.Addresses = nil
	for i := range f.rows(addresses, "address") {
		name := at(addresses, i, "address")
		s.Addresses = append(s.Addresses, ha.VirtualAddress{
			Enabled:       f.flag(at(addresses, i, "enabled")),
			Device:        f.text(at(addresses, i, "device")),
			Address:       f.prefix(name, f.text(name)),
			Aliases:       f.aliases(at(addresses, i, "aliases")),
			MasterAddress: f.addr(at(addresses, i, "master_address")),
			SlaveAddress:  f.addr(at(addresses, i, "slave_address")),
		})
	}
}

// aliases reads addresses that are separated by spaces, commas or lines.
func (f *form) aliases(name string) []netip.Prefix {
	var list []netip.Prefix
	for _, s := range strings.FieldsFunc(f.text(name), func(r rune) bool { return strings.ContainsRune(" \t\r\n,;", r) }) {
		if len(list) == ha.MaxAliases {
			f.wrong(name, "There are more than %d aliases: remove some, or make a virtual address of its own of them.", ha.MaxAliases)
			break
		}
		list = append(list, f.prefix(name, s))
	}
	return list
}

func addressSections(_ context.Context, f *form) []templates.Section {
	list := templates.Section{ID: templates.FieldID(addresses), Title: "Virtual addresses", List: true, Error: f.errorAt(addresses),
		Add: "add:" + addresses, AddLabel: "Add a virtual address", Empty: "None: clients have no address that moves."}
	for i := range f.rows(addresses, "address") {
		title := f.text(at(addresses, i, "address"))
		if title == "" {
			title = "New virtual address"
		}
		list.Items = append(list.Items, templates.Item{Title: title, Remove: removeButton(addresses, i), Rows: []templates.Row{
			row(f.field(templates.CheckField, at(addresses, i, "enabled"), "Enabled", "")),
			row(mono(f.field(templates.TextField, at(addresses, i, "address"), "Virtual IP address", "With its prefix length, in the network of the two addresses below."), "10.88.1.100/24"),
				mono(f.field(templates.TextField, at(addresses, i, "device"), "Device", "The same name on both nodes."), "eth0")),
			row(mono(f.field(templates.AreaField, at(addresses, i, "aliases"), "Virtual IP aliases", "Further addresses that move with it, one per line."), "")),
			row(mono(f.field(templates.TextField, at(addresses, i, "master_address"), "Master IP address", ""), "10.88.1.1"),
				mono(f.field(templates.TextField, at(addresses, i, "slave_address"), "Slave IP address", ""), "10.88.1.2")),
		}})
	}
	return []templates.Section{list}
}

// sinceText shows a point in time in this machine's own time zone; what is no time is shown as it is.
func sinceText(since *string) string {
	if since == nil {
		return "-"
	}
	at, err := time.Parse(time.RFC3339, *since)
	if err != nil {
		return *since
	}
	return day(at)
}

// addressTable shows which virtual addresses this node's kernel holds.
func addressTable(s *control.Status, stale bool) templates.Table {
	t := templates.Table{ID: "virtual-addresses", Caption: "Virtual addresses on this node", Empty: "There is no virtual address.",
		Head: []string{"Address", "Device", "Held here", "Since"}}
	for _, a := range s.Addresses {
		state := templates.State{Kind: templates.Quiet, Word: "not here"}
		switch {
		case a.Held:
			state = templates.State{Kind: templates.OK, Word: "held"}
		case s.RunningRole == string(ha.MasterSide):
			state = templates.State{Kind: templates.Warning, Word: "missing"}
		}
		t.Rows = append(t.Rows, []templates.Cell{{Text: a.Address, Mono: true}, {Text: a.Device, Mono: true}, {State: aged(state, stale)}, {Text: sinceText(a.Since)}})
	}
	return t
}
