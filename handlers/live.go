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
		parts = append(parts, templates.LogListOf(p.logList(ctx, logFilter(query))))
	default:
		for _, t := range p.liveTables(query.Get("page")) {
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

// liveTables are the tables below a form.
func (p *Pages) liveTables(path string) []templates.Table {
	live := p.Live()
	if live.Own == nil {
		return nil
	}
	stale := p.stale(live.OwnAt)
	switch path {
	case "/ha/heartbeat":
		return []templates.Table{linkTable(live.Own, stale)}
	case "/ha/replication":
		return []templates.Table{volumeTable(live.Own, stale)}
	case "/ha/addresses":
		return []templates.Table{addressTable(live.Own, stale)}
	case "/ha/services":
		return []templates.Table{serviceTable(live.Own, stale)}
	}
	return nil
}

// serving says whether this node is the running master, and whether its status is fresh enough to say so.
func (p *Pages) serving() (master, known bool) {
	live := p.Live()
	if live.Own == nil || p.stale(live.OwnAt) {
		return false, false
	}
	return live.Own.RunningRole == string(ha.MasterSide), true
}
