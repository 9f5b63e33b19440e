package ha

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The conditions that the decision declares, one constructor each: code, severity, side, text, remedy. The shells' own (service.failed,
// address.missing, ...) come in as Facts.Observed and use the same constructors where one stands here.

// LinkQuietCondition: nothing fresh comes in over a link.
func LinkQuietCondition(link string) Condition {
	return Condition{"link.quiet", Warning, "pair", "Heartbeat link " + link + " is quiet: nothing fresh is heard over it.",
		"Check the cable, the device and the other node's device of that name.", link}
}

// LinkNeverCondition: nothing has come in over a link since this machine booted, though the other node lives.
func LinkNeverCondition(link string) Condition {
	return Condition{"link.quiet", Warning, "pair", "Heartbeat link " + link + " is quiet: nothing was heard over it since this machine booted.",
		"Check the cable, the device and the other node's device of that name; take the link off the Heartbeat page if there is none.", link}
}

// LinkOneWayCondition: we hear the peer over a link, and it does not hear us.
func LinkOneWayCondition(link string) Condition {
	return Condition{"link.one_way", Warning, "pair", "Heartbeat link " + link + " works in one direction only: the other node does not hear this one over it.",
		"Check the cable, filters and the switch port.", link}
}

// LinkProblemCondition: a link cannot work.
func LinkProblemCondition(link, problem string) Condition {
	return Condition{"link.quiet", Warning, "local", Sentence("Heartbeat link " + link + ": " + problem), "Correct the device on the Heartbeat page.", link}
}

// LinkSingleCondition: one link is left.
func LinkSingleCondition(link string) Condition {
	return Condition{"link.single", Warning, "pair", "Only one heartbeat link is left: " + link + ".", "Restore or add another link: one more failure looks like a death.", ""}
}

// PeerCondition: what is held of a peer that is not alive.
func PeerCondition(v PeerVerdict, why Reason) Condition {
	severity := Warning
	remedy := "Start the other node, or look at its console."
	switch v {
	case PeerDead:
		severity = Critical
	case PeerSick:
		severity = Critical
		remedy = "It hangs: restart that machine; or take over here with `takeover --force --confirm NODE`."
	}
	return Condition{"peer." + string(v), severity, "peer", "The other node is " + string(v) + ". " + why.Text(), remedy, ""}
}

// engineQuiet is how long the other node's engine may be silent before it is named: a restart takes less.
const engineQuiet = 3 * time.Second

// EngineSilentCondition: the peer's beats say that its engine does nothing; revoked, that its volumes and addresses went by themselves.
func EngineSilentCondition(silent time.Duration, revoked bool) Condition {
	severity, text := Warning, fmt.Sprintf("The other node's engine has been silent for %d s: nothing moves there.", int(silent.Seconds()))
	if revoked {
		severity, text = Critical, fmt.Sprintf("The other node's engine has been silent for %d s; its volumes and addresses went by themselves.", int(silent.Seconds()))
	}
	return Condition{"engine.silent", severity, "peer", text, "Look at its log; restart Evenkeel there.", ""}
}

// volumeCondition makes a condition of one volume.
func volumeCondition(code string, s Severity, name, text, remedy string) Condition {
	return Condition{code, s, "local", "Volume " + name + " " + text, remedy, name}
}

// ReferenceNoneCondition: no reference point is configured.
func ReferenceNoneCondition() Condition {
	return Condition{"reference.none", Critical, "pair", "No reference point is configured: a cut cannot be told from a death, so no automatic takeover happens.",
		"Add the default gateway as a reference point on the General page.", ""}
}

// ReferenceLostCondition: no reference point answers.
func ReferenceLostCondition() Condition {
	return Condition{"reference.lost", Warning, "local", "No reference point answers in time and without gaps.", "Check this node's secure LAN cable and the reference points.", ""}
}

// SettingsDifferCondition: the nodes have different settings in force.
func SettingsDifferCondition() Condition {
	return Condition{"settings.differ", Warning, "pair", "The two nodes have different settings in force.", "It ends by itself while both are connected; else save the settings again.", ""}
}

// AddressConflictCondition: a stranger answers for a virtual address.
func AddressConflictCondition(address, mac string) Condition {
	return Condition{"address.conflict", Critical, "pair", "Another machine (" + mac + ") answers for the virtual address " + address + ".",
		"Find the machine with that hardware address and give it another one.", address}
}

// AddressMissingCondition: a virtual address is not held though this node serves.
func AddressMissingCondition(address string) Condition {
	return Condition{"address.missing", Warning, "local", "The virtual address " + address + " is not on its device.", "Check the device; Evenkeel puts it back by itself.", address}
}

// AddressDeviceCondition: a virtual address is not held though this node serves, because this machine has no such device.
func AddressDeviceCondition(address, device string) Condition {
	return Condition{"address.missing", Warning, "local", "The network device " + device + " of the virtual address " + address + " is missing on this node.",
		"Look at the card, its driver and its name (ip link); the address is put back when the device is there again.", address}
}

