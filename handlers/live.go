package handlers

import (
	"bytes"
	"context"
	"net/url"

	"github.com/a-h/templ"

	"evenkeel/ha"
	"evenkeel/templates"
)

// Fragments renders the live parts of a page, as the page itself renders them: each element has an id, under which the browser
// swaps it. query is that of the stream's address: page, and what else the page needs.
func (p *Pages) Fragments(ctx context.Context, query url.Values) ([]byte, error) {
	parts := []templ.Component{templates.TopBar(p.bar())}
	switch query.Get("page") {
	case "/ha/status":
		parts = append(parts, templates.StatusBody(p.statusParts(ctx)))
	case "/ha/logs":
		parts = append(parts, templates.LogListOf(p.logList(ctx, logFilter(query), livePatience)))
	default:
		for _, t := range p.liveTables(p.settingsPages()[query.Get("page")]) {
			parts = append(parts, templates.TableOf(t))
		}
	}
	var buffer bytes.Buffer
	for _, c := range parts {
		if err := c.Render(ctx, &buffer); err != nil {
			return nil, err
		}
	}
	return buffer.Bytes(), nil
}

// liveTables are the tables below a form, as long as anything was heard of the engine.
func (p *Pages) liveTables(page settingsPage) []templates.Table {
	live := p.Live()
	if page.live == nil || live.Own == nil {
		return nil
	}
	return []templates.Table{page.live(live.Own, p.stale(live.OwnAt))}
}

// serving says whether this node is the running master, and whether its status is fresh enough to say so.
func (p *Pages) serving() (master, known bool) {
	live := p.Live()
	if live.Own == nil || p.stale(live.OwnAt) {
		return false, false
	}
	return live.Own.RunningRole == string(ha.MasterSide), true
}
