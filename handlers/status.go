package handlers

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/templates"
)

const (
	statusRefresh = 10 // seconds, without JavaScript
	eventsShown   = 8  // on Status
)

// Status serves the page Status.
func (p *Pages) Status(w http.ResponseWriter, r *http.Request) error {
	frame := p.frame(r, "Status", "/ha/status")
	frame.Live, frame.Refresh = "/live?page=%2Fha%2Fstatus", statusRefresh
	return p.render(w, r, http.StatusOK, templates.Status(templates.StatusPage{Frame: frame, Parts: p.statusParts(r.Context())}))
}

// statusParts makes the live parts; the page and the live stream use the same.
func (p *Pages) statusParts(ctx context.Context) templates.StatusParts {
	live := p.Live()
	if live.Own == nil {
		return p.blindParts()
	}
	s, stale := live.Own, p.stale(live.OwnAt)
	peer := live.Peer
	if peer != nil && (p.stale(live.PeerAt) || !s.Peer.Alive) {
		peer = nil // what it said before it fell silent says nothing of now
	}
	parts := templates.StatusParts{
		Stale:      stale,
		Sentence:   p.sentence(live, peer, stale),
		Wide:       drawing(s, stale, false),
		Tall:       drawing(s, stale, true),
		Conditions: conditionsOf(s, stale),
		Takeover:   takeoverOf(s, peer, stale),
		Procedure:  procedureOf(s.Procedure, stale),
		Tables:     []templates.Table{linkTable(s, stale), volumeTable(s, stale), addressTable(s, stale), serviceTable(s, stale), referenceTable(s, stale), processTable(s)},
		Events:     p.lastEvents(ctx),
	}
	if live.Explain != nil {
		parts.Why = whyOf(*live.Explain)
	}
	if parts.Why.Sentence == "" {
		parts.Why.Sentence = "The engine has not said yet."
	}
	return parts
}

// blindParts is what stands there as long as the engine never answered.
func (p *Pages) blindParts() templates.StatusParts {
	unknown := templates.State{Kind: templates.Unknown, Word: "Unknown"}
	return templates.StatusParts{
		Stale:    true,
		Sentence: templates.State{Kind: templates.Unknown, Word: "This node's engine does not answer: nothing is known of the pair. If it does not come back by itself, look at its log."},
		Takeover: templates.Takeover{Title: "Can the other node take over now?", State: unknown, Text: "Nobody knows as long as the engine does not answer."},
		Why:      templates.Why{Sentence: "The engine has not said yet."},
		Wide:     templates.Drawing{Width: 1, Height: 1}, Tall: templates.Drawing{Width: 1, Height: 1, Tall: true},
		Events: p.lastEvents(context.Background()),
	}
}

// sentence says in one line how the pair is.
func (p *Pages) sentence(live Snapshot, peer *control.Status, stale bool) templates.State {
	s := live.Own
	say := func(kind, format string, args ...any) templates.State {
		return templates.State{Kind: kind, Word: fmt.Sprintf(format, args...)}
	}
	if stale {
		return say(templates.Unknown, "No word from this node's engine for %s: what stands below is old.", spanText(p.Now().Sub(live.OwnAt).Milliseconds()))
	}
	for _, v := range s.Volumes {
		if v.SplitBrain {
			return say(templates.Critical, "Split-brain on %s: both nodes wrote without each other. Neither copy is changed until you choose the survivor.", v.Name)
		}
	}
	peerRuns := s.Peer.Alive && s.Peer.RunningRole != nil && *s.Peer.RunningRole == string(ha.MasterSide)
	switch {
	case s.RunningRole == string(ha.MasterSide) && s.Peer.Verdict == string(ha.PeerSuspect):
		return say(templates.Warning, "%s serves as master; it misses the beats of %s and looks whether that node still answers.", s.Node, s.Peer.Node)
	case s.RunningRole == string(ha.MasterSide) && !s.Peer.Alive:
		return say(templates.Critical, "%s serves as master alone: %s is %s.", s.Node, s.Peer.Node, s.Peer.Verdict)
	case s.RunningRole == string(ha.MasterSide):
		return standing(s.Node, s.Peer.Node, stateOf(s.Peer), readiness(s, peer))
	case peerRuns:
		return standing(s.Peer.Node, s.Node, s.State, &s.Takeover)
	case s.State == string(ha.Promoting), s.State == string(ha.Demoting), s.State == string(ha.Starting):
		return say(templates.Info, "%s is %s; nobody serves at this moment.", s.Node, s.State)
	case s.Peer.Alive && s.Peer.State != nil && *s.Peer.State == string(ha.Promoting):
		return say(templates.Info, "%s is promoting; nobody serves at this moment.", s.Peer.Node)
	case s.Peer.Verdict == string(ha.PeerSuspect):
		return say(templates.Warning, "%s misses the beats of %s and looks whether it still serves.", s.Node, s.Peer.Node)
	}
	if s.State == string(ha.Blocked) {
		return say(templates.Critical, "Nobody serves: %s waits for %s or for you, %s is %s.", s.Node, s.Peer.Node, s.Peer.Node, s.Peer.Verdict)
	}
	return say(templates.Critical, "Nobody serves: %s is %s, %s is %s.", s.Node, s.State, s.Peer.Node, s.Peer.Verdict)
}