// ArmedOffCondition: nothing moves by itself.
func ArmedOffCondition() Condition {
	return Condition{"armed.off", Warning, "pair", "The pair is disarmed: it observes and moves nothing by itself.", "Arm it when the work is done: `evenkeel arm`.", ""}
}

// PeerDisarmedCondition: the peer alone is disarmed.
func PeerDisarmedCondition(peer NodeID) Condition {
	return Condition{"armed.off", Warning, "peer", "The other node is disarmed: it takes nothing over by itself.", "Arm it when the work is done: `evenkeel arm` there.", string(peer)}
}

// PeerStandbyCondition: the peer must not become master.
func PeerStandbyCondition(peer NodeID) Condition {
	return Condition{"standby.on", Warning, "peer", "The other node is on standby: it takes nothing over.", "End it when the work is done: `evenkeel standby off` there.", string(peer)}
}

// StandbyOnCondition: this node must not become master.
func StandbyOnCondition() Condition {
	return Condition{"standby.on", Warning, "local", "This node is on standby and must not become master.", "End it when the work is done: `evenkeel standby off`.", ""}
}

// FlapLimitCondition: no further automatic move between two living nodes begins here within the hour.
func FlapLimitCondition() Condition {
	return Condition{"flap.limit", Warning, "local", ReasonFlapLimit.Text(),
		"Find what makes the role move (Logs, failover); a dead node is taken over all the same, and Tools moves the role at once.", ""}
}

// HeartNotRealtimeCondition: heart runs without a real-time class.
func HeartNotRealtimeCondition() Condition {
	return Condition{"heart.not_realtime", Warning, "local", "The heart process has no real-time class; under load its beats may be late.", "Run it as root, or allow SCHED_RR.", ""}
}

// SplitBrainCondition: the copies of a volume have diverged.
func SplitBrainCondition(name string) Condition {
	return Condition{"split_brain", Critical, "pair", "Volume " + name + ": both copies were written without each other. Neither is touched, and no automatic move happens.",
		"Compare both sides under Tools and choose: `volume resolve " + name + " --discard NODE --confirm NODE`.", name}
}

// conditions gathers what is in force now.
func (t *turn) conditions() {
	add := func(c Condition) { t.p.Conditions = append(t.p.Conditions, c) }
	t.linkConditions(add)
	t.peerConditions(add)
	for _, v := range t.f.Volumes {
		t.volumeConditions(v, add)
	}
	if t.needsReference() {
		switch {
		case len(t.f.References) == 0:
			add(ReferenceNoneCondition())
		case t.allReferencesBad() || t.f.NoVolumes && slices.Contains(t.p.Why, ReasonReferenceLost):
			add(ReferenceLostCondition())
		}
	}
	t.addressConditions(add)
	t.personsConditions(add)
	if t.f.Settings.SettingsDiffer {
		add(SettingsDifferCondition())
	}
	if t.flapLimited() {
		add(FlapLimitCondition())
	}
	t.addObserved()
}

func (t *turn) addressConditions(add func(Condition)) {
	for _, a := range t.f.Addresses {
		if a.Conflict != "" {
			add(AddressConflictCondition(a.Address, a.Conflict))
		}
		switch missing := t.role == Master && t.proc == nil && t.holdsAddresses() && !a.Held; {
		case missing && a.NoDevice:
			add(AddressDeviceCondition(a.Address, a.Device))
		case missing:
			add(AddressMissingCondition(a.Address))
		}
	}
}

// personsConditions are what people have switched off, here or there.
func (t *turn) personsConditions(add func(Condition)) {
	if !t.durable.Armed {
		add(ArmedOffCondition())
	}
	if t.durable.Standby {
		add(StandbyOnCondition())
	}
	if b := t.beat; b != nil {
		if !b.Armed && t.durable.Armed {
			add(PeerDisarmedCondition(t.f.Peer))
		}
		if b.Role == Standby {
			add(PeerStandbyCondition(t.f.Peer))
		}
	}
}

// addObserved adds what the shells saw, but what stands there already: one thing is named once.
func (t *turn) addObserved() {
	for _, o := range t.f.Observed {
		if !slices.ContainsFunc(t.p.Conditions, func(c Condition) bool { return c.Code == o.Code && c.Key == o.Key }) {
			t.p.Conditions = append(t.p.Conditions, o)
		}
	}
}

func (t *turn) allReferencesBad() bool {
	for _, r := range t.f.References {
		if r.State != ReferenceBad {
			return false
		}
	}
	return true
}

func (t *turn) linkConditions(add func(Condition)) {
	if t.f.Heart.Running && !t.f.Heart.RealTime {
		add(HeartNotRealtimeCondition())
	}
	up, missing, last := 0, 0, ""
	for _, l := range t.f.Heart.Links {
		switch {
		case l.Problem != "":
			add(LinkProblemCondition(l.Name, l.Problem))
		case l.HeardByPeer != nil && !*l.HeardByPeer && l.State != LinkNeverHeard && t.heardLately(l):
			add(LinkOneWayCondition(l.Name))
		case l.State == LinkQuiet:
			add(LinkQuietCondition(l.Name))
		case l.State == LinkNeverHeard && t.missed():
			add(LinkNeverCondition(l.Name))
		}
		switch {
		case l.State == LinkUp:
			up++
			last = l.Name
		case l.State == LinkQuiet || t.missed():
			missing++
		}
	}
	if up == 1 && (missing > 0 || len(t.f.Heart.Links) == 1) {
		add(LinkSingleCondition(last))
	}
}

