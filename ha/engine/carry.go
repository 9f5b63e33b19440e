package engine

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// adoptState is what remains to be done for a role that was found in force.
type adoptState struct {
	retryAt ha.Instant
	number  uint64
}

// ownProcedure marks the numbers of procedures that the engine begins itself, so that they never meet those of the machine.
const ownProcedure = 1 << 63

// carry carries a plan out in the order of its fields: durable first, then volumes, then what the peer hears, then what is done.
func (e *engine) carry(f ha.Facts, p ha.Plan) {
	stored := p.Store == nil || e.store(*p.Store)
	e.tellVolumes(f, p.Volumes, stored)
	if !stored {
		e.carryUnstored(f, p)
		return
	}
	say := p.Say
	e.noVolume(f, &say)
	e.exchangeByBeat(f, &say)
	e.sendHeart(f, say)
	e.said = say
	e.sayAlive(f.Now)
	e.endHanging(f.Now)
	e.setGate(f, p)
	if p.Procedure != nil && (e.run == nil || e.run.procedure.ID != p.Procedure.ID) {
		e.begin(*p.Procedure, false)
	}
	e.complete(f, p)
	e.keepAddresses(f, p)
	e.keepServices(f, p)
	e.inquire(f, p)
	e.tell(f, p)
}

// carryUnstored is carry when the plan's record could not be stored: nothing that rests on it may happen but a revoke. A node whose role is what
// it said last goes on in it, and says that again.
func (e *engine) carryUnstored(f ha.Facts, p ha.Plan) {
	if p.Procedure != nil && p.Procedure.Kind == ha.ProcedureRevoke && (e.run == nil || e.run.procedure.ID != p.Procedure.ID) {
		e.begin(*p.Procedure, false)
	}
	if p.Role == e.said.Role {
		e.sendHeart(f, lastWord(e.said, p.Say))
		e.sayAlive(f.Now)
		e.inquire(f, p)
	}
	if p.Role == e.said.Role || !p.Addresses {
		e.keepAddresses(f, p)
	}
	e.tell(f, ha.Plan{Replies: unkept(p.Replies), Notes: p.Notes, Conditions: p.Conditions})
}

// lastWord is what was said last, but nothing that has ended since: a promise counts down, and what is handed over stands for a time only.
func lastWord(said, now ha.Saying) ha.Saying {
	if now.Release == nil {
		said.Release = nil
	}
	if now.HandedBack == nil {
		said.HandedBack = nil
	}
	said.Reaches, said.Healthy = now.Reaches, now.Healthy
	said.Volumes = slices.Clone(said.Volumes)
	for i := range said.Volumes {
		v := &said.Volumes[i]
		left := time.Duration(0)
		for _, w := range now.Volumes {
			if w.Name == v.Name {
				left = w.Promise
			}
		}
		v.Promise = min(v.Promise, left)
	}
	return said
}

// unkept turns what the plan calls done into what became of it: it is not kept.
func unkept(replies []ha.Reply) []ha.Reply {
	list := slices.Clone(replies)
	for i := range list {
		if list[i].Done {
			list[i].Done, list[i].Refused, list[i].Code, list[i].Text = false, true, ha.ReasonUnstored, ha.ReasonUnstored.Text()
		}
	}
	return list
}

// setGate says which procedure may go on, and the highest epoch that is known.
func (e *engine) setGate(f ha.Facts, p ha.Plan) {
	newest := e.durable.Epoch
	if b := f.Other.Beat; b != nil && (b.Role == ha.Master || b.Role == ha.Promoting) && newest.Less(b.Epoch) {
		newest = b.Epoch
	}
	id := uint64(0)
	switch {
	case e.run.running() && e.run.own && e.ownStillRight(p):
		id = e.run.procedure.ID
	case p.Procedure != nil:
		id = p.Procedure.ID
	}
	e.gate.set(id, newest)
}

// ownStillRight: a procedure of the engine's own is for the role that the plan has.
func (e *engine) ownStillRight(p ha.Plan) bool {
	return (e.run.procedure.Kind == ha.ProcedurePromote) == (p.Role == ha.Master)
}

// complete makes a steady role whole: a master that was adopted in the middle of a promotion or demotion gets what is missing, and a node
// that is no master gets rid of what a killed engine left behind. In ordinary operation nothing is missing.
func (e *engine) complete(f ha.Facts, p ha.Plan) {
	if e.run.running() || f.Now < e.adopting.retryAt {
		return
	}
	kind := ha.ProcedureKind("")
	switch p.Role {
	case ha.Master:
		if e.incomplete() {
			kind = ha.ProcedurePromote
		}
	case ha.Slave, ha.Standby, ha.Blocked, ha.Starting:
		if e.leftovers() {
			kind = ha.ProcedureDemote
		}
	}
	if kind == "" {
		return
	}
	e.adopting.retryAt = f.Now.Add(5 * time.Second)
	e.adopting.number++
	own := ha.Procedure{ID: ownProcedure | e.adopting.number, Kind: kind, Epoch: e.durable.Epoch, Reason: p.Reason}
	e.begin(own, true)
}