// stateOf is the state that the other node told; "" if it told none.
func stateOf(peer control.Peer) string {
	if peer.State == nil {
		return ""
	}
	return *peer.State
}

// standing says whether the one that stands by could take over.
func standing(master, slave, state string, t *control.Takeover) templates.State {
	switch {
	case state == string(ha.Starting), state == string(ha.Demoting):
		return templates.State{Kind: templates.Warning, Word: fmt.Sprintf("%s serves as master; %s is %s.", master, slave, state)}
	case t == nil:
		return templates.State{Kind: templates.Warning, Word: fmt.Sprintf("%s serves as master; whether %s could take over is not known.", master, slave)}
	case t.Possible:
		return templates.State{Kind: templates.OK, Word: fmt.Sprintf("%s serves as master, %s is ready to take over.", master, slave)}
	}
	why := "the reason stands below"
	if len(t.Blockers) > 0 {
		why = inShort(t.Blockers[0])
	}
	return templates.State{Kind: templates.Warning, Word: fmt.Sprintf("%s serves as master; %s cannot take over: %s.", master, slave, why)}
}

// blockerWords say in the sentence what the blocker's own text, which speaks of "here" and "there", says in full below.
var blockerWords = map[ha.Reason]string{
	ha.ReasonDiskOutdated: "its copy of the data is outdated", ha.ReasonDiskInconsistent: "its copy of the data is not complete yet",
	ha.ReasonDiskConsistent: "its copy of the data may not be the newest", ha.ReasonDiskFailed: "its disk does not work",
	ha.ReasonVolumeGone: "its volume does not work", ha.ReasonStandby: "it is on standby", ha.ReasonDisarmed: "the pair is disarmed",
	ha.ReasonInactive: "high availability is not active", ha.ReasonReferenceLost: "no reference point answers it",
	ha.ReasonNoReference: "no reference point is configured", ha.ReasonPromoteFailed: "its last promotion failed",
	ha.ReasonUnstored: "its own state cannot be stored",
}

// inShort is a blocker as a part of a sentence.
func inShort(b ha.Blocker) string {
	if words := blockerWords[ha.Reason(b.Code)]; words != "" {
		return words
	}
	return strings.TrimSuffix(b.Text, ".")
}

// readiness is the peer's own answer whether it could take over; nil if it is not known.
func readiness(s, peer *control.Status) *control.Takeover {
	if peer == nil {
		return nil
	}
	return &peer.Takeover
}

// takeoverOf answers "Can the other node take over now?", or whether this one can.
func takeoverOf(s, peer *control.Status, stale bool) templates.Takeover {
	t, node, title := readiness(s, peer), s.Peer.Node, "Can the other node take over now?"
	if s.RunningRole != string(ha.MasterSide) {
		t, node, title = &s.Takeover, s.Node, "Can this node take over now?"
	}
	out := templates.Takeover{Title: title}
	switch {
	case t == nil:
		out.State, out.Text = templates.State{Kind: templates.Unknown, Word: "Unknown"}, fmt.Sprintf("%s does not answer the question.", node)
		return out
	case t.Possible:
		out.State, out.Text = templates.State{Kind: templates.OK, Word: "Yes"}, fmt.Sprintf("%s could become the running master at this moment.", node)
	case s.RunningRole == string(ha.MasterSide):
		out.State, out.Text = templates.State{Kind: templates.Warning, Word: "No"}, fmt.Sprintf("%s says what stands in its way:", node)
	default:
		out.State, out.Text = templates.State{Kind: templates.Warning, Word: "No"}, "This stands in the way:"
	}
	if tools := personTools(s); len(tools.Tools) > 0 {
		out.Link, out.LinkLabel = "/ha/tools#"+tools.ID, tools.Title+": "+tools.Tools[0].Title
	}
	for _, b := range t.Blockers {
		out.Blockers = append(out.Blockers, templates.Blocker{Code: b.Code, Text: b.Text})
	}
	out.State = aged(out.State, stale)
	return out
}

