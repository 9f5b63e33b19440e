package sim

import (
	"fmt"
	"time"

	"evenkeel/ha"
)

// Fault draws one fault or repair and brings it about.
func (w *World) Fault() {
	if w.Options.Wild && w.Rand.IntN(3) == 0 {
		w.wild()
		return
	}
	n := w.Nodes[w.Rand.IntN(2)]
	id := string(n.ID)
	cable := Cables[w.Rand.IntN(3)]
	say := func(format string, a ...any) { w.logf(n, "-- "+format, a...) }
	switch k := w.Rand.IntN(40); {
	case k >= 38:
		delay := w.between(w.Options.DeadTime/10, w.Options.DeadTime/3)
		w.gateway([]string{"slow", "loss"}[k-38], "50%", delay)
		say("gateway slow %v, loss %.1f", w.GatewayDelay, w.GatewayLoss)
	case k >= 34:
		w.story(n, k, say)
	case k < 3:
		say("cut %s", cable)
		w.Cut(cable)
	case k < 5:
		say("cut %s:%s", id, cable)
		w.Cut(id + ":" + cable)
	case k < 6:
		what := []string{id + ">" + cable, id + "<all"}[w.Rand.IntN(2)]
		say("cut %s", what)
		w.Cut(what)
	case k < 8:
		say("cut %s:all", id)
		w.Cut(id + ":all")
	case k < 9:
		say("cut all")
		w.Cut("all")
	case k < 10:
		w.Gateway = !w.Gateway
		say("gateway %v", w.Gateway)
	case k < 11:
		w.Loss[cable] = 0.3
		say("loss %s", cable)
	case k < 17:
		say("join all")
		w.mend()
	case k < 19:
		say("kill")
		n.Kill()
	case k < 23:
		say("start both")
		w.Nodes[0].Start()
		w.Nodes[1].Start()
	case k < 25:
		d := w.between(100*time.Millisecond, 8*time.Second)
		kernel := w.Rand.IntN(2) == 0
		say("freeze %v kernel=%v", d, kernel)
		n.Freeze(d, kernel)
	default:
		w.lesserFault(n, k, say)
	}
}

// story plays a short sequence of safety.md with times drawn around those that matter: a side that is cut off or asleep while the other goes on
// alone and then dies.
func (w *World) story(n *Node, k int, say func(string, ...any)) {
	id, other := string(n.ID), n.other()
	switch k {
	case 34, 35:
		say("story: cut %s:all, the other dies, join", id)
		w.Cut(id + ":all")
		w.Run(w.wait() + w.wait())
		other.Kill()
		w.Run(w.wait())
		w.Join(id + ":all")
	case 36:
		d := w.between(w.Options.DeadTime/2, 4*w.Options.DeadTime)
		say("story: freeze %v, the other dies meanwhile", d)
		n.Freeze(d, w.Rand.IntN(2) == 0)
		w.Run(w.between(d/2, d))
		other.Kill()
		w.Run(d)
	case 37:
		say("story: cut sync, then the rest, then a power cut")
		w.Cut("sync")
		w.Run(w.wait())
		w.Cut(id + ":all")
		w.Run(w.wait())
		other.Kill()
		w.Join(id + ":all")
	}
	w.Run(w.wait() + w.Options.DeadTime)
}

// lesserFault kills a process or plays an administrator.
func (w *World) lesserFault(n *Node, k int, say func(string, ...any)) {
	if !n.running() {
		return
	}
	switch k {
	case 25, 26:
		d := w.between(200*time.Millisecond, 14*time.Second)
		say("kill engine for %v", d)
		n.KillEngine(d)
	case 27:
		say("kill heart")
		n.KillHeart(200 * time.Millisecond)
	case 28, 29:
		d := w.between(200*time.Millisecond, 3*time.Second)
		say("kill volume for %v", d)
		n.KillVolume(n.anyVolume(), d)
	case 30, 31:
		say("wish takeover")
		n.Wish(ha.WishTakeover, false)
	case 32:
		say("wish release")
		n.Wish(ha.WishRelease, false)
	case 33:
		say("wish leave")
		n.Wish(ha.WishLeave, false)
	}
}

// mend joins every cable and ends every loss.
func (w *World) mend() {
	w.Join("all")
	w.gateway("on", "", 0)
	w.Loss = map[string]float64{}
}

// RunSeed plays one seeded story and says what went wrong: a broken rule, or a pair that does not serve after everything was mended.
func RunSeed(o Options) *World {
	w := New(o)
	w.Nodes[0].Start()
	w.Nodes[1].Start()
	w.Run(w.between(2*time.Second, 6*time.Second))
	for range 12 + w.Rand.IntN(12) {
		w.Fault()
		w.Run(w.wait())
		w.restartLeavers()
		if w.Rand.IntN(4) == 0 {
			w.Run(w.between(0, 8*time.Second))
		}
	}
	w.mend()
	w.tame()
	w.Options.FailMount = 0
	w.Run(10 * time.Second)
	w.restartLeavers()
	w.tame()
	w.Nodes[0].Start()
	w.Nodes[1].Start()
	w.Run(o.BootWait + 5*time.Second)
	split := w.split()
	if split && !w.excused && !w.forced {
		w.problem("split-brain without a total partition")
	}
	for range 160 { // the pause after failed promotions is at most five minutes
		if w.Settled() == "" || split {
			break
		}
		w.restartLeavers()
		w.Nodes[0].Start()
		w.Nodes[1].Start()
		w.repair()
		w.Run(2 * time.Second)
	}
	if why := w.Settled(); why != "" && !split {
		w.problem("all was mended, and %s: a is %s, b is %s", why, w.Nodes[0].state(), w.Nodes[1].state())
	}
	return w
}

// wait draws a time between two faults, with the ends that matter (0.8 D, D, the promise) drawn often.
func (w *World) wait() time.Duration {
	d := w.Options.DeadTime
	switch w.Rand.IntN(6) {
	case 0:
		return w.between(Tick, d/4)
	case 1:
		return w.between(d*7/10, d*12/10)
	case 2:
		return w.between(d, max(d*3/2, d+time.Second)+d/4)
	}
	return w.between(50*time.Millisecond, 3500*time.Millisecond)
}

func (w *World) split() bool {
	for _, n := range w.Nodes {
		for _, v := range n.vols {
			if v.split {
				return true
			}
		}
	}
	return false
}

// anyVolume draws one of a node's volumes.
func (n *Node) anyVolume() *volume {
	if len(n.vols) == 1 {
		return n.vols[0]
	}
	return n.vols[n.w.Rand.IntN(len(n.vols))]
}

// restartLeavers switches off what has left in order; it is started again like any other.
func (w *World) restartLeavers() {
	for _, n := range w.Nodes {
		if n.left {
			w.logf(n, "-- off in order")
			n.Kill()
		}
	}
}

func (n *Node) state() string {
	s := fmt.Sprintf("%s (%s; peer %s, address %v", n.engine.plan.Role, n.engine.plan.Reason, n.engine.plan.Verdict, n.holds())
	for _, v := range n.vols {
		s += fmt.Sprintf(", %s %s %s connected %v record %q permission %q generations %v", v.name, v.role, v.disk, v.connected, v.peerRecord, v.permission, v.gens)
	}
	return s + ")"
}
