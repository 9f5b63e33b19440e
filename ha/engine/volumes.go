package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"evenkeel/ha"
)

// Times of the calls to a volume.
const (
	volumeCallLimit = 3 * time.Second
	volumeRetry     = 200 * time.Millisecond
	aliveEvery      = 500 * time.Millisecond
	replicationPort = 7790 // + the volume's index
)

// volume is one volume's driver: its newest state, and at most one call in flight (and a revoke beside it).
type volume struct {
	setting ha.VolumeSetting // its name, mount point and file system never change: see applyVolumes
	config  VolumeConfig     // the loop's
	handle  Volume
	cancel  context.CancelFunc

	mu        sync.Mutex
	state     VolumeState // newest; Fact carries instants of this machine
	deafSince ha.Instant  // since when the process is away or stuck; zero = it answers

	// The loop's:
	busy      bool
	revoking  bool
	retryAt   ha.Instant
	revokeAt  ha.Instant
	aliveAt   ha.Instant
	lastError string
	pid       int
	killAt    ha.Instant  // no further KILL of a process that hangs before this
	noted     VolumeState // as the log knows it
	told      toldAnswer  // the peer's answer that the volume was told last
}

// last is the newest state; any goroutine may ask.
func (v *volume) last() VolumeState {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state
}

// fact is the newest state for a decision: a volume that hangs is as good as away.
func (v *volume) fact() ha.VolumeFact {
	s := v.last()
	if s.Fact.Running && v.hangs(now()) {
		s.Fact.Running, s.Fact.BlockedReason = false, s.Problem
	}
	return s.Fact
}

// awaitRole waits until the volume's own status shows a role that it was given, so that no later look sees the old one; half a second is
// ten times what that takes.
func (v *volume) awaitRole(ctx context.Context, role ha.VolumeRole) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil && v.fact().Role != role {
		wait(ctx, 2*time.Millisecond)
	}
}

// take turns a state's ages into instants that do not wander from report to report, and keeps it.
func (v *volume) take(s VolumeState, at ha.Instant) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.state.Fact
	switch {
	case s.Fact.Running && !s.Stuck:
		v.deafSince = 0
	case v.deafSince == 0:
		v.deafSince = at
	}
	if !s.Fact.Running { // all else is the last known
		v.state.Fact.Running = false
		return
	}
	f := &s.Fact
	f.Name = v.setting.Name
	since := func(age time.Duration, known ha.Instant, same bool) ha.Instant {
		if age < 0 {
			return 0
		}
		if same && known != 0 {
			return known
		}
		return at.Add(-age)
	}
	f.LostAt = since(s.Lost, old.LostAt, old.Session == f.Session && !old.Connected)
	if f.Connected {
		f.LostAt = 0
	}
	if f.Holding {
		f.HoldingSince = since(max(s.HeldFor, 0), old.HoldingSince, old.Holding)
	}
	if f.Permission != "" {
		f.PermittedAt = since(0, old.PermittedAt, old.Permission == f.Permission)
	}
	f.LastAckAt = max(old.LastAckAt, since(s.LastAck, 0, false))
	v.state = s
}

// applyVolumes makes the volumes of the settings run, and no others. One that the settings do not have any more ends in order: its process
// runs until nothing is mounted from it. One that is to be mounted elsewhere, or differently, ends likewise before it is opened again: were the new
// mount made beside the old one, two kernel file systems would write one disk.
func (e *engine) applyVolumes(s ha.Settings) {
	wanted := map[string]bool{}
	var configs []VolumeConfig
	for _, setting := range s.Replication.Volumes {
		config := e.volumeConfig(s, setting)
		configs = append(configs, config)
		wanted[setting.Name] = true
		switch v := e.volumes[setting.Name]; {
		case v != nil && v.mountsAs(setting):
			v.config = config
		case v != nil:
			delete(e.volumes, setting.Name)
			e.retire(v)
		case e.retiring[setting.Name] == nil: // else it is opened again when the old one has ended
			e.openVolume(setting, config)
		}
	}
	for name, v := range e.volumes {
		if !wanted[name] {
			delete(e.volumes, name)
			e.retire(v)
		}
	}
	for name, v := range e.retiring {
		if !wanted[name] {
			configs = append(configs, v.config)
		}
	}
	if err := e.o.Volumes.Apply(configs); err != nil {
		e.log.Error("volumes cannot be configured", "error", err)
		e.taken.note = fmt.Sprintf("The volumes' configuration cannot be written: %v.", err)
		e.taken.remedy = "Make room in, or repair, the run folder; then save the settings again, or restart Evenkeel on this node."
	}
}

// mountsAs says whether the volume's mount is the one of these settings.
func (v *volume) mountsAs(s ha.VolumeSetting) bool {
	return v.setting.MountPoint == s.MountPoint && v.setting.Filesystem == s.Filesystem
}

