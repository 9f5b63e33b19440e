package sim

import (
	"fmt"
	"reflect"

	"evenkeel/replication"
)

// contact is a handshake, up to the start of a resync or to the agreement. cutAfter stops it half-way: "source" or "target" after only that
// side stored the start, "forget" after both ended their records.
func (w *World) contact(cutAfter string) error {
	a, b := &w.n[0], &w.n[1]
	if w.linked || !a.up || !b.up {
		return errIllegal
	}
	v := replication.Compare(w.snapshot(0), w.snapshot(1))
	if m := replication.Compare(w.snapshot(1), w.snapshot(0)); !reflect.DeepEqual(m.Mirror(), v) || !reflect.DeepEqual(v.Mirror(), m) {
		return fmt.Errorf("the verdicts are not mirrored: %+v and %+v", v, m)
	}
	switch v.Direction {
	case replication.None:
		return w.agree(cutAfter)
	case replication.Source:
		return w.begin(0, v, cutAfter)
	case replication.Target:
		return w.begin(1, v.Mirror(), cutAfter)
	case replication.Diverged:
		if cutAfter != "" {
			return errIllegal
		}
		a.state, b.state = a.state.FoundSplitBrain(), b.state.FoundSplitBrain()
		return nil
	}
	return errIllegal // refused or blocked: nothing changes
}

func (w *World) connect() {
	session := max(w.n[0].state.NextSession(), w.n[1].state.NextSession())
	for i := range w.n {
		w.n[i].state = w.n[i].state.Connect(session)
	}
	w.linked = true
	w.confirm()
}

func (w *World) agree(cutAfter string) error {
	if cutAfter == "source" || cutAfter == "target" {
		return errIllegal
	}
	if err := w.equal("a verdict without a sync"); err != nil {
		return err
	}
	for i := range w.n {
		w.n[i].state = w.n[i].state.ForgetPeer()
	}
	if cutAfter == "forget" {
		return nil
	}
	sa, sb := w.snapshot(0), w.snapshot(1)
	w.n[0].state, w.n[1].state = w.n[0].state.Agree(sb), w.n[1].state.Agree(sa)
	w.notePrimary()
	w.connect()
	return nil
}

// notePrimary tells the secondary of the primary that it is connected to.
func (w *World) notePrimary() {
	for i := range w.n {
		if w.n[1-i].primary() {
			w.n[i].state = w.n[i].state.PeerPromoted(w.n[1-i].state.Promoted)
		}
	}
}

// equal checks that the copies do not differ.
func (w *World) equal(when string) error {
	if w.n[0].cur != w.n[1].cur {
		return fmt.Errorf("%s, but the copies differ: %v and %v", when, w.n[0].cur, w.n[1].cur)
	}
	return nil
}

// begin starts the resync from node i, which v says is the source.
func (w *World) begin(i int, v replication.Verdict, cutAfter string) error {
	s, t := &w.n[i], &w.n[1-i]
	if cutAfter == "forget" {
		return errIllegal
	}
	var todo [Blocks]bool
	for b := range todo {
		full := v.Full || s.state.Flags.Has(replication.FullSync) || t.state.Flags.Has(replication.FullSync)
		todo[b] = full || s.bits[b] || t.bits[b]
	}
	if err := w.mayOverwrite(s, t, todo, v); err != nil {
		return err
	}
	ss, ts := w.snapshot(i), w.snapshot(1-i)
	if cutAfter != "target" {
		s.bits = todo // the union, written before the state
		s.state = s.state.StartSyncSource(ts, v.Full).BitmapIsFull()
	}
	if cutAfter != "source" {
		t.bits = todo
		t.state = t.state.StartSyncTarget(ss, v.Full).BitmapIsFull()
		t.hot = [Blocks]bool{}
	}
	if cutAfter != "" {
		return nil
	}
	t.stale = false // its mark counts again from the connect on
	w.source, w.todo = i, todo
	w.notePrimary()
	w.connect()
	return nil
}

// mayOverwrite is the heart of the check: see the package comment.
func (w *World) mayOverwrite(s, t *node, todo [Blocks]bool, v replication.Verdict) error {
	for b := range todo {
		old, now := t.cur[b], s.cur[b]
		if !todo[b] {
			if old != now {
				return fmt.Errorf("rule %s: block %d differs (source %d, target %d) and would not be moved", v.Rule, b, now, old)
			}
			continue
		}
		excused := t.state.Flags.Has(replication.Discard) || t.stale || t.state.Disk == replication.Inconsistent
		if w.ancestor(old, now) {
			continue
		}
		if excused {
			w.values[old].acked = false // given up here, whoever shows it again
		}
		if w.values[old].covered() {
			return fmt.Errorf("rule %s: block %d of the target holds the acknowledged %d, which the source's %d does not include", v.Rule, b, old, now)
		}
	}
	return nil
}

// syncBlock copies block b.
func (w *World) syncBlock(b int) error {
	if !w.linked || w.source < 0 || !w.todo[b] {
		return errIllegal
	}
	s, t := &w.n[w.source], &w.n[1-w.source]
	t.cur[b], t.stable[b] = s.cur[b], s.cur[b]
	s.bits[b], t.bits[b] = false, false
	w.todo[b] = false
	return nil
}

// finish ends the resync; cutAfter: "prepare" (the message is lost) or "target" (its acknowledgement is).
func (w *World) finish(cutAfter string) error {
	if !w.linked || w.source < 0 || w.todo != [Blocks]bool{} {
		return errIllegal
	}
	i := w.source
	s, t := &w.n[i], &w.n[1-i]
	s.bits, t.bits = [Blocks]bool{}, [Blocks]bool{}
	s.state, s.stable = s.state.PrepareFinish(), s.cur
	if cutAfter == "prepare" {
		w.cut()
		return nil
	}
	t.stable = t.cur
	for _, v := range t.cur {
		w.values[v].stable = true
	}
	t.state = t.state.FinishSyncTarget(w.snapshot(i))
	if cutAfter == "target" {
		w.cut()
		return nil
	}
	s.state = s.state.FinishSyncSource()
	w.source = -1
	return w.equal("a resync ended")
}
