package volume

import (
	"errors"
	"fmt"

	"evenkeel/replication"
	"evenkeel/replication/activity"
	"evenkeel/replication/control"
	"evenkeel/replication/wire"
)

// refused is a 409: a rule forbids it.
func refused(code, format string, args ...any) error {
	return &control.Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// promote makes this side primary. Outdate and promote are decided here, each one stored transaction with its epoch: the first wins.
func (l *loop) promote(p control.Promote) error {
	if l.area == nil {
		return refused("no_disk", "volume %s cannot be promoted: %s", l.config.Name, l.problemText)
	}
	l.doubtSession(p.Permission)
	ready := l.session != nil && l.session.ready // connected, or about to be
	if s := l.session; ready {
		if s.peerState.Role == string(replication.Primary) {
			return refused("peer_primary", "volume %s cannot be promoted: the peer is primary; demote it there first", l.config.Name)
		}
		if s.direction == replication.Target {
			return refused("sync_target", "volume %s cannot be promoted: it is being synchronised from the peer; wait until that is done", l.config.Name)
		}
	}
	next, err := l.state.Promote(replication.Epoch(p.Epoch), p.Force)
	if err == nil && p.Permission != "" && !ready && (p.Session == 0 || p.Session == l.newestSession()) {
		next, err = next.Permit(replication.Epoch(p.Epoch), p.Permission, l.boot)
	}
	if err != nil {
		return refused("not_promotable", "volume %s cannot be promoted: %v", l.config.Name, err)
	}
	was := l.state.Role()
	l.aliveAt, l.revoked = l.now, ""
	if err := l.save(next); err != nil {
		l.diskFailed(err)
		return err
	}
	if was != replication.Primary {
		l.tenure.Add(1)
		l.log.Info("Secondary -> Primary", "epoch", p.Epoch.Counter, "reason", p.Reason, "permission", p.Permission, "force", p.Force)
		l.problem("", "")
	}
	l.serving.Store(true)
	if err := l.startServing(); err != nil {
		l.log.Error("the NBD socket is not served", "why", err)
	}
	l.sendState()
	l.release()
	l.changed()
	return nil
}

// doubtSession ends a connection that is silent already when the engine says that the peer is gone: its profile may be faster than the
// connection's own limit.
func (l *loop) doubtSession(permission string) {
	if s := l.session; s != nil && permission != "" && l.now.Sub(s.heard) > pingEvery+tickEvery {
		l.endSession(wire.Refuse{Code: "silent", Text: "the peer is silent, and the engine says that it is gone"})
	}
}

// demote ends the role in order: no new requests, everything under way ends, both disks flushed. done gets the result.
func (l *loop) demote(done func(error)) {
	switch {
	case l.state.Role() != replication.Primary:
		done(nil)
		return
	case len(l.held) > 0 || !l.mirrors() && !l.state.Permitted():
		done(refused("holding", "volume %s cannot be demoted in order: it holds writes; permit them or revoke it", l.config.Name))
		return
	}
	tenure := l.tenure.Load()
	l.closeKernelThen(false, func(err error) {
		if err != nil {
			done(refused("in_use", "volume %s cannot be demoted: %v; unmount it first", l.config.Name, err))
			return
		}
		if l.tenure.Load() == tenure {
			l.stopServing()
		}
		l.quiet = append(l.quiet, func() { l.flushLast(tenure, done) })
	})
}

// flushLast makes everything stable on both sides, then ends the role; not a later one than it was asked to.
func (l *loop) flushLast(tenure uint64, done func(error)) {
	o := &op{from: &device{loop: l, tenure: tenure}, req: flushRequest(func(err error) {
		l.box.post(call(func(l *loop) {
			if l.tenure.Load() != tenure || l.state.Role() != replication.Primary {
				done(refused("revoked", "volume %s was not demoted in order: its role was taken away meanwhile", l.config.Name))
				return
			}
			if err == nil {
				l.serving.Store(false)
				err = l.writeBitmap()
			}
			if err == nil {
				err = l.save(l.state.Demote())
			}
			if err == nil {
				err = l.coolDown()
			}
			if err == nil {
				l.log.Info("Primary -> Secondary", "reason", "demoted")
				l.sendState()
				l.changed()
			}
			done(err)
		}))
	})}
	flight, weight := l.flight(o.req)
	flight.add(weight)
	o.start(l)
}

// coolDown forgets the hot extents after an orderly end of the role: both copies are flushed and equal there, so a later start of the
// process has nothing to compare.
func (l *loop) coolDown() error {
	if l.round != nil || len(l.unflushed) > 0 || l.activating || len(l.writing) > 0 {
		return nil
	}
	l.hot = activity.New(activity.Slots)
	return l.area.ClearLog()
}

// revoke ends the role at once, if there is one: what is held and what comes gets an I/O error. While connected the copies stay equal, and nobody can be
// newer than they are; then the licence ends when the connection does.
func (l *loop) revoke(reason string) {
	l.serving.Store(false)
	primary := l.state.Role() == replication.Primary
	next := l.state
	switch {
	case primary && l.mirrors():
		next, l.revoked = l.state.Demote(), reason
	case primary:
		next = l.state.Revoke(reason)
	}
	if l.area != nil {
		if err := l.save(next); err != nil {
			l.diskFailed(err)
		}
	}
	l.stopServing()
	l.failWaiting()
	if primary {
		l.log.Warn("Primary -> Secondary", "reason", "revoked: "+reason)
		l.problem("revoked", "revoked: "+reason)
		l.sendState()
	}
	l.changed()
}

// permit stores the permission, then lets go of what was held.
func (l *loop) permit(p control.Permit) error {
	if l.area == nil {
		return refused("no_disk", "volume %s has no disk", l.config.Name)
	}
	if p.Generation != "" && p.Generation != l.state.Current.ID.String() {
		return refused("other_generation", "the permission is for generation %s, volume %s is at %s", p.Generation, l.config.Name, l.state.Current.ID)
	}
	if p.Session != 0 && p.Session != l.newestSession() {
		return refused("other_session", "the permission is for the loss of session %d, the newest is %d", p.Session, l.newestSession())
	}
	if s := l.session; s != nil && s.ready { // connected, or about to be: a permission stored now would outlive the connection
		return refused("connected", "volume %s is connected: it needs no permission", l.config.Name)
	}
	next, err := l.state.Permit(replication.Epoch(p.Epoch), p.Reason, l.boot)
	if err != nil {
		return refused("not_permitted", "volume %s: %v", l.config.Name, err)
	}
	if err := l.save(next); err != nil {
		l.diskFailed(err)
		return err
	}
	l.log.Warn("permitted to go on alone", "reason", p.Reason, "epoch", p.Epoch.Counter)
	if l.wasWritten() && !l.rotateIfNeeded() {
		return errIO
	}
	l.release()
	l.changed()
	return nil
}

// wasWritten says whether the copies may differ already, or would after a crash, by what was under way: then the permission begins the new
// generation at once. The save has made all that was acknowledged stable here, so this copy has everything; without a name for that, a crash
// of this node would leave two copies of one generation, of which the survivor's blocks stay, beside another volume of which this node's do.
func (l *loop) wasWritten() bool { return l.bits.Count() > 0 || len(l.hot.Hot()) > 0 }

func (l *loop) withdraw() error {
	if l.area == nil {
		return nil
	}
	return l.save(l.state.Withdraw())
}

// outdate answers the peer's request; the answer is stored with the state that it tells of.
func (l *loop) outdate(o control.Outdate) (control.OutdateAnswer, error) {
	answer := replication.Answer{Number: o.Number, Boot: o.Boot, Session: o.Session, Epoch: replication.Epoch(o.Epoch)}
	answer.Generation, _ = parseID(o.Generation) // repeated as it was understood; zero names none
	if s := l.session; s != nil && s.live && o.Session != 0 && o.Session < s.number {
		return control.OutdateAnswer{}, refused("connected", "the request is for the loss of session %d, volume %s has been connected again since", o.Session, l.config.Name)
	}
	if l.area == nil {
		answer.Result, answer.Reason = "failed", "no_disk"
		if err := l.sayFailed(replication.Epoch(o.Epoch)); err != nil {
			return control.OutdateAnswer{}, err
		}
		return control.OutdateAnswer{Outdate: o, Result: answer.Result, Reason: answer.Reason}, nil
	}
	next, err := l.state.Outdate(replication.Epoch(o.Epoch))
	switch {
	case err != nil:
		next = l.state
		answer.Result, answer.Reason = "refused", "primary"
		if l.state.Role() != replication.Primary {
			answer.Reason = "epoch"
		}
	case next.Disk == replication.Inconsistent:
		answer.Result = "inconsistent"
	default:
		answer.Result = "outdated"
	}
	if answer.Result != "refused" {
		l.endSession(wire.Refuse{Code: "outdated", Text: "outdated at the peer's request"})
		next = next.PeerGone()
	}
	next.Answer = answer
	if err := l.save(next); err != nil {
		l.diskFailed(err)
		return control.OutdateAnswer{}, err
	}
	l.log.Info("asked to be Outdated", "answer", answer.Result, "reason", answer.Reason, "request", o.Number)
	l.changed()
	return answerOf(answer), nil
}

// peerOutdated stores the peer's answer; it counts only for the generation and session that are current.
func (l *loop) peerOutdated(a control.OutdateAnswer) error {
	switch {
	case l.area == nil:
		return refused("no_disk", "volume %s has no disk", l.config.Name)
	case a.Result == "refused":
		return refused("refused", "the peer refused to be outdated: %s", a.Reason)
	case l.mirrors():
		return refused("connected", "volume %s is connected again: the answer is out of date", l.config.Name)
	case a.Generation != "" && a.Generation != l.state.Current.ID.String():
		return refused("stale_answer", "the answer is about generation %s, volume %s is at %s", a.Generation, l.config.Name, l.state.Current.ID)
	case a.Session != 0 && a.Session != l.state.Mark.Session:
		return refused("stale_answer", "the answer is about session %d, the newest is %d", a.Session, l.state.Mark.Session)
	}
	return l.save(l.state.RecordPeerOutdated())
}

func (l *loop) endLicence(reason string) error {
	if l.area == nil {
		return nil
	}
	if l.state.Role() == replication.Primary {
		return refused("primary", "volume %s is primary: a licence is a secondary's", l.config.Name)
	}
	if l.mirrors() {
		return nil // connected: there is none to end
	}
	return l.save(l.state.EndLicence(reason))
}

// leave is a secondary's orderly end: it stores what it may, says so to the peer, and disconnects.
func (l *loop) leave() error {
	if l.state.Role() == replication.Primary {
		return refused("primary", "volume %s is primary: switch over or demote it first", l.config.Name)
	}
	l.wanting.Store(false)
	s := l.session
	if s == nil || !s.live || l.area == nil {
		l.endSession(wire.Refuse{Code: "left", Text: "the peer left"})
		return nil
	}
	r := wire.Refuse{Code: "left_in_sync", Text: "the peer left in order, in sync"}
	outdated := s.peerState.Role == string(replication.Primary)
	if outdated || l.state.Disk != replication.UpToDate {
		r = wire.Refuse{Code: "left_outdated", Text: "the peer left in order and stored Outdated"}
	}
	if err := l.save(l.state.Leave(outdated)); err != nil {
		l.diskFailed(err)
		return err
	}
	l.endSession(r)
	return nil
}

// resolve ends a split-brain: the side whose history goes becomes the target at the next contact.
func (l *loop) resolve(r control.Resolve) error {
	if l.area == nil {
		return refused("no_disk", "volume %s has no disk", l.config.Name)
	}
	var next replication.State
	var err error
	switch r.Discard {
	case "local":
		next, err = l.state.GiveUp()
		l.discardPeer = false
	case "peer":
		next = l.state.Keep()
		l.discardPeer = err == nil
	default:
		return &usage{"discard: enter local (this side's history goes) or peer"}
	}
	if err != nil {
		return refused("primary", "volume %s: %v", l.config.Name, err)
	}
	if err := l.save(next); err != nil {
		l.diskFailed(err)
		return err
	}
	l.log.Warn("split-brain: a person named the victim", "discard", r.Discard)
	l.problem("", "")
	l.connect()
	return nil
}

// connect lets the volume connect and dials now.
func (l *loop) connect() {
	l.wanting.Store(true)
	if l.problemCode == "split_brain" && l.state.Flags.Has(replication.SplitBrain) {
		l.problem("", "") // the next handshake says again what stands
	}
	l.nudge()
	l.changed()
}

// nudge makes the meeting try now.
func (l *loop) nudge() {
	select {
	case l.meeting.nudge <- struct{}{}:
	default:
	}
}

func (l *loop) disconnect() {
	l.wanting.Store(false)
	l.endSession(wire.Refuse{Code: "disconnected", Text: "node " + l.config.Node + " was disconnected by its administrator"})
	l.changed()
}

func (l *loop) pause(on bool) {
	l.paused = on
	l.sendState()
	l.pumpSync()
	l.changed()
}

// detach gives the backing disk up; a primary only by force, which costs its role.
func (l *loop) detach(force bool) error {
	if l.area == nil {
		return nil
	}
	if l.state.Role() == replication.Primary && !force {
		return refused("primary", "volume %s is primary: demote it, or detach it by force, which ends its role with I/O errors", l.config.Name)
	}
	l.closeKernelThen(true, func(error) {}) // lazy: it always ends
	if err := l.writeBitmap(); err != nil && !force {
		return fmt.Errorf("the bitmap cannot be written before detaching: %w", err)
	}
	l.diskFailed(errGivenUp)
	return nil
}

// errGivenUp is the end of a disk that did not fail.
var errGivenUp = errors.New("detached by an administrator")

// compare says what the handshake would find, in the API's words.
func (l *loop) compare(b []byte) (control.Verdict, error) {
	peer, err := replication.ParseSnapshot(b)
	if err != nil {
		return control.Verdict{}, &usage{err.Error()}
	}
	v := replication.Compare(l.ownSnapshot(), peer)
	return control.Verdict{Comparison: v.Comparison(), Rule: v.Rule, Reason: v.Reason, Full: v.Full, Bytes: v.Bytes}, nil
}

// ownSnapshot is the snapshot also where no disk is attached.
func (l *loop) ownSnapshot() replication.Snapshot {
	if l.area == nil {
		return replication.UnknownSnapshot(l.state.Volume, l.config.Node, l.size.Load())
	}
	return l.snapshot()
}

// configure changes what can be changed live: addresses, rate, hold. Another backing device is for another process: see moveOn.
func (l *loop) configure(c control.Config) error {
	old := l.config
	if c.Name != old.Name || c.Node != old.Node || c.Peer != old.Peer || c.StateDir != old.StateDir || c.RunDir != old.RunDir {
		return refused("not_live", "volume %s: its name, nodes and folders cannot change while it runs: restart its process", old.Name)
	}
	l.wanted = wanted{}
	if c.Backing != old.Backing || c.Faults != old.Faults {
		l.wanted.path = c.Backing
		l.log.Warn("another backing device is configured", "now", old.Backing, "wanted", c.Backing)
	}
	c.Backing, c.Faults = old.Backing, old.Faults
	l.config = c
	if c.Listen != old.Listen || c.Remote != old.Remote || c.Dialer != old.Dialer || c.ClusterID != old.ClusterID {
		l.endSession(wire.Refuse{Code: "reconfigured", Text: "node " + c.Node + " got another replication address", Again: true})
		if l.area != nil {
			l.greet()
		}
		l.meet()
	}
	l.changed()
	return nil
}

// usage is a 400: the request is wrong in itself.
type usage struct{ text string }

func (u *usage) Error() string { return u.text }