// retire stops what needs a volume that was removed, unmounts it and takes its device away; then its process may end.
func (e *engine) retire(v *volume) {
	name := v.setting.Name
	e.retiring[name] = v
	j := &job{e: e, volumes: []*volume{v}}
	users := e.needing(name)
	e.goRun("retire volume "+name, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, limitServices+limitUnmount+limitDevice)
		defer cancel()
		for _, service := range users {
			if err := e.shells.services.Stop(ctx, service); err != nil {
				e.log.Warn("service of a removed volume not stopped in order", "service", service, "error", err)
			}
		}
		if err := errors.Join(j.unmount(ctx), j.closeDevices(ctx)); err != nil {
			e.log.Warn("removed volume not taken down cleanly", "volume", name, "error", err)
		}
		e.post(func() {
			v.cancel()
			delete(e.retiring, name)
			e.applyVolumes(e.settings)
		})
	})
}

func (e *engine) openVolume(setting ha.VolumeSetting, config VolumeConfig) {
	ctx, cancel := context.WithCancel(e.ctx)
	v := &volume{setting: setting, config: config, handle: e.o.Volumes.Open(setting.Name), cancel: cancel}
	v.state.Fact.Name = setting.Name
	if e.vowsNote != "" { // which were made is not known
		e.vows[setting.Name] = true
	}
	e.volumes[setting.Name] = v
	e.goRun("volume "+setting.Name, func(context.Context) {
		v.handle.Follow(ctx, func(s VolumeState) {
			v.take(s, now())
			e.post(func() { e.noteVolume(v, s) })
		})
	})
}

// noteVolume tells the log what is new, and lets a new process be called at once.
func (e *engine) noteVolume(v *volume, s VolumeState) {
	if !s.Fact.Running || s.PID == 0 {
		return
	}
	for _, event := range volumeEvents(v.setting.Name, v.noted, s) {
		e.note(event)
	}
	v.noted = s
	if s.Fact.Connected {
		e.endVow(v.setting.Name)
	}
	if s.PID != v.pid {
		v.pid = s.PID
		v.retryAt = 0
	}
}

func (e *engine) volumeConfig(s ha.Settings, v ha.VolumeSetting) VolumeConfig {
	own, other := s.Replication.MasterAddress, s.Replication.SlaveAddress
	if s.Replication.ViaLAN {
		own, other = s.General.MasterAddress, s.General.SlaveAddress
	}
	backing := v.MasterBacking
	if e.side() == ha.SlaveSide {
		own, other, backing = other, own, v.SlaveBacking
	}
	port := uint16(replicationPort + v.Index)
	return VolumeConfig{
		Name: v.Name, Index: v.Index, Node: e.node, Peer: e.peerID(), Backing: filepath.Clean(backing),
		Listen: netip.AddrPortFrom(own, port).String(), Remote: netip.AddrPortFrom(other, port).String(),
		Dialer: e.side() == ha.SlaveSide, Rate: s.Replication.Rate, Hold: s.Effective(e.node).Hold, ClusterID: s.Heartbeat.ClusterID,
	}
}

// tellVolumes compares each wish with the volume's state and sends what differs. If the plan's record could not be stored, only a
// revoke is sent.
func (e *engine) tellVolumes(f ha.Facts, wishes []ha.VolumeWish, stored bool) {
	for _, w := range wishes {
		v := e.volumes[w.Name]
		if v == nil {
			continue
		}
		if w.Revoke && v.fact().Role == ha.Primary && v.fact().Running && !v.revoking {
			if f.Now >= v.revokeAt {
				e.revokeVolume(v)
			}
			continue
		}
		if !stored || v.busy || f.Now < v.retryAt {
			continue
		}
		if name, call := e.nextCall(f, v, w); call != nil {
			e.callVolume(v, name, call)
		}
	}
}

func (e *engine) revokeVolume(v *volume) {
	v.revoking = true
	epoch, reason := e.durable.Epoch, e.plan.Reason
	e.goRun("revoke "+v.setting.Name, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, volumeCallLimit)
		defer cancel()
		err := v.handle.Revoke(ctx, epoch, reason)
		e.post(func() {
			v.revoking = false
			v.revokeAt = now().Add(20 * time.Millisecond) // the status follows within that time
			if err != nil {
				v.revokeAt = now().Add(volumeRetry)
				e.log.Error("volume not revoked", "volume", v.setting.Name, "error", err)
			}
		})
	})
}

// toldAnswer names an answer of the peer's that one volume process was told.
type toldAnswer struct {
	number  uint64
	session uint64
	pid     int
}

type volumeCall func(ctx context.Context) error

