package sim

import (
	"time"

	"evenkeel/ha"
)

// wild draws one of the faults that are rarer, or stranger, than those of Fault: parts of a node that stand still alone, frames of one kind that are
// lost, disks that fail, people who press buttons at bad moments.
func (w *World) wild() {
	n := w.Nodes[w.Rand.IntN(2)]
	id := string(n.ID)
	cable := Cables[w.Rand.IntN(3)]
	say := func(format string, a ...any) { w.logf(n, "-- "+format, a...) }
	d := w.between(w.Options.DeadTime/4, w.Options.DeadTime*4)
	switch k := w.Rand.IntN(29); k {
	case 0, 1:
		say("engine stands still for %v", d)
		n.PauseEngine(d)
	case 2:
		say("heart stands still for %v", d)
		n.PauseHeart(d)
	case 3:
		say("kill heart for %v", d)
		n.KillHeart(d)
	case 4, 5:
		e := w.between(0, d)
		say("kill heart for %v and engine for %v", d, e)
		n.KillHeart(d)
		n.KillEngine(e)
		if w.Rand.IntN(2) == 0 {
			say("freeze %v", d)
			n.Freeze(d, w.Rand.IntN(2) == 0)
		}
	case 6:
		say("both engines are killed")
		w.Nodes[0].KillEngine(w.between(100*time.Millisecond, 3*time.Second))
		w.Nodes[1].KillEngine(w.between(100*time.Millisecond, 3*time.Second))
	case 7:
		say("filter %s>%s", id, cable)
		n.mute[cable] = true
	case 8:
		say("filter %s>all", id)
		w.filter(n, true)
		if w.Rand.IntN(2) == 0 {
			w.filter(n.other(), true)
		}
	case 9:
		w.Delay[cable] = w.between(0, w.Options.DeadTime/2)
		say("delay %s %v", cable, w.Delay[cable])
	case 10, 11:
		n.failDisk(n.anyVolume(), say)
	case 12:
		v := n.anyVolume()
		v.busyTill = w.Now + w.between(100*time.Millisecond, 4*time.Second)
		say("volume %s answers late", v.name)
	case 19, 20, 21, 22:
		w.move(n, k, say)
	case 23, 24, 25:
		w.away(n, k, say)
	default:
		w.people(n, k, say)
	}
}

// people press buttons at bad moments.
func (w *World) people(n *Node, k int, say func(string, ...any)) {
	switch k {
	case 13, 14:
		say("wish standby")
		n.Wish(ha.WishStandby, false)
	case 15:
		say("wish active")
		n.Wish(ha.WishActive, false)
	case 16:
		kind := []ha.AdminKind{ha.WishArm, ha.WishDisarm}[w.Rand.IntN(2)]
		say("wish %s", kind)
		n.Wish(kind, false)
	case 17:
		say("wish continue")
		w.excused = w.excused || !w.inSync()
		n.Wish(ha.WishContinue, false)
	case 18:
		say("both wish takeover")
		w.Nodes[0].Wish(ha.WishTakeover, false)
		w.Run(w.between(0, 300*time.Millisecond))
		w.Nodes[1].Wish(ha.WishTakeover, false)
	case 26, 27, 28:
		if !w.Options.NoVolume { // what it loses is counted by its volumes
			say("wish force")
			n.Wish(ha.WishTakeover, true)
		}
	}
}

// away cuts a node off, or makes it deaf, for a while.
func (w *World) away(n *Node, k int, say func(string, ...any)) {
	id := string(n.ID)
	switch k {
	case 23, 24:
		d := w.between(w.Options.DeadTime*6/10, w.Options.DeadTime*3)
		say("%s:all is away for %v", id, d)
		w.Cut(id + ":all")
		w.Run(d)
		w.Join(id + ":all")
	case 25:
		say("one way: %s>all is away", id)
		for _, c := range Cables {
			w.Cut(id + ">" + c)
		}
		w.Run(w.between(w.Options.DeadTime/2, w.Options.DeadTime*2))
		w.mend()
	}
}

// move begins a move of the role and lets something happen within it.
func (w *World) move(n *Node, k int, say func(string, ...any)) {
	say("wish takeover, and then")
	n.Wish([]ha.AdminKind{ha.WishTakeover, ha.WishRelease}[w.Rand.IntN(2)], false)
	w.Run(w.between(0, 1200*time.Millisecond))
	x := w.Nodes[w.Rand.IntN(2)]
	switch w.Rand.IntN(8) {
	case 0:
		say("kill %s", x.ID)
		x.Kill()
	case 1:
		say("kill both")
		w.Nodes[0].Kill()
		w.Run(w.between(0, 500*time.Millisecond))
		w.Nodes[1].Kill()
	case 2:
		say("cut all")
		w.Cut("all")
	case 3:
		say("cut %s:all", x.ID)
		w.Cut(string(x.ID) + ":all")
	case 4:
		say("%s to standby", x.ID)
		x.Wish(ha.WishStandby, false)
	case 5:
		say("%s leaves", x.ID)
		x.Wish(ha.WishLeave, false)
	case 6:
		say("engine of %s is killed", x.ID)
		x.KillEngine(w.between(200*time.Millisecond, 3*time.Second))
	case 7:
		say("%s freezes", x.ID)
		x.Freeze(w.wait(), w.Rand.IntN(2) == 0)
	}
}

// filter stops, or lets pass, every beat of a node; other frames pass.
func (w *World) filter(n *Node, on bool) {
	for _, c := range Cables {
		n.mute[c] = on
	}
}

// tame ends what wild began; a person gives every node its role again.
func (w *World) tame() {
	for _, n := range w.Nodes {
		w.filter(n, false)
		for _, v := range n.vols {
			v.repair()
		}
		if n.power {
			n.Wish(ha.WishActive, false)
			n.Wish(ha.WishArm, false)
		} else {
			n.durable.Standby, n.durable.Armed = false, true
		}
	}
	w.Delay = map[string]time.Duration{}
}

func (w *World) repair() {
	for _, n := range w.Nodes {
		for _, v := range n.vols {
			v.repair()
		}
	}
}

// PauseEngine stops the engine process for d; it goes on with what it knew.
func (n *Node) PauseEngine(d time.Duration) { n.engine.pausedTill = n.w.Now + d }

// PauseHeart stops the heart process for d.
func (n *Node) PauseHeart(d time.Duration) {
	if h := &n.heart; h.up && h.pausedTill == 0 {
		h.pausedAt, h.pausedTill = n.w.Now, n.w.Now+d
	}
}

// failDisk fails a disk whose data are also on the other node; what cannot be mended is no story.
func (n *Node) failDisk(v *volume, say func(string, ...any)) {
	peer := n.other().vols[v.index]
	if !v.running || !v.connected || !v.link().up || v.link().syncEnd != 0 || peer.disk != ha.UpToDate || v.disk != ha.UpToDate {
		return
	}
	say("the disk of volume %s fails", v.name)
	v.fail()
}

// repair puts an empty disk in the place of a failed one.
func (v *volume) repair() {
	if v.disk == ha.DiskFailed {
		v.disk, v.log, v.gens, v.lastPrimary = ha.Inconsistent, nil, []string{"new"}, false
	}
}
