package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/templates"
)

// settingsPage is one page of settings. All of them work the same way:
//
//	GET             the revision in force, as fields
//	POST do=update  one new revision; the engine is told; back to the page
//	POST do=add:X   the same form with one more row, nothing saved
//	POST do=remove:X:I  the same form without that row, nothing saved
type settingsPage struct {
	path, title, intro string
	lists              []listOf
	encode             func(s ha.Settings) url.Values
	decode             func(f *form, s *ha.Settings)
	sections           func(c context.Context, f *form) []templates.Section
	live               func(s *control.Status, stale bool) templates.Table // below the form; nil = nothing
}

// listOf is a list of rows that can be added and removed.
type listOf struct {
	name, key string               // of the list, and of a field that each row has
	fresh     func(f *form, i int) // fills a new row
}

// settingsPages are all of them by their paths.
func (p *Pages) settingsPages() map[string]settingsPage {
	pages := map[string]settingsPage{}
	for _, page := range []settingsPage{generalPage, heartbeatPage, replicationPage, addressesPage, p.servicesPage()} {
		pages[page.path] = page
	}
	return pages
}

// serve answers GET and POST of a settings page.
func (p *Pages) serve(page settingsPage) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		latest, err := p.latest(r.Context())
		if err != nil {
			return err
		}
		if r.Method != http.MethodPost {
			f := &form{values: page.encode(latest)}
			return p.show(w, r, page, f, look{base: latest.Revision, latest: latest, status: http.StatusOK})
		}
		f := &form{values: r.PostForm}
		base, err := strconv.ParseUint(f.text("base"), 10, 64)
		if err != nil {
			return &Fail{Status: http.StatusBadRequest, Text: "The form does not say which revision it was opened at: load the page again."}
		}
		if do := f.text("do"); do == "update" {
			return p.update(w, r, page, f, base, latest)
		} else if !page.change(f, do) {
			return &Fail{Status: http.StatusBadRequest, Text: "The form asks for something that this page does not know: load the page again."}
		}
		return p.show(w, r, page, f, look{base: base, latest: latest, status: http.StatusOK, unsaved: true})
	}
}

// update saves what was entered as one revision.
func (p *Pages) update(w http.ResponseWriter, r *http.Request, page settingsPage, f *form, base uint64, latest ha.Settings) error {
	wrong := look{base: base, latest: latest, status: http.StatusUnprocessableEntity}
	if base != latest.Revision {
		return p.conflict(w, r, page, f, base, latest)
	}
	next := latest
	page.decode(f, &next)
	if len(f.errors) > 0 {
		f.merge(p.Settings.Check(next)) // all at once, not one after the other
		return p.show(w, r, page, f, wrong)
	}
	if base > 0 && next.Digest() == latest.Digest() {
		return p.done(w, r, page.path, templates.Info, fmt.Sprintf("Nothing was changed: revision %d stays.", base))
	}
	visitor := VisitorOf(r.Context())
	revision, err := p.Settings.Save(r.Context(), next, base, visitor.User)
	var stale interface{ Latest() ha.Settings }
	var fields ha.FieldErrors
	switch {
	case errors.As(err, &fields):
		f.errors = fields
		return p.show(w, r, page, f, wrong)
	case errors.As(err, &stale):
		return p.conflict(w, r, page, f, base, stale.Latest())
	case err != nil:
		return err
	}
	p.audit(r, visitor, "settings.save", fmt.Sprintf("revision %d", base), fmt.Sprintf("revision %d: %s", revision, changed(page.encode(latest), page.encode(next))))
	if err := p.Engine.Settings(context.WithoutCancel(r.Context()), control.Revision{Revision: revision}); err != nil {
		return p.done(w, r, page.path, templates.Warning, fmt.Sprintf("Revision %d is saved but not in force: %v", revision, err))
	}
	return p.done(w, r, page.path, templates.OK, fmt.Sprintf("Revision %d is saved and in force on this node; the other node takes it over as soon as it is heard.", revision))
}

// conflict shows both values: what was entered, and what somebody else saved meanwhile. Saving again is then a decision.
func (p *Pages) conflict(w http.ResponseWriter, r *http.Request, page settingsPage, f *form, base uint64, newer ha.Settings) error {
	c := &templates.Conflict{Text: fmt.Sprintf("%s saved revision %d after you opened this page at revision %d. Nothing of yours is lost: your values stand below. Update saves them over the stored ones; Discard shows the stored ones.",
		newer.SavedBy, newer.Revision, base)}
	theirs := page.encode(newer)
	mine, stored := fieldsOf(page.sections(r.Context(), f)), fieldsOf(page.sections(r.Context(), &form{values: theirs}))
	for _, name := range names(f.values, theirs) {
		field, known := mine[name]
		if !known { // a row that somebody else added
			field, known = stored[name]
		}
		if known && f.text(name) != strings.TrimSpace(theirs.Get(name)) {
			c.Rows = append(c.Rows, templates.Difference{Label: field.Label, Yours: entered(field, f.values.Get(name)), Theirs: entered(field, theirs.Get(name))})
		}
	}
	return p.show(w, r, page, f, look{base: newer.Revision, latest: newer, status: http.StatusConflict, conflict: c})
}

// look says how a form is shown.
type look struct {
	base     uint64      // revision that the form was opened at
	latest   ha.Settings // what is in force
	status   int
	conflict *templates.Conflict
	unsaved  bool
}

