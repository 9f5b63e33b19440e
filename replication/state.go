package replication

import (
	"errors"
	"fmt"
)

// Flags are the yes-or-no facts of a State. The numbering is part of the metadata and wire formats: only append.
type Flags uint32

// The flags. Names and meaning are DRBD's where DRBD has them (research/replication.md 2.1).
const (
	// PrimaryIndicator: this side is primary. Seen at attach it means CrashedPrimary.
	PrimaryIndicator Flags = 1 << iota
	// CrashedPrimary: this side stopped while primary; cleared once both copies are equal again.
	CrashedPrimary
	// ConnectedInSync: connected with an equal copy; the peer holds Current.
	ConnectedInSync
	// PeerOutdated: the peer stored Outdated (or worse) for this generation; nobody can be newer.
	PeerOutdated
	// PeerLeftInSync: the peer left in order, equal to this copy at Current.
	PeerLeftInSync
	// LeftInSync: this side left in order while equal. It entitles to nothing; it is for people.
	LeftInSync
	// FullSync: every bit counts as set, whatever the bitmap pages say.
	FullSync
	// JustCreated: `volume create` marked this disk; it holds nothing. The one meaning of "new".
	JustCreated
	// SplitBrain: a handshake found that both sides wrote without each other; unresolved.
	SplitBrain
	// LastPrimary: this side was primary and knows of no later primary on the peer.
	LastPrimary
	// HadPeer: a peer was in contact at least once; without it lone writes need neither permission nor rotation.
	HadPeer
	// Fresh: Current was begun here and nobody else ever held it, so lone writes go on under it. Without it they begin a new one.
	Fresh
	// Discard: a person gave this side's history up (split-brain); it is the target of the next handshake.
	Discard
	// SyncingTarget: a resync onto this disk is under way.
	SyncingTarget
	// ForcedPrimary: a person forced a promotion on a copy that was not UpToDate, and nothing was written since.
	ForcedPrimary
	// Died: since the copies were equal this side stopped without a word, primary or connected. Of two equal generations the survivor's blocks
	// stay, because a power cut may have taken from this disk what the survivor still has.
	Died
)

// Has says whether all of g are set.
func (f Flags) Has(g Flags) bool { return f&g == g }

// Permission is the engine's stored word that writes may be acknowledged alone. The zero value is none.
type Permission struct {
	Epoch      Epoch
	Generation GenerationID
	Reason     string // at most 31 bytes: outdated, dead, fenced, witness, person
}

// Mark is the rollback guard's counter: advanced at each connect and while writes flow, never backwards on an honest disk.
type Mark struct {
	Session uint64 // number of the replication session, rising over the pair's life
	Counter uint64 // within the session
}

// Less says whether m is older than n.
func (m Mark) Less(n Mark) bool {
	return m.Session < n.Session || m.Session == n.Session && m.Counter < n.Counter
}

// Answer is the stored answer to the peer's request to be outdated; repeated until the next contact.
type Answer struct {
	Number     uint64
	Boot       string // the asker's boot name, at most 47 bytes
	Generation GenerationID
	Session    uint64
	Epoch      Epoch
	Result     string // outdated, inconsistent, failed, refused; "" = none
	Reason     string // at most 47 bytes
}

// State is all that the superblock keeps besides geometry. It is a value: each method that changes it returns the new one, and the
// caller makes that durable (meta.Area.Save) before it acts on it. Methods named after an event assume the event has happened.
type State struct {
	Volume     [16]byte // the pair's random name for this volume
	Node       string   // own node id, at most 15 bytes
	Size       uint64   // usable bytes, equal on both sides once they have met
	Disk       DiskState
	Flags      Flags
	Current    GenerationEntry     // the data set as it is now
	BitmapOf   GenerationEntry     // the data set that the absent peer is supposed to hold; zero = none
	History    [16]GenerationEntry // what somebody may still hold, newest first
	Epoch      Epoch               // highest promotion counter seen
	Promoted   Epoch               // with which this side became primary last; zero = never
	Permission Permission
	Licence    string // why the licence ended, at most 47 bytes; "" = not ended
	Mark       Mark   // own
	PeerMark   Mark   // the highest that the peer confirmed as stable on its disk
	Answer     Answer
	Boot       [16]byte // boot name under which Permission was stored
	DiskID     [8]byte  // name of this disk's metadata area; set at its creation
	PeerDisk   [8]byte  // name of the peer's disk that PeerMark counts for
}

// New is the state of a disk that `volume create` marks. first: this copy holds the data: UpToDate under id. Else it is Inconsistent and
// just created, waiting for a full sync; id is not used.
func New(volume [16]byte, node string, size uint64, first bool, id GenerationID, at int64) State {
	s := State{Volume: volume, Node: node, Size: size, Disk: Inconsistent, Flags: JustCreated | FullSync}
	if first {
		s.Disk, s.Flags = UpToDate, Fresh
		s.Current = GenerationEntry{ID: id, Reason: ReasonCreated, Node: nodeLetter(node), At: at}
	}
	return s
}

