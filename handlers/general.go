package handlers

import (
	"context"
	"net/http"
	"net/url"

	"evenkeel/ha"
	"evenkeel/templates"
)

const references = "general.references"

// General serves the page General (A21 to A23).
func (p *Pages) General() func(http.ResponseWriter, *http.Request) error { return p.serve(generalPage) }

var generalPage = settingsPage{
	path: "/ha/general", title: "General",
	intro:    "What the pair is: its two nodes on the secure LAN, and who else can witness that a node is reachable. Everything applies at once, nothing needs a reboot.",
	lists:    []listOf{{name: references, key: "address"}},
	encode:   encodeGeneral,
	decode:   decodeGeneral,
	sections: generalSections,
}

func encodeGeneral(s ha.Settings) url.Values {
	v, g := url.Values{}, s.General
	setFlag(v, "general.active", g.Active)
	v.Set("general.master_address", addrText(g.MasterAddress))
	v.Set("general.slave_address", addrText(g.SlaveAddress))
	v.Set("general.mode", string(g.Mode))
	for i, r := range g.References {
		v.Set(at(references, i, "name"), r.Name)
		v.Set(at(references, i, "address"), addrText(r.Address))
	}
	return v
}

func decodeGeneral(f *form, s *ha.Settings) {
	g := &s.General
	g.Active = f.flag("general.active")
	g.MasterAddress = f.addr("general.master_address")
	g.SlaveAddress = f.addr("general.slave_address")
	g.Mode = ha.Mode(f.text("general.mode"))
	g.References = nil
	for i := range f.rows(references, "address") {
		g.References = append(g.References, ha.Reference{Name: f.text(at(references, i, "name")), Address: f.addr(at(references, i, "address"))})
	}
}

func generalSections(_ context.Context, f *form) []templates.Section {
	points := templates.Section{ID: templates.FieldID(references), Title: "Reference points", List: true, Error: f.errorAt(references),
		Help: "Something else on the secure LAN that answers ping, such as the gateway. A node takes over, or goes on alone with a volume, only while at least one answers: it is the proof that not the node itself is cut off.",
		Add:  "add:" + references, AddLabel: "Add a reference point", Empty: "None: no node takes over a volume by itself."}
	for i := range f.rows(references, "address") {
		title := f.text(at(references, i, "name"))
		if title == "" {
			title = "New reference point"
		}
		points.Items = append(points.Items, templates.Item{Title: title, Remove: removeButton(references, i), Rows: []templates.Row{row(
			f.field(templates.TextField, at(references, i, "name"), "Name", ""),
			mono(f.field(templates.TextField, at(references, i, "address"), "Address", ""), "10.88.1.254"))}})
	}
	return []templates.Section{
		{ID: "general", Title: "High availability", Rows: []templates.Row{
			row(f.field(templates.CheckField, "general.active", "High Availability Active", "Off: each node stays what it is, and nothing is taken over by itself.")),
			row(mono(f.field(templates.TextField, "general.master_address", "Master primary secure LAN IP address", "Address of the configured master on the secure LAN."), "10.88.1.1"),
				mono(f.field(templates.TextField, "general.slave_address", "Slave primary secure LAN IP address", "Address of the configured slave in the same network."), "10.88.1.2")),
			row(choices(f.field(templates.SelectField, "general.mode", "Proof for a takeover", "Evidence: the other node is silent and a reference point answers. Availability: silence is enough; for pairs without a volume only."),
				templates.Option{Value: string(ha.Evidence), Label: "Evidence"},
				templates.Option{Value: string(ha.Availability), Label: "Availability"})),
		}},
		points,
	}
}

// removeButton is the value of the button that removes a row.
func removeButton(list string, i int) string { return "remove:" + list + ":" + itoa(i) }
