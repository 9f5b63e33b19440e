package replication

import "crypto/sha256"

// GenerationReason says why a data set began. The numbering is part of the formats: only append.
type GenerationReason uint8

// The reasons.
const (
	ReasonCreated  GenerationReason = 1 // volume create
	ReasonAlone    GenerationReason = 2 // first write after a copy stopped receiving
	ReasonForced   GenerationReason = 3 // first write after a forced promotion
	ReasonSync     GenerationReason = 4 // name of a resync's half-way data set
	ReasonAdopted  GenerationReason = 5 // taken over from the source of a finished resync
	ReasonReverted GenerationReason = 6 // return to the state before an interrupted resync
)

var generationReasons = [...]string{1: "created", 2: "alone", 3: "forced", 4: "sync", 5: "adopted", 6: "reverted"}

// String is the reason's code.
func (r GenerationReason) String() string {
	if r == 0 || int(r) >= len(generationReasons) {
		return "unknown"
	}
	return generationReasons[r]
}

// GenerationEntry is a generation with what people want to know of it; only ID takes part in decisions.
type GenerationEntry struct {
	ID     GenerationID
	Reason GenerationReason
	Node   byte  // first letter of the id of the node that began it
	At     int64 // Unix seconds of that node's clock
}

// SyncID names the half-way data set of a target with data set target that is being synchronised from source. Both ends compute it, so a
// lost start message is recognised at the next contact (DRBD's fixed offset, rules 51 and 71).
func SyncID(source, target GenerationID) GenerationID {
	h := sha256.New()
	h.Write([]byte("evenkeel sync 1"))
	h.Write(source[:])
	h.Write(target[:])
	var id GenerationID
	copy(id[:], h.Sum(nil))
	return id
}

// NeedsRotation says whether the next lone write must first begin a new generation: somebody else holds, or held, Current.
func (s State) NeedsRotation() bool {
	return s.Flags.Has(ForcedPrimary) || s.Flags.Has(HadPeer) && !s.Flags.Has(Fresh)
}

// Rotate begins generation id: from here on the bitmap counts what the holder of the old one misses, or still what the half-way target of a
// resync misses. It must be durable before the first write that relies on it completes. A permission moves along. Without NeedsRotation it
// changes nothing.
func (s State) Rotate(id GenerationID, at int64) State {
	if !s.NeedsRotation() {
		return s
	}
	reason := ReasonAlone
	if s.Flags.Has(ForcedPrimary) {
		reason = ReasonForced
	}
	if s.Permission.Generation == s.Current.ID {
		s.Permission.Generation = id
	}
	old := s.Current
	s.Current = GenerationEntry{ID: id, Reason: reason, Node: nodeLetter(s.Node), At: at}
	if s.BitmapOf.ID.IsZero() {
		s.BitmapOf = old
	} else {
		s.remember(old)
	}
	s.Flags |= Fresh
	s.Flags &^= ForcedPrimary | ConnectedInSync | Discard // whoever gave this side up knew nothing of what comes
	return s
}

// remember puts e at the head of the history, once.
func (s *State) remember(e GenerationEntry) {
	if e.ID.IsZero() || e.ID == s.Current.ID {
		return
	}
	for i := range s.History {
		if s.History[i].ID == e.ID {
			copy(s.History[1:i+1], s.History[:i])
			s.History[0] = e
			return
		}
	}
	copy(s.History[1:], s.History[:len(s.History)-1])
	s.History[0] = e
}

// resumes says that target was already being synchronised from source: names and bitmap stay.
func resumes(source, target Snapshot) bool {
	return target.Disk == Inconsistent && !source.BitmapOf.ID.IsZero() && source.BitmapOf.ID == target.Current.ID
}

