package handlers

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/templates"
)

// Tools serves the page Tools (A50, A51).
func (p *Pages) Tools(w http.ResponseWriter, r *http.Request) error {
	view := templates.ToolsPage{Frame: p.frame(r, "Tools", "/ha/tools"), Sections: []templates.ToolSection{p.switchTools()}}
	if s := p.Live().Own; s != nil && p.awake() == nil {
		for _, section := range []templates.ToolSection{personTools(s), splitTools(s), aloneTools(s)} {
			if len(section.Tools) > 0 {
				view.Sections = append(view.Sections, section)
			}
		}
		view.Sections = append(view.Sections, armTools(s))
	}
	return p.render(w, r, http.StatusOK, templates.Tools(view))
}

func (p *Pages) switchTools() templates.ToolSection {
	master, known := p.serving()
	take := templates.Tool{ID: "make-master", Title: "Make myself the running master", Button: "Make myself the running master", Href: "/ha/tools/takeover", Primary: true,
		Help: "The other node becomes the slave if it is the running master now."}
	give := templates.Tool{ID: "make-slave", Title: "Make myself the running slave", Button: "Make myself the running slave", Href: "/ha/tools/release",
		Help: "The other node becomes the master if this one is the running master now."}
	switch {
	case !known:
		take.Disabled = "This node's engine does not answer: nothing can be ordered now."
		give.Disabled = take.Disabled
	case master:
		take.Disabled = "This node is the running master already."
	default:
		give.Disabled = "This node is not the running master."
	}
	return templates.ToolSection{ID: "switch-over", Title: "Switch over", Tools: []templates.Tool{take, give},
		Help: "Moves the role while both nodes are well, for maintenance or an update. The next page shows what would happen; nothing moves before you confirm."}
}

// personTools are for when a node waits for a person.
func personTools(s *control.Status) templates.ToolSection {
	section := templates.ToolSection{ID: "person", Title: "It waits for you", Help: "This node does not become master by itself. By force it starts with the data that it has: what the other node may have written since is then not in them."}
	switch {
	case s.State == string(ha.Blocked):
		section.Tools = append(section.Tools, templates.Tool{ID: "start-here", Title: "Start with this node's data", Button: "Start with this node's data", Href: "/ha/tools/takeover?force=on", Danger: true,
			Help: "For when the other node will not come back."})
	case s.RunningRole != string(ha.MasterSide) && s.Peer.Verdict == string(ha.PeerSick):
		section.Tools = append(section.Tools, templates.Tool{ID: "start-here", Title: "It hangs: take over", Button: "Take over by force", Href: "/ha/tools/takeover?force=on", Danger: true,
			Help: "The other node's kernel answers, its programs do not. Make sure that it is really gone, best by switching it off."})
	}
	return section
}

func splitTools(s *control.Status) templates.ToolSection {
	section := templates.ToolSection{ID: "split-brain", Title: "Resolve split-brain", Help: "Both nodes wrote without each other. One history goes on; the other one is replaced by it."}
	for _, v := range s.Volumes {
		if v.SplitBrain {
			section.Tools = append(section.Tools, templates.Tool{ID: "resolve-" + v.Name, Title: "Volume " + v.Name, Button: "Choose the survivor", Href: "/ha/tools/resolve/" + v.Name, Danger: true,
				Help: "The next page shows both sides. Nothing is changed before you name the node whose history goes."})
		}
	}
	return section
}

func aloneTools(s *control.Status) templates.ToolSection {
	section := templates.ToolSection{ID: "alone", Title: "Go on alone", Help: "A volume holds its writes because nobody could answer whether the other node's copy may fall behind."}
	for _, v := range s.Volumes {
		if v.Holding {
			section.Tools = append(section.Tools, templates.Tool{ID: "continue-" + v.Name, Title: "Volume " + v.Name, Button: "Go on alone", Href: "/ha/tools/continue/" + v.Name, Danger: true,
				Help: "Only if the other node surely does not serve: it must be off, or cut from its clients."})
		}
	}
	return section
}

