package sim

import (
	"slices"
	"time"

	"evenkeel/ha"
)

// volume is one side of the replicated volume: its data are the list of the writes that it holds.
type volume struct {
	n           *Node
	name        string
	index       int
	running     bool
	downTill    time.Duration
	busyTill    time.Duration // it carries nothing out until then
	role        ha.VolumeRole
	disk        ha.Disk
	gens        []string // newest last
	log         []int
	lastPrimary bool
	hadPeer     bool
	peerRecord  string
	split       bool
	epoch       ha.Epoch
	permission  string
	session     uint64
	connected   bool
	lostAt      ha.Instant
	noticeAt    time.Duration // when this side notices that the connection is gone
	peerDisk    ha.Disk
	peerRole    ha.VolumeRole
	toldAt      time.Duration // the peer's disk is seen as before the meeting until then
	ackAt       ha.Instant
	held        []int // writes that wait for an acknowledgement
	holdSince   ha.Instant
	loner       bool
	revoked     bool // in this connection: its end ends the licence
	answered    []ha.Answer
	left        bool // it left in order: it connects again only after a start
}

// replicationLink is the connection between the two volume processes.
type replicationLink struct {
	up      bool
	session uint64
	retryAt time.Duration
	syncEnd time.Duration // a resync runs until then
	source  *volume
}

func (v *volume) link() *replicationLink { return &v.n.w.links[v.index] }

func (v *volume) gen() string { return v.gens[len(v.gens)-1] }

// boot attaches the disk after a reboot: what it knows alone is Consistent unless its record proves more.
func (v *volume) boot() {
	v.running, v.role, v.permission, v.left = true, ha.Secondary, "", false
	v.connected, v.peerDisk, v.peerRole = false, ha.DUnknown, ""
	v.lostAt, v.ackAt, v.answered, v.held, v.holdSince = 0, 0, nil, nil, 0
	if v.disk == ha.UpToDate && !(v.lastPrimary && v.peerRecord == "outdated") {
		v.disk = ha.Consistent
	}
}

// die ends the process: held writes are gone unacknowledged, the peer notices.
func (v *volume) die() {
	v.running = false
	v.drop()
	v.n.w.breakLink(v.index, 0, 200*time.Millisecond)
}

// KillVolume kills the volume process; it is back after d.
func (n *Node) KillVolume(v *volume, d time.Duration) {
	if n.power && v.running {
		v.die()
		v.downTill = n.w.Now + d
	}
}

func (v *volume) drop() {
	v.held, v.holdSince = nil, 0
	v.lose()
}

func (v *volume) lose() {
	if v.connected {
		v.connected, v.lostAt, v.noticeAt = false, v.n.now(), 0
		v.peerDisk = ha.DUnknown
		if v.revoked && v.disk == ha.UpToDate {
			v.disk = ha.Consistent
		}
		v.revoked = false
	}
}

// breakLink ends the connection; each side notices by itself.
func (w *World) breakLink(index int, atLeast, atMost time.Duration) {
	l := &w.links[index]
	if !l.up {
		return
	}
	l.up = false
	l.syncEnd = 0
	for _, n := range w.Nodes {
		if v := n.vols[index]; v.connected && v.noticeAt == 0 {
			v.noticeAt = w.Now + w.between(atLeast, atMost)
		}
	}
	l.retryAt = w.Now + w.between(300*time.Millisecond, 900*time.Millisecond)
}

// replicate moves the connection and what goes over it.
func (w *World) replicate() {
	if w.Options.NoVolume {
		return
	}
	for i := range w.links {
		w.replicateOne(i)
	}
}

