package engine

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/ha/heart"
)

// view is everything that a status is built from: what the loop knew after one step. It is never changed once published.
type view struct {
	at         time.Time
	facts      ha.Facts
	plan       ha.Plan
	since      ha.Instant
	settings   ha.Settings
	peer       ha.NodeID
	heart      heart.Report
	volumes    []VolumeState
	points     map[string]string // mount points of what is mounted
	held       map[string]ha.Instant
	services   []serviceState
	conditions []control.Condition
	procedure  *control.Procedure
	references []ha.ReferenceFact
	epoch      ha.Epoch
	armed      bool
}

// publish makes the newest view visible.
func (e *engine) publish() {
	v := &view{at: time.Now().UTC(), facts: e.facts, plan: e.plan, since: e.since, settings: e.settings, peer: e.peerID(),
		heart: e.heart.report, points: map[string]string{}, held: map[string]ha.Instant{}, services: slices.Clone(e.services),
		references: e.facts.References, epoch: e.durable.Epoch, armed: e.durable.Armed}
	for _, name := range e.volumeNames() {
		v.volumes = append(v.volumes, e.volumes[name].last())
	}
	for _, f := range e.facts.Volumes {
		if f.Mounted {
			v.points[f.Name] = e.volumes[f.Name].setting.MountPoint
		}
	}
	for prefix, since := range e.addresses.held {
		v.held[prefix.String()] = since
	}
	for _, c := range e.plan.Conditions {
		c.Text = ha.Sentence(c.Text)
		v.conditions = append(v.conditions, control.Condition{Condition: c, Since: e.conditions[[2]string{c.Code, c.Key}]})
	}
	if e.run != nil {
		shown := e.run.show
		shown.Steps = slices.Clone(shown.Steps)
		v.procedure = &shown
	}
	e.view.Store(v)
	e.changed.send()
}

func runningRole(r ha.Role) string {
	if r == ha.Master {
		return string(ha.MasterSide)
	}
	return string(ha.SlaveSide)
}

// status builds the contract's document (60-lab) from a view. A nil view is an engine that waits for its settings.
func (e *engine) status(v *view) control.Status {
	host, _ := os.Hostname()
	if v == nil {
		none := control.Condition{Condition: noSettings(), Since: wall(e.started).UTC()}
		return control.Status{Node: string(e.node), RunningRole: string(ha.SlaveSide), State: string(ha.Starting), StateReason: ptr(string(ha.ReasonNoSettings)),
			Links: []control.Link{}, Volumes: []control.Volume{}, Addresses: []control.Address{}, Services: []control.Service{},
			Conditions: []control.Condition{none}, References: []control.Reference{}, Processes: e.processes(), Version: e.o.Version,
			Takeover: control.Takeover{Blockers: []ha.Blocker{{Code: string(ha.ReasonNoSettings), Text: ha.ReasonNoSettings.Text()}}},
			Peer:     control.Peer{Verdict: string(ha.PeerUnknown)}, Hostname: host, At: time.Now().UTC()}
	}
	s := control.Status{
		Node: string(e.node), ConfiguredRole: string(v.facts.Settings.Configured), RunningRole: runningRole(v.plan.Role), State: string(v.plan.Role),
		StateReason: text(string(v.plan.Reason)), StateSince: wall(v.since), Epoch: v.epoch, Armed: v.armed, Attention: v.plan.Attention,
		Peer: v.peerStatus(), Links: v.linkStatus(), Volumes: v.volumeStatus(), Addresses: v.addressStatus(), Services: v.serviceStatus(),
		Conditions: append([]control.Condition{}, v.conditions...), Procedure: v.procedure, References: v.referenceStatus(),
		Takeover:  control.Takeover{Possible: v.plan.Takeover.Possible, Blockers: append([]ha.Blocker{}, v.plan.Takeover.Blockers...)},
		Settings:  control.SettingsState{Revision: v.settings.Revision, Digest: fmt.Sprintf("%08x", v.settings.Digest()), Pending: v.pending()},
		Processes: e.processes(), Heartbeat: v.heartbeatStatus(), Version: e.o.Version, Hostname: host, At: v.at,
	}
	return s
}

// noSettings is the condition of a node that waits for its settings.
func noSettings() ha.Condition {
	return ha.Condition{Code: "settings.none", Severity: ha.Critical, Side: "local",
		Text:   "No settings are in force on this node, so it does nothing: none were ever saved here, or none can be read, and its engine's log says why.",
		Remedy: "A new node: open its console and save the page General, or wait for the other node. Else look at the log for the file that is damaged."}
}

func ptr[T any](v T) *T { return &v }

// text is nil for an empty text: what is not known or does not apply is null.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// age is the time since an instant in ms, nil for never.
func (v *view) age(at ha.Instant) *int64 {
	if at == 0 {
		return nil
	}
	return ptr(max(0, v.facts.Now.Sub(at)).Milliseconds())
}