func armTools(s *control.Status) templates.ToolSection {
	standby := templates.Tool{ID: "standby-on", Title: "Standby", Button: "Switch standby on", Action: "/ha/tools/standby", Value: "on", Help: "This node must not become master until standby ends. A running master hands over first."}
	if s.State == string(ha.Standby) {
		standby = templates.Tool{ID: "standby-off", Title: "Standby", Button: "End standby", Action: "/ha/tools/standby", Value: "off", Help: "This node may become master again."}
	}
	armed := templates.Tool{ID: "disarm", Title: "Armed", Button: "Disarm", Action: "/ha/tools/armed", Value: "off", Danger: true, Help: "Disarmed, the pair observes and acts on nothing: no takeover protects your services."}
	if !s.Armed {
		armed = templates.Tool{ID: "arm-now", Title: "Disarmed", Button: "Arm", Action: "/ha/tools/armed", Value: "on", Primary: true, Help: "The pair acts again."}
	}
	return templates.ToolSection{ID: "arm", Title: "Standby and arming", Help: "For work on a node or on the network.", Tools: []templates.Tool{standby, armed}}
}

// Standby switches standby on or off.
func (p *Pages) Standby(w http.ResponseWriter, r *http.Request) error {
	return p.flip(w, r, toggle{what: "standby", order: p.Engine.Standby, was: func(s *control.Status) bool { return s.State == string(ha.Standby) },
		said: map[bool]string{true: "This node is on standby.", false: "Standby has ended."}})
}

// Armed arms or disarms.
func (p *Pages) Armed(w http.ResponseWriter, r *http.Request) error {
	return p.flip(w, r, toggle{what: "armed", order: p.Engine.Armed, was: func(s *control.Status) bool { return s.Armed },
		said: map[bool]string{true: "The pair is armed.", false: "The pair is disarmed: it observes and moves nothing by itself."}})
}

// toggle is a switch of the page Tools.
type toggle struct {
	what  string
	order func(context.Context, control.Switch) (control.Outcome, error)
	was   func(*control.Status) bool
	said  map[bool]string // what is so afterwards
}

func (p *Pages) flip(w http.ResponseWriter, r *http.Request, f toggle) error {
	word := r.PostFormValue("on")
	if word != "on" && word != "off" {
		return &Fail{Status: http.StatusBadRequest, Text: fmt.Sprintf("%q switches %s neither on nor off, so nothing was done: open the page Tools again.", clip(word), f.what)}
	}
	if err := p.awake(); err != nil {
		return err
	}
	on, old := word == "on", onOff(f.was(p.Live().Own))
	outcome, err := p.ordered(w, r, f.what, old, word, func(ctx context.Context) (control.Outcome, error) {
		return f.order(ctx, control.Switch{On: on, By: VisitorOf(ctx).User})
	})
	if err != nil {
		return p.done(w, r, "/ha/tools", templates.Critical, err.Error())
	}
	return p.result(w, r, "/ha/tools", f.said[on], outcome)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// result shows an order's outcome on the page that the browser is sent to; said is the sentence for an outcome that has none of its own.
func (p *Pages) result(w http.ResponseWriter, r *http.Request, to, said string, o control.Outcome) error {
	kind, text := templates.OK, o.Text
	if !o.Done {
		kind = templates.Critical
	}
	if text == "" || text == ha.ReasonDone.Text() {
		text = said
	}
	if o.Took >= tookShown {
		text += fmt.Sprintf(" It took %s.", spanText(o.Took))
	}
	p.landed(r.Context())
	return p.done(w, r, to, kind, text)
}

const (
	tookShown = 100                     // ms from which on the time of an order is worth a word
	landLimit = 1500 * time.Millisecond // an engine's status is at most a second old
	landEvery = 20 * time.Millisecond
)

// landed waits a moment for the status that shows what an order has done: without it, the page after a switch-over would say that
// nobody serves.
func (p *Pages) landed(ctx context.Context) {
	for until := time.Now().Add(landLimit); time.Now().Before(until) && ctx.Err() == nil && moving(p.Live().Own); {
		time.Sleep(landEvery)
	}
}

// moving says whether a role moves on one of the nodes.
func moving(s *control.Status) bool {
	if s == nil {
		return false
	}
	for _, state := range []string{s.State, stateOf(s.Peer)} {
		if state == string(ha.Promoting) || state == string(ha.Demoting) {
			return true
		}
	}
	return false
}