// incomplete: a master whose volume is Secondary though nobody asked for that (it is new in the settings), or not mounted, or without its device.
// Whatever the machine itself mends (a process that is away, or died under its mount) is left to it.
func (e *engine) incomplete() bool {
	for _, v := range e.volumes {
		if !v.fact().Running {
			return false
		}
	}
	for _, v := range e.volumes {
		s := v.fact()
		if s.Role != ha.Primary && (s.Disk != ha.UpToDate || !s.Connected && !s.NeverHadPeer) {
			continue // it would refuse
		}
		_, mounted := e.mounted(v.setting)
		if v.setting.Filesystem != "" && v.setting.MountPoint != "" && !mounted {
			return true
		}
		if v.setting.Filesystem == "" && s.Device == "" {
			return true
		}
	}
	return false
}

// leftovers: something here serves although this node is no master.
func (e *engine) leftovers() bool {
	for _, v := range e.volumes {
		if _, mounted := e.mounted(v.setting); mounted || v.fact().Running && v.fact().Role == ha.Primary {
			return true
		}
	}
	return false
}

// inquire carries out what the plan wants to know.
func (e *engine) inquire(f ha.Facts, p ha.Plan) {
	e.shells.checks.Every(p.AskReferences)
	e.beginProbe(f, p)
	e.askSnapshots(f, p)
}

// tell answers wishes and writes the log.
func (e *engine) tell(f ha.Facts, p ha.Plan) {
	for _, r := range p.Replies {
		e.orders.reply(r)
	}
	for _, n := range p.Notes {
		e.note(control.Event{Log: n.Log, Code: n.Code, Severity: n.Severity, Text: n.Text})
	}
	e.conditions.update(p.Conditions, time.Now().UTC())
}

// gatherFound looks at what is in force on this machine before the first decision.
func (e *engine) gatherFound(ctx context.Context) {
	e.shells.services.Adopt()
	e.refreshServices()
	e.readHeld()()
	e.awaitReports(ctx)
	found := ha.Found{Addresses: len(e.addresses.held) > 0, SameBoot: e.durable.ServingBoot == e.boot}
	for _, name := range names(e.placement().stop) {
		found.Services = found.Services || e.serviceState(name).State == "running"
	}
	filesystems := false
	for _, v := range e.volumes {
		_, mounted := e.mounted(v.setting)
		found.Mounted = found.Mounted || mounted
		filesystems = filesystems || v.setting.Filesystem != "" && v.setting.MountPoint != ""
		found.Primary = found.Primary || v.fact().Running && v.fact().Role == ha.Primary
	}
	if !filesystems { // bare devices only: there is nothing to mount, and nothing missing
		found.Mounted = found.Primary
	}
	if e.noRecord && (found.Primary || found.Addresses) { // nobody serves without a record: it was lost
		e.stateNote = filepath.Join(e.dir, durableFile) + " is missing; the epoch is taken from the volumes and the peer"
		e.recordLost = true
	}
	if e.recordLost && (found.Primary || found.Addresses) {
		e.rebuildRecord()
		found.SameBoot = true
	}
	e.found = &found
	e.loadUnfinished()
}

// How long a starting engine waits for the first words of heart and of the volumes, so that the first decision knows what is there. Where this node
// served it waits longer: volumes on a busy machine would pass for gone, and their mounts be taken from under the services. They wait ten seconds.
const (
	reportsLimit       = 500 * time.Millisecond
	reportsLimitServed = 3 * time.Second
)

// awaitReports waits for these first words.
func (e *engine) awaitReports(ctx context.Context) {
	limit := reportsLimit
	if e.servedHere() {
		limit = reportsLimitServed
	}
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for !e.reported() {
		select {
		case <-ctx.Done():
			return
		case <-deadline.C:
			return
		case f := <-e.inbox:
			f()
		}
	}
}

// servedHere says whether this node may be serving: by its record of this boot, or by a mount of a volume.
func (e *engine) servedHere() bool {
	served := e.durable.Serving && e.durable.ServingBoot == e.boot
	for _, v := range e.volumes {
		_, mounted := e.mounted(v.setting)
		served = served || mounted
	}
	return served
}

func (e *engine) reported() bool {
	if e.heart.heardAt == 0 {
		return false
	}
	for _, v := range e.volumes {
		if !v.fact().Running {
			return false
		}
	}
	return true
}

// rebuildRecord stands in for a corrupt record: what serves in this boot was begun in it, under the epoch that the volumes hold.
func (e *engine) rebuildRecord() {
	d := ha.Durable{Armed: true, Serving: true, ServingBoot: e.boot}
	for _, v := range e.volumes {
		if epoch := v.fact().Epoch; d.Epoch.Less(epoch) {
			d.Epoch = epoch
		}
	}
	if b := e.heart.report.Beat; b != nil && d.Epoch.Less(b.Epoch) {
		d.Epoch = b.Epoch
	}
	e.store(d)
}

// loadUnfinished tells which procedure the engine before this one did not end. What becomes of it the machine decides anew: an adopted master is
// completed, anything else is tidied.
func (e *engine) loadUnfinished() {
	var saved savedProcedure
	path := filepath.Join(e.dir, procedureFile)
	if loadFile(path, &saved) != nil {
		return
	}
	if saved.Boot == e.boot {
		e.note(control.Event{Log: "failover", Code: "engine.adopted", Severity: ha.Warning,
			Text: "The engine was restarted in the middle of procedure " + string(saved.Procedure.Kind) + "; what is missing is decided anew."})
	}
	removeFile(path)
}
