// Package sim checks the decisions of package replication against a model of two nodes that knows what was acknowledged. The model drives the
// real State, Snapshot and Compare through every history of bounded length, and through long random ones; its data are a few blocks whose
// values remember their ancestors. For tests only.
//
// What is checked at each contact:
//   - both ends decide mirrored;
//   - what will not be moved is equal: no silent difference;
//   - what will be overwritten holds nothing covered that the source has not: an acknowledged write, stable on both or survived by one node,
//     is only replaced by its descendants, unless a person gave that side up or the disk went back in time;
//   - a copy that says UpToDate beside a connected peer is equal to it.
package sim

import (
	"errors"
	"fmt"

	"evenkeel/replication"
)

// Blocks is the number of blocks of the modelled volume.
const Blocks = 2

// value is the content of a block: an index into World.values.
type value uint8

// lineage is what the model knows of a value.
type lineage struct {
	parent value
	acked  bool
	stable bool  // flushed on every copy that held it
	deaths uint8 // bit per node that lost power since the acknowledgement
}

// covered says whether the promises hold for it: stable, or complete on two disks of which at most one lost its power.
func (l lineage) covered() bool { return l.acked && (l.stable || l.deaths != 3) }

// node is one side: what its superblock says and what its disk holds.
type node struct {
	state  replication.State
	cur    [Blocks]value // with its volatile cache
	stable [Blocks]value
	bits   [Blocks]bool
	hot    [Blocks]bool // may be under way; after a crash they become bits
	up     bool
	stale  bool   // an image was put back: what it holds is not covered
	image  *image // taken earlier
	begun  uint8  // generations that it began, for their names
	disks  uint8  // disks that it had, for their names
}

type image struct {
	state  replication.State
	cur    [Blocks]value
	bits   [Blocks]bool
	hot    [Blocks]bool
	traced uint8 // marks confirmed since: only then can it be noticed
}

// World is both nodes and the link.
type World struct {
	n      [2]node
	linked bool
	source int // of the running resync; -1 = none
	todo   [Blocks]bool
	values []lineage
}

// NewWorld is the state after both disks were created: node 0 first, with the data.
func NewWorld() World {
	w := World{source: -1, values: []lineage{{acked: true, stable: true}}}
	volume := [16]byte{1}
	for i := range w.n {
		w.n[i].state = replication.New(volume, nodeName(i), 8192, i == 0, genName(i, 0), 0).Attach([16]byte{})
		w.n[i].state.DiskID = [8]byte{byte(i), 1}
		w.n[i].begun, w.n[i].disks, w.n[i].up = 1, 1, true
	}
	return w
}

func nodeName(i int) string { return string(rune('a' + i)) }

func genName(i int, n uint8) replication.GenerationID {
	return replication.GenerationID{0: byte(i + 1), 1: n + 1}
}

func (w *World) clone() World {
	c := *w
	c.values = append([]lineage(nil), w.values...)
	return c
}

func (n *node) dirty() (bytes uint64) {
	for b := range n.bits {
		if n.bits[b] {
			bytes += 4096
		}
	}
	return bytes
}

func (n *node) primary() bool { return n.state.Role() == replication.Primary }

// ancestor says whether old is v or one that v replaced.
func (w *World) ancestor(old, v value) bool {
	for {
		if v == old {
			return true
		}
		if v == 0 {
			return false
		}
		v = w.values[v].parent
	}
}

func (w *World) newValue(parent value, acked bool) value {
	w.values = append(w.values, lineage{parent: parent, acked: acked})
	return value(len(w.values) - 1)
}

// snapshot is what node i tells at a handshake.
func (w *World) snapshot(i int) replication.Snapshot {
	return w.n[i].state.Snapshot(w.n[i].dirty())
}

// errIllegal marks an event that cannot happen in this world.
var errIllegal = errors.New("cannot happen now")

// write is one application write at the primary i; the kinds are complete, lost on the way to the peer, and lost on the way to the own disk.
func (w *World) write(i, b int, kind string) error {
	n, p := &w.n[i], &w.n[1-i]
	if !n.up || !n.primary() || kind != "done" && !w.linked {
		return errIllegal
	}
	if !w.linked {
		return w.writeAlone(n, i, b)
	}
	v := w.newValue(n.cur[b], kind == "done")
	n.hot[b] = true
	if kind != "peer" {
		n.cur[b] = v
	}
	if kind != "local" {
		p.cur[b] = v
	}
	if w.source >= 0 && kind == "done" {
		w.todo[b] = false                         // a whole block was written on both
		w.values[v].deaths |= 1 << (1 - w.source) // but the target is no copy yet
	}
	if kind != "done" {
		w.cut()
	}
	return nil
}

