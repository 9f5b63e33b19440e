package sim

import (
	"slices"
	"time"

	"evenkeel/ha"
)

// check looks for broken "never" rules after each tick.
func (w *World) check() {
	a, b := w.Nodes[0], w.Nodes[1]
	w.excuse(a, b)
	for i := range w.links {
		w.checkPermissions(a.vols[i], b.vols[i])
	}
	w.checkAddresses(a, b)
	w.checkEpoch(a, b)
	for _, n := range w.Nodes {
		for _, v := range n.vols {
			w.checkHold(n, v)
		}
		if r := n.engine.plan.Role; n.running() && n.engine.up {
			for _, note := range n.engine.plan.Notes {
				if note.Code == "role.illegal" {
					w.problem("%s: %s (%s)", n.ID, note.Text, r)
				}
			}
		}
	}
}

// excuse notes a total partition with good reference points on both sides: what 30-decisions says Evidence cannot exclude. Availability
// asks no reference point, so there any partition of machines that run is one.
func (w *World) excuse(a, b *Node) {
	alike := a.referenced() && b.referenced() || w.Options.Availability
	if !w.partitioned() || !alike || !a.running() || !b.running() {
		w.apart = 0
		return
	}
	w.apart += Tick
	if w.apart >= w.Options.DeadTime/2 {
		w.excused = true
	}
}

// partitioned says whether both machines run and no cable works in both directions.
func (w *World) partitioned() bool {
	for _, c := range Cables {
		if w.beats(c) && w.Loss[c] < 0.2 {
			return false
		}
	}
	return w.Nodes[0].power && w.Nodes[1].power
}

// checkPermissions: two sides with permission at once come about only in a total partition with good reference points on both sides.
func (w *World) checkPermissions(a, b *volume) {
	both := a.role == ha.Primary && b.role == ha.Primary && a.permission != "" && b.permission != ""
	if both && !w.excused && !w.forced {
		w.problem("both volumes are Primary with permission: a %s, b %s", a.permission, b.permission)
		w.excused = true
	}
}

// checkPromotion: no write that was acknowledged is missing at a side that is promoted without a person's word.
func (w *World) checkPromotion(v *volume) {
	if w.excused {
		return
	}
	have := map[int]bool{}
	for _, id := range v.log {
		have[id] = true
	}
	missing := 0
	for id, of := range w.Acked {
		if of == v.index+1 && !have[id] {
			missing++
		}
	}
	if missing > 0 {
		w.problem("%s is promoted without %d acknowledged writes", v.n.ID, missing)
		w.excused = true
	}
}

// checkAddresses: the address is on two nodes never longer than an interval + 100 ms where a link lives, D + 2.5 s where none does, but in a
// total partition with good reference points on both sides. The model's own reaction times are allowed for.
func (w *World) checkAddresses(a, b *Node) {
	if !a.holds() || !b.holds() || a.frozen() || b.frozen() {
		w.doubled, w.doubledLinked = 0, 0
		return
	}
	w.doubled += Tick
	linked := false
	for _, c := range Cables {
		linked = linked || w.beats(c) && w.Loss[c] == 0 && w.Delay[c] == 0
	}
	if linked && a.lively() && b.lively() {
		w.doubledLinked += Tick
	} else {
		w.doubledLinked = 0
	}
	if w.doubledLinked > w.Options.Interval+100*time.Millisecond+200*time.Millisecond {
		w.problem("the address is on both nodes for %v although a link lives", w.doubledLinked)
		w.doubledLinked = -time.Hour
	}
	if w.doubled > w.longestDead()+2500*time.Millisecond && !w.excused && !w.forced {
		w.problem("the address is on both nodes for %v", w.doubled)
		w.doubled = -time.Hour
	}
}

// lively says whether heart and engine of a node go about their work.
func (n *Node) lively() bool {
	return n.heart.up && n.heart.pausedTill == 0 && n.engine.up && n.w.Now >= n.engine.pausedTill
}

// longestDead is the larger time-out of both nodes, in the slower one's time.
func (w *World) longestDead() time.Duration {
	return max(w.Nodes[0].deadTime, w.Nodes[1].deadTime) * 102 / 100
}

// The epoch rises at most riseLimit times in riseWindow: a pair that moves its role more often is in a loop.
const (
	riseLimit  = 5
	riseWindow = 10 * time.Second
)

// checkEpoch counts how often the role was taken lately.
func (w *World) checkEpoch(a, b *Node) {
	high := max(a.durable.Epoch.Counter, b.durable.Epoch.Counter)
	if high <= w.epoch {
		return
	}
	w.epoch = high
	w.rises = slices.DeleteFunc(append(w.rises, w.Now), func(at time.Duration) bool { return w.Now-at > riseWindow })
	w.steepest = max(w.steepest, len(w.rises))
	if len(w.rises) > riseLimit {
		w.problem("the epoch rose %d times within %v", len(w.rises), riseWindow)
		w.rises = nil
	}
}

// checkHold: a hold without an end has a condition that names the action.
func (w *World) checkHold(n *Node, v *volume) {
	e := &n.engine
	if !n.running() || !e.up || e.fresh || len(v.held) == 0 || v.connected || w.Now-e.stepAt > 300*time.Millisecond { // one that stands still says nothing
		return
	}
	d := w.longestDead()
	limit := max(d*3/2, d+time.Second) + 7*time.Second + 500*time.Millisecond
	if n.now().Sub(v.holdSince) < limit || e.plan.Role != ha.Master {
		return
	}
	if !slices.ContainsFunc(e.plan.Conditions, func(c ha.Condition) bool { return c.Code == "volume.holding" }) {
		w.problem("%s holds writes for %v without saying so", n.ID, n.now().Sub(v.holdSince))
	}
}

// Settled says whether exactly one node serves and both copies are equal and connected; else what is missing.
func (w *World) Settled() string {
	serving := 0
	for _, n := range w.Nodes {
		if n.Serves() && n.Role() == ha.Master {
			serving++
		}
	}
	switch {
	case serving != 1:
		return "not exactly one node serves"
	case w.Options.NoVolume:
		return ""
	}
	for i := range w.links {
		a, b := w.Nodes[0].vols[i], w.Nodes[1].vols[i]
		switch {
		case !a.connected || !b.connected || a.disk != ha.UpToDate || b.disk != ha.UpToDate:
			return "the copies are not in sync"
		case !slices.Equal(a.settledLog(), b.settledLog()):
			return "the copies differ"
		}
	}
	return ""
}

// settledLog is the data without the writes that are on their way.
func (v *volume) settledLog() []int { return v.log[:len(v.log)-len(v.held)] }
