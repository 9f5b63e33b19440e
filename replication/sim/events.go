package sim

import "fmt"

// Event is one thing that can happen.
type Event struct {
	Name string
	Do   func(w *World) error
}

// Events is everything that can happen, in a fixed order.
var Events = makeEvents()

func makeEvents() []Event {
	var all []Event
	add := func(name string, do func(*World) error) { all = append(all, Event{name, do}) }
	for i := range 2 {
		who := nodeName(i)
		for b := range Blocks {
			for _, kind := range []string{"done", "local", "peer"} {
				add(fmt.Sprintf("write %s %d %s", who, b, kind), func(w *World) error { return w.write(i, b, kind) })
			}
		}
		add("flush "+who, func(w *World) error { return w.flush(i) })
		add("crash "+who, func(w *World) error { return w.crash(i, false) })
		add("crash-lose "+who, func(w *World) error { return w.crash(i, true) })
		add("start "+who, func(w *World) error { return w.start(i) })
		add("promote "+who, func(w *World) error { return w.promote(i, false) })
		add("force "+who, func(w *World) error { return w.promote(i, true) })
		add("demote "+who, func(w *World) error { return w.demote(i) })
		add("revoke "+who, func(w *World) error { return w.revoke(i) })
		add("permit "+who, func(w *World) error { return w.permit(i) })
		add("outdate-by "+who, func(w *World) error { return w.outdate(i) })
		add("leave "+who, func(w *World) error { return w.leave(i) })
		add("image "+who, func(w *World) error { return w.takeImage(i) })
		add("revert "+who, func(w *World) error { return w.putBack(i) })
		add("blank "+who, func(w *World) error { return w.blank(i) })
		add("give-up "+who, func(w *World) error { return w.giveUp(i) })
	}
	for b := range Blocks {
		add(fmt.Sprintf("sync %d", b), func(w *World) error { return w.syncBlock(b) })
	}
	for _, cut := range []string{"", "source", "target", "forget"} {
		add("contact "+cut, func(w *World) error { return w.contact(cut) })
	}
	for _, cut := range []string{"", "prepare", "target"} {
		add("finish "+cut, func(w *World) error { return w.finish(cut) })
	}
	add("cut", func(w *World) error {
		if !w.linked {
			return errIllegal
		}
		w.cut()
		return nil
	})
	return all
}