func (w *World) writeAlone(n *node, i, b int) error {
	permitted := n.state.Permitted()
	if permitted && n.state.NeedsRotation() {
		n.state = n.state.Rotate(genName(i, n.begun), 0)
		n.begun++
	}
	n.bits[b], n.hot[b] = true, true
	if n.state.NeverHadPeer() {
		n.bits[b] = false
	}
	v := w.newValue(n.cur[b], permitted)
	n.cur[b] = v
	if permitted {
		w.values[v].stable = true // a lone write that is lost with its only disk is nobody's to keep: count it as flushed
		n.stable[b] = v
	}
	return nil
}

// flush makes everything stable on both sides; the log lets the extents go.
func (w *World) flush(i int) error {
	if !w.linked || w.source >= 0 || !w.n[i].primary() {
		return errIllegal
	}
	for j := range w.n {
		w.n[j].stable = w.n[j].cur
		for _, v := range w.n[j].cur {
			w.values[v].stable = true
		}
	}
	w.n[i].hot = [Blocks]bool{}
	return w.tick()
}

// tick advances both marks and confirms them.
func (w *World) tick() error {
	if !w.linked {
		return errIllegal
	}
	for i := range w.n {
		w.n[i].state = w.n[i].state.Advance()
	}
	w.confirm()
	return nil
}

func (w *World) confirm() {
	for i := range w.n {
		w.n[i].state = w.n[i].state.ConfirmPeer(w.n[1-i].state.Mark)
		if w.n[i].image != nil {
			im := *w.n[i].image
			im.traced = 1
			w.n[i].image = &im
		}
	}
}

// cut is the loss of the link as both sides notice it; what is not flushed by the peer becomes bits.
func (w *World) cut() {
	w.linked, w.source = false, -1
	for i := range w.n {
		n := &w.n[i]
		if !n.up {
			continue
		}
		n.state = n.state.PeerGone()
		n.stable = n.cur // a save flushes first
		if n.primary() {
			for b := range n.hot {
				n.bits[b] = n.bits[b] || n.hot[b]
			}
		}
	}
}

// crash is a power cut of node i; lose: its volatile cache goes with it.
func (w *World) crash(i int, lose bool) error {
	n := &w.n[i]
	if !n.up {
		return errIllegal
	}
	n.up = false
	if w.linked {
		w.cut()
	}
	if lose {
		n.cur = n.stable
	}
	n.stable = n.cur
	for v := range w.values {
		w.values[v].deaths |= 1 << i
	}
	return nil
}

// start is the process of node i coming up again.
func (w *World) start(i int) error {
	n := &w.n[i]
	if n.up {
		return errIllegal
	}
	n.up = true
	n.state = n.state.Attach([16]byte{})
	if n.state.Flags.Has(replication.CrashedPrimary) {
		for b := range n.hot {
			n.bits[b] = n.bits[b] || n.hot[b]
		}
	}
	return nil
}

// promote makes node i primary. Beside a connected peer only a Secondary one; a person may force it while not connected.
func (w *World) promote(i int, force bool) error {
	n := &w.n[i]
	if !n.up || n.primary() || w.linked && (w.n[1-i].primary() || w.source >= 0 || force) || force && n.state.Disk == replication.UpToDate {
		return errIllegal
	}
	e := replication.Epoch{Counter: n.state.Epoch.Counter + 1, Node: nodeName(i)}
	s, err := n.state.Promote(e, force)
	if err != nil {
		return errIllegal
	}
	n.state = s
	if w.linked {
		w.n[1-i].state = w.n[1-i].state.PeerPromoted(e)
	}
	return nil
}

// demote is orderly: what is under way is stable on every copy that receives.
func (w *World) demote(i int) error {
	n := &w.n[i]
	if !n.up || !n.primary() || !w.linked && !n.state.Permitted() {
		return errIllegal
	}
	if w.linked && w.source < 0 {
		if err := w.flush(i); err != nil {
			return err
		}
	}
	if w.linked { // the target of a resync is flushed too
		w.n[1-i].stable, n.hot = w.n[1-i].cur, [Blocks]bool{}
	}
	n.stable = n.cur
	n.state = n.state.Demote()
	return nil
}