func (w *World) replicateOne(i int) {
	a, b, l := w.Nodes[0].vols[i], w.Nodes[1].vols[i], &w.links[i]
	path := w.bothWays("sync") && w.Nodes[0].running() && w.Nodes[1].running() && a.running && b.running
	switch {
	case l.up && !path:
		w.breakLink(i, 100*time.Millisecond, 1900*time.Millisecond)
	case !l.up && path && w.Now >= l.retryAt && !a.connected && !b.connected && !a.split && !b.split && !a.left && !b.left:
		w.handshake(a, b)
	case l.up:
		w.mirror(a, b)
		w.mirror(b, a)
		w.finishSync(a, b)
	}
}

// Compare is the handshake's verdict on x's and y's histories, from x's view.
func compare(x, y *volume) ha.Comparison {
	switch {
	case x.disk == ha.DiskFailed || y.disk == ha.DiskFailed:
		return ha.CompareRefused
	case x.disk == ha.Inconsistent && y.disk != ha.Inconsistent:
		return ha.CompareBehind
	case y.disk == ha.Inconsistent && x.disk != ha.Inconsistent:
		return ha.CompareAhead
	case x.gen() == y.gen():
		return ha.CompareEqual
	case slices.Contains(x.gens, y.gen()):
		return ha.CompareAhead
	case slices.Contains(y.gens, x.gen()):
		return ha.CompareBehind
	}
	return ha.CompareDiverged
}

func (w *World) handshake(a, b *volume) {
	l := a.link()
	l.retryAt = w.Now + 500*time.Millisecond
	source, target := a, b
	switch c := compare(a, b); {
	case c == ha.CompareRefused:
		return
	case c == ha.CompareDiverged:
		a.split, b.split = true, true
		return
	case a.role == ha.Primary && b.role == ha.Primary:
		return
	case c == ha.CompareBehind:
		source, target = b, a
	case c == ha.CompareEqual && (b.role == ha.Primary || a.role != ha.Primary && b.lastPrimary && !a.lastPrimary):
		source, target = b, a
	}
	if target.role == ha.Primary {
		return
	}
	l.up = true
	l.session++
	a.peerDisk, b.peerDisk = b.disk, a.disk
	for _, v := range []*volume{a, b} {
		v.connected, v.session, v.noticeAt, v.lostAt, v.hadPeer = true, l.session, 0, 0, true
		v.permission, v.loner = "", false
	}
	w.lostWrites(source, target)
	if source.disk == ha.Consistent || source.disk == ha.Outdated {
		source.disk = ha.UpToDate
	}
	if slices.Equal(source.log, target.log) && source.gen() == target.gen() && target.disk != ha.Inconsistent {
		l.syncEnd = w.Now
	} else {
		target.disk = ha.Inconsistent
		l.syncEnd = w.Now + w.between(300*time.Millisecond, 3*time.Second)
	}
	l.source = source
	for _, v := range []*volume{a, b} {
		v.toldAt = w.Now + w.between(0, 150*time.Millisecond) // until then its view of the peer's disk is the one from before
	}
	w.tellStates(a, b)
}

// lostWrites checks that a sync overwrites nothing that was acknowledged.
func (w *World) lostWrites(source, target *volume) {
	if target.disk == ha.Inconsistent {
		return
	}
	for _, id := range target.log {
		if w.Acked[id] != 0 && !slices.Contains(source.log, id) {
			w.problem("a sync from %s overwrites write %d on %s, which was acknowledged", source.n.ID, id, target.n.ID)
			return
		}
	}
}

func (w *World) tellStates(a, b *volume) {
	for _, p := range [][2]*volume{{a, b}, {b, a}} {
		if p[0].connected {
			if w.Now >= p[0].toldAt {
				p[0].peerDisk = p[1].disk
			}
			p[0].peerRole = p[1].role
			p[0].ackAt = p[0].n.now()
			if p[1].role == ha.Primary {
				p[0].lastPrimary = false
			}
		}
	}
}

// mirror brings the writes that wait at x to y and acknowledges them.
func (w *World) mirror(x, y *volume) {
	l := x.link()
	if x.role != ha.Primary || len(x.held) == 0 {
		return
	}
	for _, id := range x.held {
		w.Acked[id] = x.index + 1
		if l.syncEnd == 0 {
			y.log = append(y.log, id)
		}
	}
	x.held, x.holdSince = nil, 0
}

