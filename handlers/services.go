package handlers

import (
	"context"
	"net/http"
	"net/url"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/templates"
)

const services = "services"

// Services serves the page Services (A47).
func (p *Pages) Services() func(http.ResponseWriter, *http.Request) error {
	return p.serve(p.servicesPage())
}

func (p *Pages) servicesPage() settingsPage {
	return settingsPage{
		path: "/ha/services", title: "Services",
		intro:    "What runs on which node. The console can only choose from the catalogue that root wrote on this machine.",
		lists:    []listOf{{name: services, key: "name", fresh: func(f *form, i int) { f.values.Set(at(services, i, "placement"), string(ha.MasterSide)) }}},
		encode:   encodeServices,
		decode:   decodeServices,
		sections: p.serviceSections,
		live:     serviceTable,
	}
}

func encodeServices(s ha.Settings) url.Values {
	v := url.Values{}
	for i, x := range s.Services {
		v.Set(at(services, i, "name"), x.Name)
		v.Set(at(services, i, "placement"), string(x.Placement))
	}
	return v
}

func decodeServices(f *form, s *ha.Settings) {
	s.Services = nil
	for i := range f.rows(services, "name") {
		s.Services = append(s.Services, ha.ServiceSetting{Name: f.text(at(services, i, "name")), Placement: ha.Side(f.text(at(services, i, "placement")))})
	}
}

func (p *Pages) serviceSections(ctx context.Context, f *form) []templates.Section {
	list := templates.Section{ID: templates.FieldID(services), Title: "Placed services", List: true, Error: f.errorAt(services),
		Add: "add:" + services, AddLabel: "Add a service", Empty: "None: a takeover moves addresses and volumes only."}
	offered := []templates.Option{{Value: "", Label: "choose a service"}}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	catalogue, err := p.Engine.Catalogue(ctx)
	if err != nil {
		list.Help = ha.Sentence("The catalogue cannot be read now, so no other service can be chosen: " + err.Error())
		catalogue = placed(f) // what is placed was in it
	}
	for _, c := range catalogue {
		label := c.Name
		if c.Description != "" {
			label += ": " + c.Description
		}
		offered = append(offered, templates.Option{Value: c.Name, Label: label})
	}
	for i := range f.rows(services, "name") {
		title := f.text(at(services, i, "name"))
		if title == "" {
			title = "New service"
		}
		list.Items = append(list.Items, templates.Item{Title: title, Remove: removeButton(services, i), Rows: []templates.Row{row(
			choices(f.field(templates.SelectField, at(services, i, "name"), "Service", ""), offered...),
			choices(f.field(templates.SelectField, at(services, i, "placement"), "Start on", ""),
				templates.Option{Value: string(ha.MasterSide), Label: "the running master"},
				templates.Option{Value: string(ha.SlaveSide), Label: "the running slave"},
				templates.Option{Value: string(ha.Both), Label: "both nodes"}))}})
	}
	return []templates.Section{list}
}

// placed lists the services of a form.
func placed(f *form) (list []control.CatalogueEntry) {
	for i := range f.rows(services, "name") {
		if name := f.text(at(services, i, "name")); name != "" {
			list = append(list, control.CatalogueEntry{Name: name})
		}
	}
	return list
}

// serviceTable shows how the placed services are on this node.
func serviceTable(s *control.Status, stale bool) templates.Table {
	t := templates.Table{ID: "services-here", Caption: "Services on this node", Empty: "No service is placed.",
		Head: []string{"Service", "Start on", "State", "Error"}}
	for _, x := range s.Services {
		t.Rows = append(t.Rows, []templates.Cell{{Text: x.Name, Mono: true}, {Text: placementWord(x.Placement)}, {State: aged(serviceState(x, s.RunningRole), stale)}, {Text: orDash(x.Error)}})
	}
	return t
}

func serviceState(x control.Service, role string) templates.State {
	switch x.State {
	case "running":
		return templates.State{Kind: templates.OK, Word: x.State}
	case "starting", "stopping":
		return templates.State{Kind: templates.Info, Word: x.State}
	case "stopped":
		if x.Placement != role && x.Placement != string(ha.Both) {
			return templates.State{Kind: templates.Quiet, Word: "stopped, as placed"}
		}
		return templates.State{Kind: templates.Warning, Word: x.State}
	case "failed":
		return templates.State{Kind: templates.Critical, Word: x.State}
	}
	return templates.State{Kind: templates.Unknown, Word: "unknown"}
}

func placementWord(p string) string {
	if p == string(ha.Both) {
		return "both nodes"
	}
	return "running " + p
}
