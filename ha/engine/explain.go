package engine

import (
	"encoding/json"
	"fmt"
	"net/http"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// getExplanation says why this node is what it is, what protects the pair from split-brain and what remains possible.
func (e *engine) getExplanation(w http.ResponseWriter, _ *http.Request) {
	v := e.view.Load()
	if v == nil {
		errStarting.Write(w)
		return
	}
	x := control.Explanation{
		Sentence: fmt.Sprintf("Node %s is %s: %s", e.node, v.plan.Role, v.plan.Reason.Text()),
		Reasons:  []control.Reason{}, Rungs: rungs(v), Remains: remains(v),
	}
	for _, r := range v.plan.Why {
		x.Reasons = append(x.Reasons, control.Reason{Code: string(r), Text: r.Text()})
	}
	if facts, err := json.Marshal(v.facts); err == nil {
		x.Decision = string(facts)
	}
	answerJSON(w, x)
}

// rungs name what protects this pair from split-brain, as configured and as it is now.
func rungs(v *view) []string {
	up := 0
	for _, l := range v.facts.Heart.Links {
		if l.State == ha.LinkUp {
			up++
		}
	}
	list := []string{
		fmt.Sprintf("%d heartbeat links, %d of them up", len(v.facts.Heart.Links), up),
		"a probe of the other node on every path before it counts as dead",
	}
	if n := len(v.settings.General.References); n > 0 {
		list = append(list, fmt.Sprintf("reference points that must answer before a takeover: %d", n))
	}
	if !v.facts.NoVolumes {
		list = append(list, "no write is acknowledged alone without permission", "generations: data that differ are never overwritten silently")
	}
	return list
}

// remains says what can still happen.
func remains(v *view) []string {
	list := []string{"a machine whose every clock stops while it is paused"}
	switch {
	case v.facts.NoVolumes && v.facts.Settings.Mode == ha.Availability:
		list = append(list, "both nodes hold the virtual addresses while no link lives between them")
	case len(v.settings.General.References) == 0:
		list = append(list, "no takeover by itself: there is no reference point")
	default:
		list = append(list, "a total partition with good reference points on both sides ends in a split-brain that is detected and loses nothing silently")
	}
	return list
}