func (v *view) peerStatus() control.Peer {
	p := control.Peer{Node: string(v.peer), Alive: v.plan.Verdict == ha.PeerAlive, Verdict: string(v.plan.Verdict), LastHeardMS: v.age(v.facts.Other.FreshAt)}
	if b := v.facts.Other.Beat; b != nil {
		p.RunningRole, p.State, p.Revision = ptr(runningRole(b.Role)), ptr(string(b.Role)), ptr(b.Revision)
	}
	return p
}

func (v *view) linkStatus() []control.Link {
	list := []control.Link{}
	for _, l := range v.facts.Heart.Links {
		link := control.Link{Name: l.Name, Kind: string(l.Kind), Sync: l.Sync, State: string(l.State), IntervalMS: l.Interval.Milliseconds(),
			LastHeardMS: v.age(l.FreshAt), Lost: l.Lost, HeardByPeer: l.HeardByPeer, Carrier: l.Carrier, Problem: text(l.Problem),
			Refused: map[string]uint64{}}
		if c, known := v.heart.Counters[l.Name]; known {
			link.Refused = maps.Clone(c.Refused)
			if link.Refused == nil {
				link.Refused = map[string]uint64{}
			}
			if c.LongestGap > 0 {
				link.LongestGapMS = ptr(c.LongestGap.Milliseconds())
			}
		}
		list = append(list, link)
	}
	return list
}

func (v *view) volumeStatus() []control.Volume {
	list := []control.Volume{}
	for _, s := range v.volumes {
		f := s.Fact
		volume := control.Volume{Name: f.Name, Role: string(f.Role), Disk: string(f.Disk), PeerDisk: string(f.PeerDisk), Connection: f.Connection,
			OutOfSyncBytes: f.OutOfSync, Resync: s.Resync, Generation: string(f.Generation), SplitBrain: f.SplitBrain, Permission: text(f.Permission),
			Holding: f.Holding, Licence: f.Licence, Device: text(f.Device), Mount: text(v.points[f.Name]), Size: s.Size, Reason: text(s.Problem)}
		if !f.Running {
			volume = away(volume)
		}
		if !f.Connected {
			v.peersWord(&volume)
		}
		list = append(list, volume)
	}
	return list
}

// peersWord shows the peer's disk as its beats call it while nothing newer comes over the connection.
func (v *view) peersWord(volume *control.Volume) {
	if b := v.facts.Other.Beat; b != nil && v.plan.Verdict == ha.PeerAlive {
		for _, s := range b.Volumes {
			if s.Name == volume.Name && s.Disk != "" {
				volume.PeerDisk = string(s.Disk)
			}
		}
	}
}

// away is the status of a volume whose process does not answer: it serves nothing, whatever it said last.
func away(v control.Volume) control.Volume {
	v.Role, v.Disk, v.PeerDisk, v.Connection = string(ha.Secondary), string(ha.Diskless), string(ha.DUnknown), "StandAlone"
	v.Resync, v.Device, v.Holding, v.Licence, v.Permission = nil, nil, false, false, nil
	v.Reason = ptr("The volume's process does not answer.")
	return v
}

func (v *view) addressStatus() []control.Address {
	list := []control.Address{}
	for _, a := range v.facts.Addresses {
		address := control.Address{Address: a.Address, Device: a.Device, Held: a.Held}
		if since, held := v.held[a.Address]; held {
			address.Since = ptr(wall(since).Format(time.RFC3339))
		}
		list = append(list, address)
	}
	return list
}

func (v *view) serviceStatus() []control.Service {
	list := []control.Service{}
	for _, s := range v.facts.Services {
		service := control.Service{Name: s.Name, Placement: string(s.Placement), State: s.State}
		for _, known := range v.services {
			if known.Name == s.Name {
				service.Error = text(known.Error)
			}
		}
		list = append(list, service)
	}
	return list
}

func (v *view) referenceStatus() []control.Reference {
	list := []control.Reference{}
	for _, r := range v.references {
		list = append(list, control.Reference{Name: r.Name, State: string(r.State), AgeMS: v.age(r.AskedAt)})
	}
	return list
}

// pending says what waits for the peer.
func (v *view) pending() *string {
	b := v.facts.Other.Beat
	switch {
	case b == nil || v.plan.Verdict != ha.PeerAlive:
		return nil
	case b.Revision < v.settings.Revision:
		return ptr(fmt.Sprintf("The other node has revision %d; it is being sent.", b.Revision))
	case v.facts.Settings.DeadTime != v.settings.Heartbeat.DeadTime:
		return ptr(fmt.Sprintf("Time-out other node down stays %v until the other node has the new value too.", v.facts.Settings.DeadTime))
	}
	return nil
}

func (v *view) heartbeatStatus() control.HeartbeatState {
	in := v.facts.Settings
	return control.HeartbeatState{Profile: string(v.settings.Heartbeat.Profile), IntervalMS: in.Interval.Milliseconds(), DeadTimeMS: in.DeadTime.Milliseconds(),
		PromiseMS: in.Promise().Milliseconds(), ConfirmedMS: v.age(v.facts.Other.Confirmed), RealTime: v.facts.Heart.RealTime}
}
