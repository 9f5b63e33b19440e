package engine

import (
	"slices"
	"time"

	"evenkeel/ha"
)

// gather builds the facts of one decision from what the shells reported last.
func (e *engine) gather() ha.Facts {
	f := ha.Facts{
		Now: now(), Wall: time.Now().Unix(), Node: e.node, Peer: e.peerID(), Boot: e.boot, EngineStarted: e.started,
		References: e.shells.checks.References(), NoVolumes: len(e.settings.Replication.Volumes) == 0,
		Durable: e.durable, Requests: e.orders.requests(), Found: e.found,
	}
	f.Heart, f.Other = e.heart.facts(f.Now, e.settings.Heartbeat.Interval)
	f.Settings = e.effective(f.Other.Beat)
	f.Other.KernelAt, f.Other.AddressAt = e.probe.kernelAt, e.probe.addressAt
	f.Other.ProbeBegan, f.Other.ProbeEnded = e.probe.began, e.probe.ended
	f.Other.Snapshots = e.snapshots.fresh(f.Now)
	for _, name := range e.volumeNames() {
		v := e.volumes[name]
		fact := v.fact()
		_, fact.Mounted = e.mounted(v.setting)
		fact.Vowed = e.vows[name]
		f.Volumes = append(f.Volumes, fact)
		f.Other.VolumeAckAt = max(f.Other.VolumeAckAt, fact.LastAckAt)
	}
	f.Addresses = e.addressFacts()
	for _, s := range e.settings.Services {
		f.Services = append(f.Services, ha.ServiceFact{Name: s.Name, Placement: s.Placement, State: e.serviceState(s.Name).State})
	}
	if e.run != nil && !e.run.own {
		fact := e.run.fact
		f.Procedure = &fact
	}
	f.Unstored = e.storeError != nil
	f.Observed = e.observed()
	return f
}

// effective are the settings in force: this node's own, and with the peer's beat the larger and stricter of both.
func (e *engine) effective(beat *ha.Beat) ha.Effective {
	own := e.settings.Effective(e.node)
	own.Version = e.o.Version
	own.Armed = e.durable.Armed
	return own.Stricter(beat)
}

func (e *engine) peerID() ha.NodeID {
	if e.settings.General.MasterNode == e.node {
		return e.settings.General.SlaveNode
	}
	return e.settings.General.MasterNode
}

// side is this node's configured role.
func (e *engine) side() ha.Side {
	if e.settings.General.MasterNode == e.node {
		return ha.MasterSide
	}
	return ha.SlaveSide
}

// volumeNames are the configured volumes in a fixed order.
func (e *engine) volumeNames() []string {
	names := make([]string, 0, len(e.volumes))
	for name := range e.volumes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// mounted says from which device a volume's filesystem is mounted here.
func (e *engine) mounted(s ha.VolumeSetting) (string, bool) {
	if s.MountPoint == "" {
		return "", false
	}
	return e.shells.mounts.Mounted(s.MountPoint)
}

// observed are the conditions that only a shell can see.
func (e *engine) observed() []ha.Condition {
	var list []ha.Condition
	add := func(code string, severity ha.Severity, key, text, remedy string) {
		list = append(list, ha.Condition{Code: code, Severity: severity, Side: "local", Text: text, Remedy: remedy, Key: key})
	}
	if e.storeError != nil {
		add("state.not_stored", ha.Critical, "", "The engine's state cannot be stored: "+e.storeError.Error()+".",
			"Make room in, or repair, the state folder; until then this node takes nothing over.")
	}
	for _, note := range []string{e.stateNote, e.vowsNote} {
		if note != "" {
			add("state.unreadable", ha.Warning, note, "A file of the engine's was not readable at start: "+note+".",
				"A damaged file is kept beside it as NAME.corrupt; if this comes again, look at the state folder's disk.")
		}
	}
	if e.o.EventsWhy != nil {
		add("events.not_kept", ha.Warning, "", "What happens is not kept in the event log: "+e.o.EventsWhy.Error()+".",
			"Do what it says, then restart Evenkeel on this node; until then the engine's own log has the events.")
	}
	if e.taken.note != "" {
		add("settings.refused", ha.Warning, "", e.taken.note, e.taken.remedy)
	}
	for _, s := range e.settings.Services {
		if state := e.serviceState(s.Name); state.State == "failed" {
			add("service.failed", ha.Critical, s.Name, failedText(s.Name, state.Error),
				"Look at its log below the run folder, services/"+s.Name+".log.")
		}
	}
	list = append(list, e.unservedConditions()...)
	others := append(e.refusedConditions(), e.versionConditions()...)
	e.noteObserved(others)
	list = append(list, others...)
	list = append(list, e.volumeProblems()...)
	list = append(list, e.addressConditions()...)
	return append(list, e.processConditions()...)
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// conditionAges remembers since when each condition stands.
type conditionAges map[[2]string]time.Time

// update keeps what still stands and adds what is new.
func (c conditionAges) update(list []ha.Condition, at time.Time) {
	standing := map[[2]string]bool{}
	for _, condition := range list {
		key := [2]string{condition.Code, condition.Key}
		standing[key] = true
		if _, known := c[key]; !known {
			c[key] = at
		}
	}
	for key := range c {
		if !standing[key] {
			delete(c, key)
		}
	}
}
