package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/templates"
)

// Resolve shows both sides of a split-brain, and gives up the history of the node that is named twice.
func (p *Pages) Resolve(w http.ResponseWriter, r *http.Request) error {
	v, peer, err := p.volume(r)
	if err != nil {
		return err
	}
	if !v.SplitBrain {
		return p.done(w, r, "/ha/tools", templates.Info, "Volume "+v.Name+" has no split-brain: there is nothing to resolve.")
	}
	choice := templates.Field{Kind: templates.SelectField, Name: "discard", Label: "The node whose history goes", Value: r.PostFormValue("discard"),
		Options: []templates.Option{{Value: "", Label: "choose a node"}, {Value: p.Node, Label: p.Node + ": this node's data are replaced"}, {Value: peer, Label: peer + ": the other node's data are replaced"}}}
	confirm := r.PostFormValue("confirm")
	var problem *templates.Problem
	switch {
	case r.Method != http.MethodPost:
	case choice.Value != p.Node && choice.Value != peer:
		problem = &templates.Problem{Href: "#" + choice.ID(), Text: "No node is chosen: choose the one whose history goes."}
		choice.Error = problem.Text
	case confirm != choice.Value:
		problem = &templates.Problem{Href: "#" + templates.FieldID("confirm"), Text: fmt.Sprintf("%q is not the node that you chose: type %s.", confirm, choice.Value)}
	default:
		return p.volumeOrder(w, r, v.Name, "resolve", control.VolumeOrder{Discard: choice.Value, Confirm: confirm, By: VisitorOf(r.Context()).User})
	}
	view := templates.ConfirmPage{
		Frame: p.frame(r, "Resolve split-brain of "+v.Name, "/ha/tools"), Action: "/ha/tools/resolve/" + v.Name, Danger: true, Button: "Give this history up",
		Lead:   "Both nodes wrote to this volume without each other. The survivor's data replace those of the other node.",
		State:  templates.State{Kind: templates.Info, Word: "Neither copy is changed until you confirm."},
		Facts:  []templates.Table{p.bothSides(v.Name)},
		Choice: &choice, Confirm: confirmField("Type that node's name again", confirm, problem),
		Warning: "What the victim wrote since the two parted is gone from its disk afterwards. Save what you need from it first.",
	}
	return p.ask(w, r, view, problem)
}

// Continue lets a volume that holds its writes go on alone, on a person's word.
func (p *Pages) Continue(w http.ResponseWriter, r *http.Request) error {
	v, peer, err := p.volume(r)
	if err != nil {
		return err
	}
	if !v.Holding {
		return p.done(w, r, "/ha/tools", templates.Info, "Volume "+v.Name+" does not hold its writes: there is nothing to do.")
	}
	confirm := r.PostFormValue("confirm")
	var problem *templates.Problem
	if r.Method == http.MethodPost {
		if confirm == peer {
			return p.volumeOrder(w, r, v.Name, "continue", control.VolumeOrder{Confirm: confirm, By: VisitorOf(r.Context()).User})
		}
		problem = &templates.Problem{Href: "#" + templates.FieldID("confirm"), Text: fmt.Sprintf("%q is not the other node's name: type %s.", confirm, peer)}
	}
	view := templates.ConfirmPage{
		Frame: p.frame(r, "Go on alone with "+v.Name, "/ha/tools"), Action: "/ha/tools/continue/" + v.Name, Danger: true, Button: "Go on without " + peer,
		Lead:    "The volume acknowledges writes again although they are on this node's disk only. The other node's copy falls behind.",
		State:   templates.State{Kind: templates.Critical, Word: "The writes of " + v.Name + " are held."},
		Facts:   []templates.Table{p.bothSides(v.Name)},
		Warning: "If " + peer + " serves as well at this moment, both write without each other: a split-brain. Make sure that it is off, or cut from its clients.",
		Confirm: confirmField("Type the other node's name, "+peer, confirm, problem),
	}
	return p.ask(w, r, view, problem)
}

func (p *Pages) ask(w http.ResponseWriter, r *http.Request, view templates.ConfirmPage, problem *templates.Problem) error {
	status := http.StatusOK
	if problem != nil {
		status, view.Frame.Problems, view.Frame.Refused = http.StatusUnprocessableEntity, []templates.Problem{*problem}, notDone
	}
	return p.render(w, r, status, templates.Confirm(view))
}

// volumeOrder sends a verb and shows its outcome.
func (p *Pages) volumeOrder(w http.ResponseWriter, r *http.Request, name, verb string, o control.VolumeOrder) error {
	if err := p.awake(); err != nil {
		return err
	}
	outcome, err := p.ordered(w, r, "volume."+verb, name, fmt.Sprintf("discard=%s confirm=%s", o.Discard, o.Confirm), func(ctx context.Context) (control.Outcome, error) {
		return p.Engine.Volume(ctx, name, verb, o)
	})
	var known *control.Error
	if errors.As(err, &known) {
		return p.done(w, r, "/ha/tools", templates.Critical, known.Text)
	}
	if err != nil {
		return err
	}
	return p.result(w, r, "/ha/status", "Volume "+name+": done.", outcome)
}

// volume finds the volume that the address names.
func (p *Pages) volume(r *http.Request) (control.Volume, string, error) {
	live := p.Live()
	if live.Own == nil || p.stale(live.OwnAt) {
		return control.Volume{}, "", &Fail{Status: http.StatusServiceUnavailable, Text: "This node's engine does not answer: try again when it does."}
	}
	name := r.PathValue("volume")
	for _, v := range live.Own.Volumes {
		if v.Name == name {
			return v, live.Own.Peer.Node, nil
		}
	}
	return control.Volume{}, "", NotFound("volume " + name)
}

// bothSides shows what each node holds of a volume, the configured master first; the other node's row is its own word if it answers.
func (p *Pages) bothSides(name string) templates.Table {
	live := p.Live()
	t := templates.Table{ID: "both-sides", Caption: "What each side holds", Head: []string{"Node", "Disk", "Role", "Not on the other side", "Mounted at", "Generation"}, Empty: "Neither side answers."}
	side := func(s *control.Status) {
		for _, v := range s.Volumes {
			if v.Name == name {
				t.Rows = append(t.Rows, []templates.Cell{{Text: s.Node}, {Text: v.Disk}, {Text: v.Role}, {Text: outOfSync(v), Number: true}, {Text: orDash(v.Mount), Mono: true}, {Text: dash(v.Generation), Mono: true}})
			}
		}
	}
	side(live.Own)
	if live.Peer != nil && !p.stale(live.PeerAt) {
		side(live.Peer)
	} else {
		t.Rows = append(t.Rows, []templates.Cell{{Text: live.Own.Peer.Node}, {State: templates.State{Kind: templates.Unknown, Word: "does not answer"}}, {Text: "-"}, {Text: "-"}, {Text: "-"}, {Text: "-"}})
	}
	if live.Own.ConfiguredRole == string(ha.SlaveSide) {
		slices.Reverse(t.Rows)
	}
	return t
}
