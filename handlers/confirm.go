package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"evenkeel/ha/control"
	"evenkeel/templates"
)

// orderPatience is how long an answer to an order may take to be written: an order answers when its procedure has ended.
const orderPatience = 4 * time.Minute

// patient lifts the server's limits for this answer; a server that cannot do so keeps its own.
func patient(w http.ResponseWriter) {
	c, until := http.NewResponseController(w), time.Now().Add(orderPatience)
	_ = c.SetReadDeadline(until)
	_ = c.SetWriteDeadline(until)
}

// ordered gives an order. The audit log has it before it is given, and what became of it afterwards: also one that fails, or that ends
// this process.
func (p *Pages) ordered(w http.ResponseWriter, r *http.Request, action, old, new string, give func(context.Context) (control.Outcome, error)) (control.Outcome, error) {
	visitor := VisitorOf(r.Context())
	p.audit(r, visitor, action, old, "ordered: "+new)
	patient(w)
	outcome, err := give(context.WithoutCancel(r.Context()))
	p.audit(r, visitor, action, old, became(outcome, err))
	return outcome, err
}

// became says what became of an order.
func became(outcome control.Outcome, err error) string {
	var known *control.Error
	switch {
	case errors.As(err, &known) && known.Exit == control.ExitRefused:
		return "refused: " + known.Text
	case err != nil:
		return "failed: " + err.Error()
	case !outcome.Done:
		return "not done: " + outcome.Text
	}
	return "done: " + outcome.Text
}

// order is one of the two buttons.
type order struct {
	path, title, lead, button string
	give                      func(context.Context, control.Order) (control.Outcome, error)
	byForce                   bool // it can be ordered by force
}

func (p *Pages) takeover() order {
	return order{path: "/ha/tools/takeover", title: "Make myself the running master", button: "Make myself the running master",
		lead: "The other node hands over: it stops its services, unmounts its volumes, takes its addresses off. Then this node starts.", give: p.Engine.Takeover, byForce: true}
}

func (p *Pages) release() order {
	return order{path: "/ha/tools/release", title: "Make myself the running slave", button: "Make myself the running slave",
		lead: "This node stops its services, unmounts its volumes, takes its addresses off. Then the other node starts.", give: p.Engine.Release}
}

// Takeover shows the dry run of A50, and carries it out when it is posted.
func (p *Pages) Takeover(w http.ResponseWriter, r *http.Request) error {
	return p.switchOver(w, r, p.takeover())
}

// Release shows the dry run of A51, and carries it out when it is posted.
func (p *Pages) Release(w http.ResponseWriter, r *http.Request) error {
	return p.switchOver(w, r, p.release())
}

func (p *Pages) switchOver(w http.ResponseWriter, r *http.Request, o order) error {
	if r.Method != http.MethodPost {
		return p.preview(w, r, o, o.byForce && r.URL.Query().Get("force") == "on", http.StatusOK, "", nil)
	}
	force := o.byForce && r.PostFormValue("force") == "on"
	confirm := r.PostFormValue("confirm")
	if force && confirm != p.Node {
		return p.preview(w, r, o, true, http.StatusUnprocessableEntity, confirm, &templates.Problem{Href: "#" + templates.FieldID("confirm"),
			Text: fmt.Sprintf("%q is not this node's name: type %s.", confirm, p.Node)})
	}
	if err := p.awake(); err != nil {
		return err
	}
	digest := r.PostFormValue("digest")
	if digest == "" { // the engine would take it for an order that wants no preview
		return &Fail{Status: http.StatusBadRequest, Text: "The order does not say which preview it confirms, so nothing was done: open the page again."}
	}
	outcome, err := p.ordered(w, r, o.title, "", fmt.Sprintf("force=%t digest=%s", force, digest), func(ctx context.Context) (control.Outcome, error) {
		return o.give(ctx, control.Order{Force: force, Confirm: confirm, Digest: digest, By: VisitorOf(ctx).User})
	})
	var refused *control.Error
	if errors.As(err, &refused) && refused.Exit == control.ExitRefused {
		return p.preview(w, r, o, force, http.StatusConflict, "", &templates.Problem{Href: "#verdict", Text: refused.Text})
	}
	if err != nil {
		return err
	}
	return p.result(w, r, "/ha/status", o.title+": done.", outcome)
}