func whyOf(e control.Explanation) templates.Why {
	w := templates.Why{Sentence: e.Sentence, Rungs: e.Rungs, Remains: e.Remains}
	for _, r := range e.Reasons {
		if !strings.Contains(e.Sentence, r.Text) { // said already
			w.Reasons = append(w.Reasons, r.Text)
		}
	}
	return w
}

// remedies leads from a condition to the page where it is dealt with.
var remedies = map[string]templates.Link{
	"split_brain":     {Path: "/ha/tools#split-brain", Title: "Resolve split-brain"},
	"volume.holding":  {Path: "/ha/tools#alone", Title: "Go on alone"},
	"armed.off":       {Path: "/ha/tools#arm", Title: "Arm the pair"},
	"standby.on":      {Path: "/ha/tools#arm", Title: "End standby"},
	"reference.none":  {Path: "/ha/general", Title: "Enter a reference point"},
	"link.single":     {Path: "/ha/heartbeat", Title: "To the links"},
	"settings.differ": {Path: "/ha/general", Title: "To the settings"},
	"service.failed":  {Path: "/ha/services", Title: "To the services"},
	"peer.sick":       {Path: "/ha/tools#person", Title: "It hangs: take over"},
}

func conditionsOf(s *control.Status, stale bool) []templates.Condition {
	var list []templates.Condition
	for _, severity := range []ha.Severity{ha.Critical, ha.Warning, ha.Info} { // the worst first
		for _, c := range s.Conditions {
			if c.Severity != severity {
				continue
			}
			to := remedies[c.Code]
			list = append(list, templates.Condition{
				State: aged(templates.State{Kind: severityKind(c.Severity), Word: string(c.Severity)}, stale),
				Code:  c.Code, Side: sideWord(c.Side), Text: c.Text, Remedy: c.Remedy, Since: moment(c.Since, time.Now()), Link: to.Path, LinkLabel: to.Title,
			})
		}
	}
	return list
}

func sideWord(side string) string {
	switch side {
	case "local":
		return "this node"
	case "peer":
		return "the other node"
	}
	return "the pair"
}

func procedureOf(p *control.Procedure, stale bool) *templates.Procedure {
	if p == nil {
		return nil
	}
	kind := procedureWord(p.Kind)
	out := &templates.Procedure{Title: fmt.Sprintf("Last %s, begun %s, epoch %s", kind, day(p.Began), p.Epoch), State: templates.State{Kind: templates.Info, Word: p.State}}
	if p.State == "running" {
		out.Title = fmt.Sprintf("Running now: %s, epoch %s", kind, p.Epoch)
	}
	out.Steps = stepsOf(p.Steps, stale)
	return out
}

func stepsOf(steps []control.Step, stale bool) []templates.Step {
	kinds := map[string]string{"done": templates.OK, "running": templates.Info, "failed": templates.Critical}
	var list []templates.Step
	for _, s := range steps {
		step := templates.Step{Code: s.Name, Name: stepWord(s.Name), Error: s.Error, State: templates.State{Kind: templates.Quiet, Word: s.State}}
		if kind := kinds[s.State]; kind != "" {
			step.State = aged(templates.State{Kind: kind, Word: s.State}, stale)
		}
		if s.MS != nil {
			step.Time = spanText(*s.MS)
		}
		list = append(list, step)
	}
	return list
}

