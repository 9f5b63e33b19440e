package handlers

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/templates"
)

const (
	logLines   = 300 // events on one page
	logRefresh = 5   // seconds, without JavaScript

	logPatience  = 3 * time.Second
	livePatience = time.Second // a live page that waits longer looks as if this node were silent
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
		List:   p.logList(r.Context(), f, logPatience),
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

// logList reads both nodes' events within patience: this node's from its own file, so that they can be read while the engine is away,
// the other node's through the engines.
func (p *Pages) logList(ctx context.Context, f control.EventFilter, patience time.Duration) templates.LogList {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	events, ownProblem := p.ownEvents(ctx, f)
	theirs, problem := p.peerEvents(ctx, f)
	events = append(events, theirs...)
	sort.SliceStable(events, func(i, k int) bool { return events[i].At.After(events[k].At) })
	events = events[:min(len(events), f.Limit)]
	out := templates.LogList{Problem: strings.TrimSpace(ownProblem + " " + problem), Count: countText(len(events), f)}
	for _, e := range events {
		out.Events = append(out.Events, templates.LogEvent{
			At: e.At.Local().Format("2006-01-02 15:04:05.000"), Full: e.At.Format(time.RFC3339Nano), Node: e.Node,
			State: templates.State{Kind: severityKind(e.Severity), Word: string(e.Severity)}, Code: e.Code, Text: e.Text, Epoch: strings.TrimPrefix(e.Epoch, "0/"), Consequent: e.Cause != 0,
		})
	}
	return out
}

// ownEvents are this node's, and what stood in the way.
func (p *Pages) ownEvents(ctx context.Context, f control.EventFilter) (list []control.Event, problem string) {
	if f.Node != "" && f.Node != p.Node {
		return nil, ""
	}
	list, err := p.Log.List(ctx, control.EventFilter{Log: f.Log, Severity: f.Severity, Text: f.Text, Limit: f.Limit})
	if err != nil {
		return nil, ha.Sentence("This node's log cannot be read: " + err.Error())
	}
	return list, ""
}

// peerEvents are the other node's, and what stood in the way. Who is not heard is not asked: nothing would come of it but the wait.
func (p *Pages) peerEvents(ctx context.Context, f control.EventFilter) (list []control.Event, problem string) {
	live := p.Live()
	switch {
	case f.Node == p.Node:
		return nil, ""
	case live.Own == nil || p.stale(live.OwnAt):
		return nil, "This node's engine does not answer, so the other node's log cannot be read now."
	case live.Own.Peer.Node == "": // no settings say yet who it is
		return nil, ""
	case !live.Own.Peer.Alive:
		return nil, fmt.Sprintf("%s is %s: its log is shown again when it is heard.", live.Own.Peer.Node, live.Own.Peer.Verdict)
	}
	f.Node = live.Own.Peer.Node
	all, err := p.Engine.Events(ctx, f)
	if err != nil {
		return nil, fmt.Sprintf("The log of %s cannot be read now: %v", f.Node, err)
	}
	for _, e := range all {
		if e.Node != p.Node { // its own entries only: ours stand there already
			list = append(list, e)
		}
	}
	return list, ""
}

// countText says how many events are shown, and why none.
func countText(n int, f control.EventFilter) string {
	switch {
	case n == f.Limit:
		return fmt.Sprintf("The newest %d events; filter to see older ones.", n)
	case n == 0 && f.Node+f.Severity+f.Text != "":
		return "No event matches the filter."
	case n == 0:
		return "Nothing has happened yet."
	case n == 1:
		return "One event."
	}
	return fmt.Sprintf("%d events, newest first.", n)
}