// preview shows what would happen. problem is what was wrong with a post, if it was one.
func (p *Pages) preview(w http.ResponseWriter, r *http.Request, o order, force bool, status int, typed string, problem *templates.Problem) error {
	if err := p.awake(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), askLimit)
	defer cancel()
	outcome, err := o.give(ctx, control.Order{DryRun: true, Force: force, Confirm: confirmIf(force, p.Node), By: VisitorOf(r.Context()).User})
	if err != nil {
		return err
	}
	view := templates.ConfirmPage{Frame: p.frame(r, o.title, "/ha/tools"), Lead: o.lead, Action: o.path}
	if problem != nil {
		view.Frame.Problems, view.Frame.Refused = []templates.Problem{*problem}, notDone
	}
	for _, b := range outcome.Blockers {
		view.Blockers = append(view.Blockers, templates.Blocker{Code: b.Code, Text: b.Text})
	}
	blocked := len(outcome.Blockers) > 0
	idle := !blocked && outcome.Code != "possible" // it is so already: an old tab, or a role that moved meanwhile
	switch {
	case blocked:
		view.State = templates.State{Kind: templates.Critical, Word: "It cannot be done now."}
		if force {
			view.Frame.Title, view.Lead = forceTitle, forceLead
			view.State.Word = "Not even by force: what is named below stands in the way of that too."
		}
	case idle:
		view.Lead, view.State = "Nothing would be done.", templates.State{Kind: templates.Quiet, Word: outcome.Text}
	default:
		view.State = templates.State{Kind: templates.OK, Word: "It can be done now."}
		view.Steps, view.Gap = planOf(outcome.Steps), gapText(outcome.ExpectedGapMS)
		view.Button = o.button
		view.Hidden = []templates.Hidden{{Name: "digest", Value: outcome.Digest}}
	}
	switch {
	case force && !blocked && !idle:
		p.byForce(&view, typed, problem)
	case blocked && !force && o.byForce:
		view.Alone, view.AloneURL = "Start with this node's data by force", o.path+"?force=on"
	}
	return p.render(w, r, status, templates.Confirm(view))
}

// notDone heads what was wrong with a confirmation.
const notDone = "Nothing was done. Please correct:"

// planOf shows the steps of a dry run, with the time that each took last.
func planOf(steps []control.Step) []templates.Step {
	list := stepsOf(steps, false)
	for i := range list {
		list[i].State = templates.State{Kind: templates.Quiet, Word: "planned"}
		if list[i].Time != "" {
			list[i].Time += " last time"
		}
	}
	return list
}

// What an order by force is called, and what it does.
const (
	forceTitle = "Start with this node's data"
	forceLead  = "This node becomes the running master with the data that it has, whatever the other node holds."
)

// byForce adds what an order by force needs: the warning, and this node's name typed again.
func (p *Pages) byForce(view *templates.ConfirmPage, typed string, problem *templates.Problem) {
	view.Frame.Title, view.Lead = forceTitle, forceLead
	view.State = templates.State{Kind: templates.Critical, Word: "By force: the safety rules do not stand in the way."}
	view.Danger, view.Button = true, "Start "+p.Node+" with its own data"
	view.Warning = "If the other node serves, or wrote since this one lost it, both have a history of their own afterwards: a split-brain, in which one of the two must be given up."
	view.Hidden = append(view.Hidden, templates.Hidden{Name: "force", Value: "on"})
	view.Confirm = confirmField("Type this node's name, "+p.Node, typed, problem)
}

func confirmField(label, typed string, problem *templates.Problem) *templates.Field {
	f := &templates.Field{Kind: templates.TextField, Name: "confirm", Label: label, Value: typed, Mono: true}
	if problem != nil && problem.Href == "#"+f.ID() {
		f.Error = problem.Text
	}
	return f
}

func confirmIf(force bool, node string) string {
	if force {
		return node
	}
	return ""
}

func gapText(ms *int64) string {
	if ms == nil {
		return "Expected interruption: not known, it was never done on this pair."
	}
	return "Expected interruption for clients: about " + spanText(*ms) + ", as last time."
}