// Role is Primary while the primary indicator is set.
func (s State) Role() Role {
	if s.Flags.Has(PrimaryIndicator) {
		return Primary
	}
	return Secondary
}

// NeverHadPeer says that lone acknowledgement needs no permission.
func (s State) NeverHadPeer() bool { return !s.Flags.Has(HadPeer) }

// Permitted says whether lone acknowledgement is permitted for the data set as it is now.
func (s State) Permitted() bool {
	return s.NeverHadPeer() || s.Permission.Reason != "" && s.Permission.Generation == s.Current.ID
}

// PeerRecord is what is stored of the absent peer: "", "outdated" or "left_in_sync".
func (s State) PeerRecord() string {
	switch {
	case s.Flags.Has(PeerOutdated):
		return "outdated"
	case s.Flags.Has(PeerLeftInSync):
		return "left_in_sync"
	}
	return ""
}

// Attach is the state at the start of the process: DRBD's flag rules. boot names the node's present boot; zero = not known.
// A primary's indicator becomes CrashedPrimary. UpToDate lasts only where nobody can be newer: there was never a peer, or this side was
// primary last and has the peer's record, or was permitted within this very boot. Else it is Consistent until a handshake.
func (s State) Attach(boot [16]byte) State {
	if s.Flags.Has(PrimaryIndicator) {
		s.Flags |= CrashedPrimary
	}
	if s.Flags&(ConnectedInSync|PrimaryIndicator) != 0 {
		s.Flags |= Died
	}
	s.Flags &^= PrimaryIndicator | ConnectedInSync
	if s.Flags.Has(SyncingTarget) {
		s.Disk = Inconsistent
	}
	sameBoot := s.Boot == boot && boot != [16]byte{} && s.Permission.Reason != "" && s.Permitted()
	last := s.Flags.Has(LastPrimary) && (s.PeerRecord() != "" || sameBoot)
	if s.Disk == UpToDate && !s.NeverHadPeer() && !last {
		s.Disk = Consistent
	}
	return s
}

// ErrRefused is wrapped by every transition that the rules forbid.
var ErrRefused = errors.New("refused")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrRefused}, args...)...)
}

// Promote makes this side primary under epoch e. It needs UpToDate, or force (a person's word), which also starts a data set of its own at
// the first write. A lower epoch than one seen is refused: outdate and promote are decided here, the first wins.
func (s State) Promote(e Epoch, force bool) (State, error) {
	if e.Less(s.Epoch) {
		return s, refuse("epoch %d,%s is below %d,%s that this volume has seen", e.Counter, e.Node, s.Epoch.Counter, s.Epoch.Node)
	}
	if s.Disk < Inconsistent {
		return s, refuse("the disk is %s", s.Disk)
	}
	if s.Flags.Has(JustCreated) && !force {
		return s, refuse("the disk was just created and holds no data")
	}
	if s.Disk != UpToDate && !force {
		return s, refuse("the disk is %s, not UpToDate", s.Disk)
	}
	if s.Disk != UpToDate {
		s.Flags |= ForcedPrimary
		s.Flags &^= JustCreated | SyncingTarget
		s.Disk = UpToDate
	}
	s.Flags |= PrimaryIndicator | LastPrimary
	s.Flags &^= LeftInSync
	s.Epoch, s.Promoted, s.Licence = e, e, ""
	return s, nil
}

// Demote ends the primary role in order: everything is flushed. An open permission ends with it.
func (s State) Demote() State {
	s.Flags &^= PrimaryIndicator
	s.Permission = Permission{}
	return s
}

// Revoke ends the primary role at once, and the licence with it, unless a stored record says that the peer cannot be newer.
func (s State) Revoke(reason string) State {
	permitted := s.Permitted() && s.Flags.Has(PeerOutdated) || s.NeverHadPeer()
	if s.Flags.Has(PrimaryIndicator) {
		s.Flags |= CrashedPrimary // held writes may be on this disk and nowhere else
	}
	s = s.Demote()
	if permitted {
		return s
	}
	return s.EndLicence(reason)
}

// Outdate answers the peer's request: this copy may miss what the peer acknowledges from now on. A primary refuses; a lower epoch than the
// highest seen is refused.
func (s State) Outdate(e Epoch) (State, error) {
	if s.Flags.Has(PrimaryIndicator) {
		return s, refuse("this side is primary under epoch %d,%s", s.Promoted.Counter, s.Promoted.Node)
	}
	if e.Less(s.Epoch) {
		return s, refuse("epoch %d,%s is below %d,%s", e.Counter, e.Node, s.Epoch.Counter, s.Epoch.Node)
	}
	s.Epoch = e
	s.Flags &^= LastPrimary
	if s.Disk > Outdated {
		s.Disk = Outdated
	}
	return s, nil
}

// EndLicence stores that this secondary may not take over by itself any more, with the reason.
func (s State) EndLicence(reason string) State {
	if s.Disk == UpToDate {
		s.Disk, s.Licence = Consistent, reason
	}
	return s
}