// StartSyncSource is the source's first step of verdict v; durable before the start message goes. Its bitmap counts from the half-way data
// set on; full sets every bit (FullSync stands until the bitmap says so). Of two copies that meet, the one chosen is UpToDate.
func (s State) StartSyncSource(peer Snapshot, full bool) State {
	resumed := resumes(s.Snapshot(0), peer)
	s = s.meet(peer)
	s.Disk = UpToDate
	s.Flags |= HadPeer
	s.Flags &^= SplitBrain | Discard | PeerLeftInSync | ForcedPrimary
	s.Permission, s.Licence = Permission{}, ""
	if full {
		s.Flags |= FullSync
	}
	if resumed {
		return s
	}
	s.remember(s.BitmapOf)
	s.remember(peer.Current)
	s.BitmapOf = GenerationEntry{ID: SyncID(s.Current.ID, peer.Current.ID), Reason: ReasonSync, Node: nodeLetter(s.Node)}
	return s
}

// StartSyncTarget is the target's first step; durable before the first block is overwritten. What the target held goes into its history, and
// a just created disk takes the pair's name and size.
func (s State) StartSyncTarget(peer Snapshot, full bool) State {
	resumed := resumes(peer, s.Snapshot(0))
	s = s.meet(peer)
	s.Disk = Inconsistent
	s.Volume, s.Size = peer.Volume, peer.Size
	s.Flags |= HadPeer | SyncingTarget
	s.Flags &^= SplitBrain | Discard | JustCreated | LastPrimary | PeerOutdated | PeerLeftInSync | LeftInSync | Fresh | FullSync | ForcedPrimary
	s.Permission, s.Licence = Permission{}, ""
	if full {
		s.Flags |= FullSync
	}
	if resumed {
		return s
	}
	old := s.Current
	s.Current = GenerationEntry{ID: SyncID(peer.Current.ID, old.ID), Reason: ReasonSync, Node: nodeLetter(peer.Node)}
	if old.ID != peer.Current.ID { // an equal name under which the data differed is no past of this copy
		s.remember(old)
	}
	s.remember(s.BitmapOf)
	s.BitmapOf = GenerationEntry{}
	return s
}

// meet notes whose marks count from here on: another disk in the peer's place starts its own.
func (s State) meet(peer Snapshot) State {
	if s.PeerDisk != peer.DiskID {
		s.PeerDisk, s.PeerMark = peer.DiskID, Mark{}
	}
	return s
}

// BitmapIsFull notes that every bit is set durably, so FullSync need not stand for it any more.
func (s State) BitmapIsFull() State {
	s.Flags &^= FullSync
	return s
}

// PrepareFinish is the source's word, durable before "sync finished" is sent: what it had on record of the peer is gone, and the target may
// hold Current from now on.
func (s State) PrepareFinish() State {
	s.Flags &^= FullSync | Fresh
	return s.ForgetPeer()
}

// FinishSyncTarget is the target's step on "sync finished": it holds the source's data set under the source's names.
// The snapshot is the source's of after PrepareFinish; the caller has made the data stable and cleared the bitmap.
func (s State) FinishSyncTarget(source Snapshot) State {
	s.Current, s.BitmapOf, s.History = source.Current, GenerationEntry{}, source.History
	s.Disk, s.Licence, s.Answer = UpToDate, "", Answer{}
	s.Flags |= ConnectedInSync
	s.Flags &^= SyncingTarget | CrashedPrimary | Died | FullSync | PeerOutdated | PeerLeftInSync | LeftInSync
	return s.SawEpoch(source.Epoch)
}

// FinishSyncSource is the source's step on the target's word that it stored the end: nobody holds the half-way data set any more.
func (s State) FinishSyncSource() State {
	s.BitmapOf = GenerationEntry{}
	return s.inSync()
}

// Agree is the step of both sides on a verdict without a sync (Direction None), after ForgetPeer: the two copies that exist are equal, so both
// are UpToDate.
func (s State) Agree(peer Snapshot) State {
	s = s.meet(peer)
	s.remember(s.BitmapOf)
	s.BitmapOf = GenerationEntry{}
	s.Flags |= HadPeer
	return s.ForgetPeer().inSync().SawEpoch(peer.Epoch)
}

func (s State) inSync() State {
	s.Disk, s.Licence, s.Answer, s.Permission = UpToDate, "", Answer{}, Permission{}
	s.Flags |= ConnectedInSync
	s.Flags &^= CrashedPrimary | Died | SplitBrain | Fresh | LeftInSync | Discard
	return s
}