// linkTable shows every link as this node hears it.
func linkTable(s *control.Status, stale bool) templates.Table {
	t := templates.Table{ID: "links", Caption: "Links", Empty: "There is no link: the nodes cannot hear each other.",
		Head: []string{"Link", "Kind", "State", "Last beat", "Interval", "Lost", "Peer hears us", "Longest gap", "Refused"}}
	for _, l := range s.Links {
		kind := l.Kind
		if l.Sync {
			kind += ", sync"
		}
		problem := ""
		if l.Problem != nil {
			problem = *l.Problem
		}
		t.Rows = append(t.Rows, []templates.Cell{
			{Text: l.Name, Mono: true}, {Text: kind}, {State: aged(linkState(l), stale), Text: problem},
			{Text: msText(l.LastHeardMS), Number: true}, {Text: spanText(l.IntervalMS), Number: true}, {Text: fmt.Sprint(l.Lost), Number: true},
			{Text: yesNo(l.HeardByPeer)}, {Text: msText(l.LongestGapMS), Number: true}, {Text: refused(l.Refused)},
		})
	}
	return t
}

func linkState(l control.Link) templates.State {
	oneWay := l.HeardByPeer != nil && !*l.HeardByPeer
	switch {
	case l.State == string(ha.LinkUp) && oneWay:
		return templates.State{Kind: templates.Warning, Word: "one way"}
	case l.State == string(ha.LinkUp):
		return templates.State{Kind: templates.OK, Word: "up"}
	case l.Carrier != nil && !*l.Carrier:
		return templates.State{Kind: templates.Warning, Word: "no carrier"}
	case l.State == string(ha.LinkQuiet):
		return templates.State{Kind: templates.Warning, Word: "quiet"}
	}
	return templates.State{Kind: templates.Unknown, Word: "never heard"}
}

// refused lists what was not accepted. A node's own beats, which a bridge may send back, are no fault and not shown.
func refused(counts map[string]uint64) string {
	text := ""
	for _, reason := range []string{"ttl", "cluster", "key", "replay", "malformed", "echo"} {
		if n := counts[reason]; n > 0 {
			text += fmt.Sprintf("%s %d ", reason, n)
		}
	}
	if text == "" {
		return "-"
	}
	return text
}

func yesNo(b *bool) string {
	switch {
	case b == nil:
		return "not known"
	case *b:
		return "yes"
	}
	return "no"
}

func referenceTable(s *control.Status, stale bool) templates.Table {
	t := templates.Table{ID: "references", Caption: "Reference points", Head: []string{"Name", "State", "Age"}, Empty: "None is configured: no node takes over a volume by itself."}
	kinds := map[string]templates.State{"good": {Kind: templates.OK, Word: "answers"}, "bad": {Kind: templates.Critical, Word: "silent"}}
	for _, r := range s.References {
		state, ok := kinds[r.State]
		if !ok {
			state = templates.State{Kind: templates.Unknown, Word: "unknown"}
		}
		t.Rows = append(t.Rows, []templates.Cell{{Text: r.Name}, {State: aged(state, stale)}, {Text: msText(r.AgeMS), Number: true}})
	}
	return t
}

func processTable(s *control.Status) templates.Table {
	t := templates.Table{ID: "processes", Caption: "Processes of this node", Head: []string{"Process", "PID", "Restarts", "Memory"}, Empty: "None was reported."}
	for _, x := range s.Processes {
		pid, memory := "-", "-" // of a process that does not run
		if x.PID != 0 {
			pid = itoa(x.PID)
		}
		if x.RSSBytes != 0 {
			memory = bytesText(x.RSSBytes)
		}
		t.Rows = append(t.Rows, []templates.Cell{{Text: x.Name, Mono: true}, {Text: pid, Number: true}, {Text: itoa(x.Restarts), Number: true}, {Text: memory, Number: true}})
	}
	return t
}

// lastEvents shows this node's newest events, newest first.
func (p *Pages) lastEvents(ctx context.Context) templates.Table {
	t := templates.Table{ID: "events", Caption: "Last events of this node", Head: []string{"Time", "Severity", "What", "Code"}, Empty: "Nothing has happened yet."}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	list, err := p.Log.List(ctx, control.EventFilter{Limit: eventsShown})
	if err != nil {
		t.Empty = "The log cannot be read: " + err.Error()
	}
	for i := len(list) - 1; i >= 0; i-- {
		e := list[i]
		t.Rows = append(t.Rows, []templates.Cell{{Text: day(e.At), Number: true}, {State: templates.State{Kind: severityKind(e.Severity), Word: string(e.Severity)}}, {Text: e.Text}, {Text: e.Code, Mono: true}})
	}
	return t
}