// nextCall is the one call that brings the volume nearest to the wish; nil = nothing differs.
func (e *engine) nextCall(f ha.Facts, v *volume, w ha.VolumeWish) (string, volumeCall) {
	s := v.fact()
	if !s.Running {
		return "", nil
	}
	if a := w.PeerOutdated; a != nil && s.PeerRecord != "outdated" && v.told != (toldAnswer{a.Number, a.Session, v.pid}) {
		v.told = toldAnswer{a.Number, a.Session, v.pid}
		answer := *a
		return "peer outdated", func(ctx context.Context) error {
			err := v.handle.PeerOutdated(ctx, answer)
			if err != nil {
				e.post(func() { v.told = toldAnswer{} })
			}
			return err
		}
	}
	if w.Outdate != nil && f.Other.Beat != nil {
		request, boot := *w.Outdate, f.Other.Beat.Boot
		return "outdate", func(ctx context.Context) error {
			answer, err := v.handle.Outdate(ctx, boot, request)
			if err == nil {
				v.keepAnswer(answer)
			}
			return err
		}
	}
	if w.EndLicence != "" && s.Licence {
		return "end licence", func(ctx context.Context) error { return v.handle.EndLicence(ctx, w.EndLicence) }
	}
	if s.Role != ha.Primary {
		if w.Leave && s.Connection != "StandAlone" {
			return "leave", v.handle.Leave
		}
		return "", nil
	}
	if w.Permit != "" && s.Permission == "" && !s.Connected && !s.NeverHadPeer {
		epoch, on := e.durable.Epoch, decidedOn(f, w.Name) // what has changed since makes the volume refuse
		return "permit", func(ctx context.Context) error {
			return v.handle.Permit(ctx, epoch, on.Generation, on.Session, w.Permit)
		}
	}
	if w.Permit == "" && s.Permission != "" {
		return "withdraw", v.handle.Withdraw
	}
	return "", nil
}

// decidedOn is the volume as the decision saw it.
func decidedOn(f ha.Facts, name string) ha.VolumeFact {
	for _, v := range f.Volumes {
		if v.Name == name {
			return v
		}
	}
	return ha.VolumeFact{Generation: "none"} // no decision: the volume refuses
}

// keepAnswer lets the next decision see an answer before the volume's next status names it.
func (v *volume) keepAnswer(a ha.Answer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := append(v.state.Fact.AnsweredNow[:len(v.state.Fact.AnsweredNow):len(v.state.Fact.AnsweredNow)], a)
	v.state.Fact.AnsweredNow = list[max(0, len(list)-4):]
}

// callVolume runs one call; the newest wish is compared again when it has ended.
func (e *engine) callVolume(v *volume, name string, call volumeCall) {
	v.busy = true
	e.goRun(name+" "+v.setting.Name, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, volumeCallLimit)
		defer cancel()
		err := call(ctx)
		e.post(func() {
			v.busy = false
			v.retryAt = now().Add(20 * time.Millisecond) // the status follows within that time
			text := ""
			if err != nil {
				text, v.retryAt = err.Error(), now().Add(volumeRetry)
			}
			if text != v.lastError && text != "" {
				e.log.Warn("volume refused", "volume", v.setting.Name, "call", name, "error", err)
			}
			v.lastError = text
		})
	})
}

// sayAlive tells every volume that a step was completed.
func (e *engine) sayAlive(at ha.Instant) {
	for _, v := range e.volumes {
		if at.Sub(v.aliveAt) < aliveEvery || !v.fact().Running {
			continue
		}
		v.aliveAt = at
		e.goRun("alive "+v.setting.Name, func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_ = v.handle.Alive(ctx) // the status stream shows a volume that is away
		})
	}
}

// noVolume answers the peer's requests to outdate a volume that the settings of this node do not hold; the vow is stored before the answer.
func (e *engine) noVolume(f ha.Facts, say *ha.Saying) {
	if f.Other.Beat == nil {
		return
	}
	for _, r := range f.Other.Beat.Requests {
		if r.Kind != ha.AskOutdate || e.volumes[r.Volume] != nil || len(say.Answers) >= 4 || hasAnswer(*say, r) {
			continue
		}
		if !e.vow(r.Volume) {
			continue
		}
		say.Answers = append(say.Answers, ha.Answer{Number: r.Number, Boot: f.Other.Beat.Boot, Kind: r.Kind, Volume: r.Volume,
			Result: ha.AnsweredNoVolume, Generation: r.Generation, Session: r.Session, Epoch: r.Epoch})
	}
}

func hasAnswer(say ha.Saying, r ha.Request) bool {
	for _, a := range say.Answers {
		if a.Number == r.Number && a.Kind == r.Kind {
			return true
		}
	}
	return false
}

// vow stores that the peer was told that there is no such volume here. The word binds a volume of that name that comes later: it has no licence before it
// has been connected.
func (e *engine) vow(name string) bool {
	if e.vows[name] {
		return true
	}
	e.vows[name] = true
	if err := e.saveVows(); err != nil {
		delete(e.vows, name)
		return false
	}
	return true
}

// endVow forgets a vow once the volume's handshake has compared both copies. One that cannot be stored costs a licence at most.
func (e *engine) endVow(name string) {
	if e.vows[name] {
		delete(e.vows, name)
		_ = e.saveVows() // noted there
	}
}

func (e *engine) saveVows() error {
	err := saveFile(filepath.Join(e.dir, vowsFile), e.vows)
	e.noteStore(err)
	return err
}