func (w *World) finishSync(a, b *volume) {
	l := a.link()
	if l.syncEnd != 0 && w.Now >= l.syncEnd {
		source, target := l.source, a
		if source == a {
			target = b
		}
		target.log, target.gens = slices.Clone(source.log), slices.Clone(source.gens)
		source.peerRecord, target.peerRecord = "", ""
		source.disk, target.disk = ha.UpToDate, ha.UpToDate
		l.syncEnd = 0
		if w.inSync() {
			w.excused, w.forced = false, false
		}
	}
	w.tellStates(a, b)
}

// inSync says whether every volume is connected with two equal copies.
func (w *World) inSync() bool {
	return !slices.ContainsFunc(w.links, func(l replicationLink) bool { return !l.up || l.syncEnd != 0 })
}

func (v *volume) tick() {
	if !v.running {
		if v.n.w.Now >= v.downTill {
			was, lone := v.disk, v.lastPrimary
			v.boot()
			if was == ha.UpToDate && lone {
				v.disk = ha.Consistent
			}
		}
		return
	}
	if v.connected && v.noticeAt != 0 && v.n.w.Now >= v.noticeAt {
		v.lose()
	}
	if v.role == ha.Primary && v.n.engineAge() >= 10*time.Second {
		v.revoke()
	}
	if v.role == ha.Primary && !v.connected && v.permission != "" {
		v.acknowledgeAlone()
	}
}

// write is a client's write.
func (v *volume) write() {
	if v.role != ha.Primary || !v.running || len(v.held) > 20 {
		return
	}
	v.n.w.nextID++
	v.log = append(slices.Clip(v.log), v.n.w.nextID)
	v.held = append(v.held, v.n.w.nextID)
	if v.holdSince == 0 {
		v.holdSince = v.n.now()
	}
}

func (v *volume) acknowledgeAlone() {
	if len(v.held) == 0 {
		return
	}
	if !v.loner {
		v.rotate()
	}
	for _, id := range v.held {
		v.n.w.Acked[id] = v.index + 1
	}
	v.held, v.holdSince = nil, 0
}

// rotate begins a generation of this copy alone.
func (v *volume) rotate() {
	v.loner = true
	v.n.w.nextID++
	v.gens = append(slices.Clone(v.gens), string(v.n.ID)+"-"+time.Duration(v.n.w.nextID).String())
}

// force is a person's word that only this copy counts: what was acknowledged and is not in it is that person's loss. Beside another primary
// nothing can be said any more, nor if that one may start by itself, because its copy is UpToDate, or by its record that this copy is outdated, and has not heard
// of this: the person was told to keep it off, or to let it hear this one first.
func (w *World) force(v *volume) {
	w.forced = true
	if peer := v.n.other().vols[v.index]; peer.running && peer.role == ha.Primary || peer.peerRecord == "outdated" || peer.disk == ha.UpToDate && !peer.connected {
		w.excused = true
	}
	for id, of := range w.Acked {
		if of == v.index+1 && !slices.Contains(v.log, id) {
			delete(w.Acked, id)
		}
	}
}

// promote makes this side Primary; the process itself refuses what it can see to be wrong.
func (v *volume) promote(p ha.Procedure) bool {
	v.epoch = p.Epoch
	if p.Permit != "" && v.connected && !v.link().up {
		v.lose() // the engine says that the peer is gone: a silent connection is ended
	}
	if !v.running || v.split && !p.Force || v.connected && v.peerRole == ha.Primary {
		return false
	}
	if v.disk != ha.UpToDate && !(p.Force && v.disk != ha.Inconsistent) {
		return false
	}
	if p.Reason == ha.ReasonForced {
		v.n.w.force(v)
	}
	v.n.w.checkPromotion(v)
	v.role, v.disk, v.lastPrimary, v.revoked = ha.Primary, ha.UpToDate, true, false
	if !v.connected {
		v.permission = p.Permit
	} else if !v.link().up {
		v.noticeAt = v.n.w.Now // the other side is known to be gone
		v.permission = p.Permit
	}
	return true
}