func (w *World) revoke(i int) error {
	n := &w.n[i]
	if !n.up || !n.primary() || w.linked {
		return errIllegal
	}
	n.state = n.state.Revoke("isolated")
	return nil
}

// permit is the engine's word, given whenever it could be given at all.
func (w *World) permit(i int) error {
	n := &w.n[i]
	if !n.up || !n.primary() || w.linked || n.state.Permitted() {
		return errIllegal
	}
	s, err := n.state.Permit(n.state.Epoch, "dead", [16]byte{})
	if err != nil {
		return errIllegal
	}
	n.state = s
	return nil
}

// outdate is primary i asking the other over a living link of the heartbeat.
func (w *World) outdate(i int) error {
	n, p := &w.n[i], &w.n[1-i]
	if !n.up || !p.up || !n.primary() || w.linked || n.state.Disk != replication.UpToDate || n.state.NeverHadPeer() || p.stale {
		return errIllegal
	}
	s, err := p.state.Outdate(n.state.Epoch)
	if err != nil {
		return errIllegal
	}
	p.state = s
	n.state = n.state.RecordPeerOutdated()
	if n.state, err = n.state.Permit(n.state.Epoch, "outdated", [16]byte{}); err != nil {
		return errIllegal
	}
	return nil
}

// leave is node i, secondary, going in order.
func (w *World) leave(i int) error {
	n, p := &w.n[i], &w.n[1-i]
	if !w.linked || w.source >= 0 || n.primary() {
		return errIllegal
	}
	n.state = n.state.Leave(p.primary())
	p.state = p.state.PeerLeft(true)
	if p.primary() {
		p.state = p.state.RecordPeerOutdated()
	}
	w.cut()
	n.stable, n.up = n.cur, false
	return nil
}

// takeImage copies the whole disk; putBack is its return while the node is off.
func (w *World) takeImage(i int) error {
	n := &w.n[i]
	if n.image != nil {
		return errIllegal
	}
	n.image = &image{state: n.state, cur: n.cur, bits: n.bits, hot: n.hot}
	return nil
}

func (w *World) putBack(i int) error {
	n := &w.n[i]
	// Beside the guard's grain (10 s while writes flow) an image is as good as the disk; the model confirms marks at each flush.
	if n.up || n.image == nil || n.image.traced == 0 {
		return errIllegal
	}
	im := n.image
	n.state, n.cur, n.stable, n.bits, n.hot = im.state, im.cur, im.cur, im.bits, im.hot
	n.image, n.stale = nil, true
	return nil
}

// blank is a new disk in the place of node i's.
func (w *World) blank(i int) error {
	n := &w.n[i]
	if n.up {
		return errIllegal
	}
	*n = node{begun: n.begun, disks: n.disks + 1, state: replication.New([16]byte{1}, nodeName(i), 8192, false, replication.GenerationID{}, 0)}
	n.state.DiskID = [8]byte{byte(i), n.disks}
	return nil
}

// giveUp is a person's word after a split-brain.
func (w *World) giveUp(i int) error {
	n := &w.n[i]
	if !n.up || !n.state.Flags.Has(replication.SplitBrain) || n.state.Flags.Has(replication.Discard) {
		return errIllegal
	}
	s, err := n.state.GiveUp()
	if err != nil {
		return errIllegal
	}
	n.state = s
	w.n[1-i].state = w.n[1-i].state.Keep()
	return nil
}

// String shows both nodes, for a failure.
func (w *World) String() string {
	text := fmt.Sprintf("linked=%v source=%d todo=%v\n", w.linked, w.source, w.todo)
	for i, n := range w.n {
		s := n.state
		text += fmt.Sprintf("  %s up=%v %s %s flags=%015b C=%x B=%x H=%x cur=%v stable=%v bits=%v hot=%v mark=%v peer=%v prom=%v stale=%v\n",
			nodeName(i), n.up, s.Role(), s.Disk, s.Flags, s.Current.ID[:2], s.BitmapOf.ID[:2], s.History[0].ID[:2],
			n.cur, n.stable, n.bits, n.hot, s.Mark, s.PeerMark, s.Promoted, n.stale)
	}
	return text + fmt.Sprintf("  values=%v", w.values)
}