// HasLicence says that this secondary may decide once to take over: UpToDate, and it lost its primary.
func (s State) HasLicence() bool {
	return s.Disk == UpToDate && s.Role() == Secondary && !s.Flags.Has(ConnectedInSync)
}

// SawEpoch stores a higher epoch that was heard.
func (s State) SawEpoch(e Epoch) State {
	if s.Epoch.Less(e) {
		s.Epoch = e
	}
	return s
}

// Permit stores the permission to acknowledge alone; it counts for the present generation and moves with Rotate. boot as in Attach.
func (s State) Permit(e Epoch, reason string, boot [16]byte) (State, error) {
	if !s.Flags.Has(PrimaryIndicator) {
		return s, refuse("only a primary can be permitted to go on alone")
	}
	if e.Less(s.Epoch) {
		return s, refuse("epoch %d,%s is below %d,%s", e.Counter, e.Node, s.Epoch.Counter, s.Epoch.Node)
	}
	s.Permission = Permission{Epoch: e, Generation: s.Current.ID, Reason: reason}
	s.Epoch, s.Boot = e, boot
	return s, nil
}

// Withdraw ends the permission (reconnected, or the engine said so).
func (s State) Withdraw() State {
	s.Permission = Permission{}
	return s
}

// RecordPeerOutdated stores the peer's answer that it cannot be newer than Current.
func (s State) RecordPeerOutdated() State {
	s.Flags |= PeerOutdated
	return s
}

// PeerLeft stores that the peer left in order; inSync: equal to Current, and it promised to ask for nothing.
func (s State) PeerLeft(inSync bool) State {
	if inSync && s.Flags.Has(ConnectedInSync) {
		s.Flags |= PeerLeftInSync
	}
	return s.PeerGone()
}

// Leave stores that this side leaves in order. outdated: the peer said "primary" first, so this copy may miss what follows.
func (s State) Leave(outdated bool) State {
	switch {
	case outdated && s.Disk > Outdated:
		s.Disk = Outdated
		s.Flags &^= LastPrimary
	case s.Flags.Has(ConnectedInSync):
		s.Flags |= LeftInSync
	}
	return s.PeerGone()
}

// ForgetPeer ends what is on record of the absent peer. On a verdict without a sync it must be durable on both sides, and each must know it of
// the other, before either saves Agree: else one that crashes in between could start alone on a record that is not true any more.
func (s State) ForgetPeer() State {
	s.Flags &^= PeerOutdated | PeerLeftInSync
	return s
}

// WentBack is the state of a disk that turned out to be an older copy of itself before any contact: nothing on it is trusted.
func (s State) WentBack() State {
	s.Disk = Inconsistent
	s.Flags |= FullSync
	return s
}

// PeerGone is the loss of the connection; save it soon: it tells the survivor from the one that died. Nothing is rotated: that is lazy, see
// NeedsRotation.
func (s State) PeerGone() State {
	s.Flags &^= ConnectedInSync
	return s
}

// PeerPromoted notes that the peer is primary under e: this side was not the last primary any more.
func (s State) PeerPromoted(e Epoch) State {
	s.Flags &^= LastPrimary | PeerOutdated | PeerLeftInSync
	return s.SawEpoch(e)
}

// Fail is the loss of the own disk. It is never stored: the next attach finds the disk as a crash leaves it.
func (s State) Fail() State {
	s.Disk = Failed
	return s
}

// FoundSplitBrain stores the verdict; a licence ends with it, the data stay as they are.
func (s State) FoundSplitBrain() State {
	s.Flags |= SplitBrain
	if s.Role() == Secondary {
		s = s.EndLicence("split_brain")
	}
	return s
}

// GiveUp is a person's word that this side's history goes (survivor: the peer). A primary cannot be the victim.
func (s State) GiveUp() (State, error) {
	if s.Flags.Has(PrimaryIndicator) {
		return s, refuse("this side is primary; demote it before its history is given up")
	}
	s.Flags |= Discard
	s.Flags &^= Fresh // the survivor may act on this name; whatever is written here from now on needs another
	return s, nil
}

// Keep is a person's word that the peer's history goes: an earlier GiveUp of this side ends.
func (s State) Keep() State {
	s.Flags &^= Discard
	return s
}

// Connect begins replication session number n (both sides agree on the higher of NextSession); the mark starts anew within it.
func (s State) Connect(session uint64) State {
	s.Flags |= HadPeer
	if next := (Mark{Session: session}); s.Mark.Less(next) {
		s.Mark = next
	}
	return s
}

// NextSession is the lowest session number that this side can accept.
func (s State) NextSession() uint64 { return max(s.Mark.Session, s.PeerMark.Session) + 1 }

// Advance moves the own mark; the new one is confirmed to the peer once it is durable.
func (s State) Advance() State {
	s.Mark.Counter++
	return s
}

// ConfirmPeer stores a mark that the peer said is stable on its disk.
func (s State) ConfirmPeer(m Mark) State {
	if s.PeerMark.Less(m) {
		s.PeerMark = m
	}
	return s
}

func nodeLetter(node string) byte {
	if node == "" {
		return 0
	}
	return node[0]
}