// missed says whether a link that was never heard is to be named: the other node has been heard, here or elsewhere, and heart listens for
// longer than a node takes to open its links.
func (t *turn) missed() bool {
	return t.peer.verdict == PeerAlive && t.since(t.f.Heart.Since) >= max(t.d, 5*time.Second)
}

// heardLately says whether a link was heard within two and a half of its intervals: longer ago, it is quiet and not one-way.
func (t *turn) heardLately(l LinkFact) bool {
	limit := t.d / 2
	if l.Interval > 0 {
		limit = min(limit, l.Interval*5/2)
	}
	return t.since(l.HeardAt) <= limit
}

func (t *turn) peerConditions(add func(Condition)) {
	if t.peer.verdict != PeerAlive {
		add(PeerCondition(t.peer.verdict, t.peer.why))
	}
	if b := t.beat; b != nil && (b.EngineGone || b.EngineAge >= engineQuiet) {
		add(EngineSilentCondition(b.EngineAge, b.EngineGone))
	}
}

// peersDisk names a disk that is gone on the other node, by that node's own word.
func (t *turn) peersDisk(s VolumeSaying, add func(Condition)) {
	c := Condition{"volume.detached", Critical, "peer", "", "", s.Name + "/" + string(t.f.Peer)}
	switch s.Disk {
	case DiskFailed:
		c.Text = "The disk of volume " + s.Name + " on the other node failed."
		c.Remedy = "There: mend it, or replace it and create the volume on it again; then `volume connect " + s.Name + "`."
	case Diskless:
		c.Text = "Volume " + s.Name + " has no disk on the other node, or its process is away there."
		c.Remedy = "Look at that node's status, which says which. Put the right disk in its place, or replace it and create the volume on it again."
	default:
		return
	}
	add(c)
}

// ownDisk names what is wrong with the disk here; false: the volume does not answer, and nothing else is known of it.
func ownDisk(v VolumeFact, put func(code string, s Severity, text, remedy string)) bool {
	switch {
	case !v.Running:
		if v.BlockedReason != "" {
			put("volume.detached", Critical, "does not answer: "+v.BlockedReason+".", "Look at its backing disk and at the kernel's log; it goes on by itself when the disk answers.")
			return false
		}
		put("volume.detached", Critical, "does not answer: its process is away.", "It is restarted by itself; look at its log if it stays away.")
		return false
	case v.Disk == Diskless || v.Disk == DiskFailed:
		text := "has no working disk on this node."
		if why := strings.TrimPrefix(v.BlockedReason, "volume "+v.Name+" has no disk: "); why != "" {
			text = "has no working disk on this node: " + why + "."
		}
		remedy := "Put the right disk in its place, or replace it and create the volume on it again."
		if v.Disk == DiskFailed { // it is not looked for by itself
			remedy = "Mend it, or replace it and create the volume on it again; then `volume connect " + v.Name + "`."
		}
		put("volume.detached", Critical, text, remedy)
	case v.Disk == Outdated:
		put("volume.outdated", Warning, "is outdated here: the other node went on without this copy.", "Restore the replication link; it syncs by itself.")
	case v.Disk == Inconsistent:
		put("volume.inconsistent", Warning, "is inconsistent here until its sync has finished.", "Wait for the sync, or restore the replication link.")
	case v.Disk == Consistent:
		put("volume.consistent", Warning, "is whole here, but perhaps not the newest copy.", "Start the other node or restore the replication link.")
	}
	return true
}

func (t *turn) volumeConditions(v VolumeFact, add func(Condition)) {
	put := func(code string, s Severity, text, remedy string) {
		add(volumeCondition(code, s, v.Name, text, remedy))
	}
	if v.SplitBrain {
		add(SplitBrainCondition(v.Name))
	}
	if !ownDisk(v, put) {
		return
	}
	if s := t.said(v.Name); t.beat != nil && s != nil {
		t.peersDisk(*s, add)
	}
	switch {
	case v.NeverHadPeer:
	case v.OutOfSync > 0 && v.Connected:
		put("replication.resyncing", Warning, "is being synced.", "Wait; until it is done the node that is the target cannot take over.")
	case !v.Connected:
		put("replication.disconnected", Warning, "is not connected to its other copy.", "Check the replication network and the other node.")
	}
	if t.memory(v.Name).permit != "" && !v.Connected && t.serves() {
		put("volume.alone", Warning, "acknowledges alone: "+t.memory(v.Name).permit.Text(), "Restore the other node; it syncs by itself.")
	}
	if v.Holding && t.since(v.HoldingSince) >= t.f.Settings.Hold {
		put("volume.holding", Critical, "holds its writes: it must not go on without the other copy.",
			"Restore the replication link, or go on alone: `volume continue "+v.Name+" --confirm "+string(t.f.Peer)+"`.")
	}
}