// show renders the page from what stands in the form.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, page settingsPage, f *form, l look) error {
	frame := p.frame(r, page.title, page.path)
	frame.Live = "/live?page=" + url.QueryEscape(page.path)
	sections := page.sections(r.Context(), f)
	frame.Problems = problems(f.errors, page.path, sections)
	view := templates.FormPage{Frame: frame, Intro: page.intro, Base: strconv.FormatUint(l.base, 10), Conflict: l.conflict, Sections: sections, Live: p.liveTables(page), Unsaved: l.unsaved}
	if l.base > 0 && l.base == l.latest.Revision { // of an older one it is not known here who saved it
		view.UpdatedBy = fmt.Sprintf("Revision %d, saved by %s at %s", l.base, l.latest.SavedBy, day(l.latest.SavedAt))
	}
	return p.render(w, r, l.status, templates.Settings(view))
}

// change adds or removes a row.
func (page settingsPage) change(f *form, do string) bool {
	verb, rest, _ := strings.Cut(do, ":")
	name, number, _ := strings.Cut(rest, ":")
	for _, l := range page.lists {
		if l.name != name {
			continue
		}
		n := f.rows(l.name, l.key)
		switch i, err := strconv.Atoi(number); {
		case verb == "add" && n < rowsMost:
			f.values.Set(at(l.name, n, l.key), "")
			if l.fresh != nil {
				l.fresh(f, n)
			}
			return true
		case verb == "remove" && err == nil && i >= 0 && i < n:
			f.remove(l.name, i)
			return true
		}
	}
	return false
}

// latest is the revision in force; before the first one it is what a new pair starts with.
func (p *Pages) latest(ctx context.Context) (ha.Settings, error) {
	s, err := p.Settings.Latest(ctx)
	if err == nil || !p.NoSettings(err) {
		return s, err
	}
	other := ha.NodeID("b")
	if p.Node == "b" {
		other = "a"
	}
	s = ha.Settings{
		General:   ha.General{MasterNode: ha.NodeID(p.Node), SlaveNode: other, Mode: ha.Evidence},
		Heartbeat: ha.Heartbeat{Profile: ha.ProfileStandard, Port: 999, Baud: 115200, BootWait: 30 * time.Second},
	}
	s.ApplyProfile()
	return s, nil
}

// problems makes the summary: each line leads to its field. What is wrong on another page is shown when nothing is on this one: it is
// mostly the same fault, seen from the other field.
func problems(list ha.FieldErrors, path string, sections []templates.Section) []templates.Problem {
	fields := fieldsOf(sections)
	var out, elsewhere []templates.Problem
	for _, e := range list {
		name := e.Field
		if fields[name].Label == "" { // an element of a field that holds a list, or a whole list
			name, _, _ = strings.Cut(name, "].aliases[")
			if name != e.Field {
				name += "].aliases"
			}
		}
		switch home := homeOf(e.Field); {
		case fields[name].Label != "":
			out = append(out, templates.Problem{Href: "#" + templates.FieldID(name), Text: fields[name].Label + ": " + e.Text})
		case home.Path == path:
			out = append(out, templates.Problem{Href: "#" + templates.FieldID(e.Field), Text: e.Text})
		default:
			elsewhere = append(elsewhere, templates.Problem{Href: home.Path, Text: "On the page " + home.Title + ": " + e.Text})
		}
	}
	if len(out) == 0 {
		return elsewhere
	}
	return out
}

// homeOf is the page that holds a field.
func homeOf(field string) templates.Link {
	word, _, _ := strings.Cut(field, ".")
	word, _, _ = strings.Cut(word, "[")
	for _, l := range templates.Navigation[0].Links {
		if l.Path == "/ha/"+word {
			return l
		}
	}
	return templates.Navigation[0].Links[1]
}

// fieldsOf are all fields of a page by their names; the label of one in a list names its row too.
func fieldsOf(sections []templates.Section) map[string]templates.Field {
	fields := map[string]templates.Field{}
	note := func(prefix string, rows []templates.Row) {
		for _, r := range rows {
			for _, f := range r.Fields {
				f.Label = prefix + f.Label
				fields[f.Name] = f
			}
		}
	}
	for _, s := range sections {
		note("", s.Rows)
		for _, item := range s.Items {
			note(item.Title+", ", item.Rows)
		}
	}
	return fields
}

// entered writes what a field holds so that it can be compared.
func entered(f templates.Field, value string) string {
	if f.Kind != templates.CheckField {
		return shown(value)
	}
	return onOff(value == "on")
}

// names lists the names of both forms in order.
func names(a, b url.Values) []string {
	seen := map[string]bool{}
	for name := range a {
		seen[name] = true
	}
	for name := range b {
		seen[name] = true
	}
	list := make([]string, 0, len(seen))
	for name := range seen {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}

// changed lists the differences of two forms for the audit log.
func changed(old, new url.Values) string {
	var parts []string
	for _, name := range names(old, new) {
		if a, b := old.Get(name), new.Get(name); a != b {
			parts = append(parts, fmt.Sprintf("%s %s -> %s", name, shown(a), shown(b)))
		}
	}
	return strings.Join(parts, "; ")
}

// shown writes an empty value so that it can be seen.
func shown(s string) string {
	if s == "" {
		return "(empty)"
	}
	return strings.Join(strings.Fields(s), " ")
}