func (v *volume) revoke() {
	held := v.permission
	v.demote()
	one := held == string(ha.ReasonPeerOutdated) || held == string(ha.ReasonPeerInconsistent)
	switch {
	case v.connected:
		v.revoked = true // while connected nobody can be newer
	case !one && v.disk == ha.UpToDate:
		v.disk = ha.Consistent
	}
}

// fail is the end of the backing disk: the role goes with it, held writes get an error, the connection ends.
func (v *volume) fail() {
	v.demote()
	v.disk = ha.DiskFailed
	v.n.w.breakLink(v.index, 0, 200*time.Millisecond)
	v.lose()
}

func (v *volume) demote() {
	v.role, v.permission, v.held, v.holdSince = ha.Secondary, "", nil, 0
}

// outdate answers the peer's request: this and promote are decided in one place.
func (v *volume) outdate(r ha.Request, boot ha.BootName) {
	if !v.running || slices.ContainsFunc(v.answered, func(a ha.Answer) bool { return a.Number == r.Number && a.Boot == boot }) {
		return
	}
	a := ha.Answer{Number: r.Number, Boot: boot, Kind: r.Kind, Volume: r.Volume, Generation: r.Generation, Session: r.Session, Epoch: r.Epoch}
	switch {
	case v.role == ha.Primary:
		a.Result, a.Reason = ha.AnsweredRefused, "primary"
	case r.Epoch.Less(v.epoch):
		a.Result, a.Reason = ha.AnsweredRefused, "epoch"
	case v.disk == ha.Inconsistent:
		a.Result = ha.AnsweredInconsistent
	case v.disk == ha.DiskFailed:
		a.Result = ha.AnsweredFailed
	default:
		v.disk, a.Result = ha.Outdated, ha.AnsweredOutdated
	}
	if a.Result != ha.AnsweredRefused {
		v.n.w.breakLink(v.index, 0, 0) // what it still held for a connection ends with the answer
		v.lose()
	}
	v.answered = append(v.answered, a)
	if len(v.answered) > 4 {
		v.answered = v.answered[1:]
	}
}

// leave goes in order: Outdated if the peer serves, else "left in sync".
func (v *volume) leave() {
	if !v.connected || v.role == ha.Primary {
		return
	}
	peer, record := v.n.other().vols[v.index], "left_in_sync"
	if v.peerRole == ha.Primary && v.link().up {
		record = "outdated"
		if v.disk == ha.UpToDate {
			v.disk = ha.Outdated
		}
	}
	if v.link().up && v.disk != ha.Inconsistent {
		peer.peerRecord = record
	}
	v.left = true
	v.n.w.breakLink(v.index, 0, 0)
	v.lose()
}

func (v *volume) fact() ha.VolumeFact {
	f := ha.VolumeFact{
		Name: v.name, Running: v.running, Role: v.role, Disk: v.disk, PeerDisk: v.peerDisk, Connected: v.connected, PeerRole: v.peerRole,
		Generation: ha.Generation(v.gen()), Session: v.session, LostAt: v.lostAt, NeverHadPeer: !v.hadPeer, Permission: v.permission,
		Holding: len(v.held) > 0 && !v.connected, HoldingSince: v.holdSince, LastPrimary: v.lastPrimary, PeerRecord: v.peerRecord,
		SplitBrain: v.split, Epoch: v.epoch, Mounted: v.n.mounted, LastAckAt: v.ackAt, AnsweredNow: slices.Clone(v.answered), Loner: v.loner,
	}
	f.Licence = v.running && v.role == ha.Secondary && v.disk == ha.UpToDate && !v.connected && v.hadPeer
	return f
}
