package handlers

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"time"

	"evenkeel/ha/control"
	"evenkeel/templates"
)

const (
	logLines   = 300 // events on one page
	logRefresh = 5   // seconds, without JavaScript
)

// Logs serves the page Logs: heartbeat and replication (A45), failover (A46).
func (p *Pages) Logs(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f := logFilter(q)
	follow := q.Get("follow") == "on"
	frame := p.frame(r, "Logs", "/ha/logs")
	if follow {
		frame.Live, frame.Refresh = "/live?page=%2Fha%2Flogs&"+logQuery(f, false), logRefresh
	}
	tab := func(log, title string) templates.Tab {
		other := f
		other.Log = log
		return templates.Tab{Href: "/ha/logs?" + logQuery(other, follow), Title: title, Here: f.Log == log}
	}
	nodes := []templates.Option{{Value: "", Label: "both"}, {Value: p.Node, Label: p.Node + " (this node)"}}
	if peer := p.peer(); peer != "" {
		nodes = append(nodes, templates.Option{Value: peer, Label: peer})
	}
	return p.render(w, r, http.StatusOK, templates.Logs(templates.LogsPage{
		Frame: frame, Log: f.Log, Node: f.Node, Nodes: nodes, Severity: f.Severity, Text: f.Text, Follow: follow,
		Tabs:   []templates.Tab{tab("failover", "Failover"), tab("heartbeat", "Heartbeat and replication")},
		Toggle: "/ha/logs?" + logQuery(f, !follow),
		List:   p.logList(r.Context(), f),
	}))
}

// logFilter reads the filters from an address; what is not known selects all.
func logFilter(q url.Values) control.EventFilter {
	f := control.EventFilter{Log: q.Get("log"), Node: q.Get("node"), Severity: q.Get("severity"), Text: q.Get("text"), Limit: logLines}
	if f.Log != "heartbeat" {
		f.Log = "failover"
	}
	if f.Severity != "warning" && f.Severity != "critical" {
		f.Severity = ""
	}
	return f
}

func logQuery(f control.EventFilter, follow bool) string {
	q := url.Values{"log": {f.Log}}
	for name, value := range map[string]string{"node": f.Node, "severity": f.Severity, "text": f.Text} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if follow {
		q.Set("follow", "on")
	}
	return q.Encode()
}

// peer is the other node's id, as far as it is known.
func (p *Pages) peer() string {
	if live := p.Live(); live.Own != nil {
		return live.Own.Peer.Node
	}
	return ""
}

// logList reads both nodes' events: this node's from its own file, so that they can be read while the engine is away, the other
// node's through the engines.
func (p *Pages) logList(ctx context.Context, f control.EventFilter) templates.LogList {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var out templates.LogList
	var events []control.Event
	if f.Node == "" || f.Node == p.Node {
		own, err := p.Log.List(ctx, control.EventFilter{Log: f.Log, Severity: f.Severity, Text: f.Text, Limit: f.Limit})
		if err != nil {
			out.Problem = "This node's log cannot be read: " + err.Error()
		}
		events = own
	}
	if peer := p.peer(); peer != "" && f.Node != p.Node {
		theirs := f
		theirs.Node = peer
		list, err := p.Engine.Events(ctx, theirs)
		if err != nil {
			out.Problem = fmt.Sprintf("The log of %s cannot be read now: %v", peer, err)
		}
		for _, e := range list {
			if e.Node != p.Node { // its own entries only: ours stand there already
				events = append(events, e)
			}
		}
	}
	sort.SliceStable(events, func(i, k int) bool { return events[i].At.After(events[k].At) })
	if len(events) > f.Limit {
		events = events[:f.Limit]
	}
	switch {
	case len(events) == f.Limit:
		out.Count = fmt.Sprintf("The newest %d events; filter to see older ones.", f.Limit)
	case len(events) == 0 && f.Node+f.Severity+f.Text != "":
		out.Count = "No event matches the filter."
	case len(events) == 0:
		out.Count = "Nothing has happened yet."
	case len(events) == 1:
		out.Count = "One event."
	default:
		out.Count = fmt.Sprintf("%d events, newest first.", len(events))
	}
	for _, e := range events {
		out.Events = append(out.Events, templates.LogEvent{
			ID: fmt.Sprint(e.ID), At: e.At.Local().Format("2006-01-02 15:04:05.000"), Full: e.At.Format(time.RFC3339Nano), Node: e.Node,
			State: templates.State{Kind: severityKind(e.Severity), Word: string(e.Severity)}, Code: e.Code, Text: e.Text, Epoch: strings.TrimPrefix(e.Epoch, "0/"), Consequent: e.Cause != 0,
		})
	}
	return out
}
