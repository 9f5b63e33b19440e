package engine

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/ha/heart"
)

const (
	conflictEvery = 5 * time.Second  // an address that a stranger owns is left alone for so long
	searchEvery   = 20 * time.Second // master and slave look for strangers: the one to defend what it holds, the other so that a promotion need not wait for it
	searchCounts  = time.Minute      // how long such a look counts
)

// addressState is what the loop knows of the virtual addresses. The kernel is changed under lock, so that an address cannot
// come on after it was taken off.
type addressState struct {
	lock    sync.Mutex  // held while the kernel is changed
	allowed atomic.Bool // the newest plan's word; the loop writes it

	// The loop's:
	held       map[netip.Prefix]ha.Instant // since when
	wasHeld    bool                        // all wished addresses were on: what vanishes from here on is news
	busy       bool
	dropping   bool
	reading    bool
	readAgain  bool
	readAt     ha.Instant
	retryAt    ha.Instant
	conflicts  map[netip.Prefix]string // MAC of a stranger
	askedAt    ha.Instant              // when conflicts were asked last
	searchAt   ha.Instant              // when it looks for strangers next
	searching  bool
	peerSilent bool     // the peer was dead or sick and was not heard since
	announced  bool     // this process told the networks where the addresses are
	devices    []string // of this machine, read with held; nil = not known
	lost       bool     // address.missing was noted and is not mended
}

// wishes are the virtual addresses of the settings.
func wishes(s ha.Settings) []wish {
	var list []wish
	for _, v := range s.Addresses {
		if !v.Enabled {
			continue
		}
		list = append(list, wish{v.Device, v.Address})
		for _, alias := range v.Aliases {
			list = append(list, wish{v.Device, alias})
		}
	}
	return list
}

// refreshAddresses has it read which addresses are held. One reading is under way at a time; who asks meanwhile gets another after it.
func (e *engine) refreshAddresses() {
	if e.addresses.reading {
		e.addresses.readAgain = true
		return
	}
	e.addresses.reading, e.addresses.readAgain = true, false
	e.goRun("addresses held", func(context.Context) {
		take := e.readHeld()
		e.post(func() {
			take()
			e.addresses.reading = false
			if e.addresses.readAgain {
				e.refreshAddresses()
			}
		})
	})
}

// readHeld reads from the kernel which addresses are held; the loop is to call what it returns. It is never called by the loop itself: while a device
// is reset or hangs, the kernel answers for seconds nobody who asks for addresses.
func (e *engine) readHeld() (take func()) {
	at := now()
	held, err := e.shells.addresses.Held()
	devices, devicesErr := e.shells.addresses.Devices()
	return func() {
		e.addresses.devices = devices
		if devicesErr != nil {
			e.log.Warn("network devices cannot be read", "error", devicesErr)
		}
		e.takeHeld(at, held, err)
	}
}

// takeHeld keeps what was read at an instant, unless a later reading was faster.
func (e *engine) takeHeld(at ha.Instant, held []wish, err error) {
	if at < e.addresses.readAt {
		return
	}
	e.addresses.readAt = at
	if err != nil {
		e.log.Warn("addresses cannot be read", "error", err)
		return
	}
	next := map[netip.Prefix]ha.Instant{}
	for _, w := range held {
		next[w.Address] = at
		if since, known := e.addresses.held[w.Address]; known {
			next[w.Address] = since
		}
	}
	e.addresses.held = next
}

func (e *engine) addressFacts() []ha.AddressFact {
	var list []ha.AddressFact
	for _, w := range wishes(e.settings) {
		_, held := e.addresses.held[w.Address]
		list = append(list, ha.AddressFact{Address: w.Address.String(), Device: w.Device, Held: held, NoDevice: e.deviceGone(w.Device), Conflict: e.addresses.conflicts[w.Address]})
	}
	return list
}

func (e *engine) addressConditions() []ha.Condition {
	var list []ha.Condition
	byOthers := func(w wish) bool { return !e.deviceGone(w.Device) }
	if e.addresses.lost && slices.ContainsFunc(e.missingAddresses(), byOthers) {
		list = append(list, ha.Condition{Code: "address.missing", Severity: ha.Warning, Side: "local",
			Text: "A virtual address was taken off this node by other software.", Remedy: "Find out which program manages the device; the address is put back."})
	}
	return list
}

// missingAddresses are wished, not held, and no stranger's.
func (e *engine) missingAddresses() (list []wish) {
	for _, w := range wishes(e.settings) {
		if _, held := e.addresses.held[w.Address]; !held && e.addresses.conflicts[w.Address] == "" {
			list = append(list, w)
		}
	}
	return list
}

// deviceGone says whether this machine surely has no such device.
func (e *engine) deviceGone(device string) bool {
	return e.addresses.devices != nil && !slices.Contains(e.addresses.devices, device)
}

// renewals are the addresses that heart keeps alive: those that this node holds and may hold.
func (e *engine) renewals() []heart.Renewal {
	if !e.plan.Addresses {
		return nil
	}
	var list []heart.Renewal
	for _, w := range wishes(e.settings) {
		if _, held := e.addresses.held[w.Address]; held {
			list = append(list, heart.Renewal{Device: w.Device, Address: w.Address.String(), Label: e.shells.addresses.Label(w.Device)})
		}
	}
	return list
}

// keepAddresses converges the kernel to the plan: off at once if they may not be held; on and complete in a steady master.
func (e *engine) keepAddresses(f ha.Facts, p ha.Plan) {
	if f.Now.Sub(e.addresses.readAt) > time.Second {
		e.refreshAddresses()
	}
	wasAllowed := e.addresses.allowed.Swap(p.Addresses)
	if !p.Addresses {
		e.addresses.wasHeld, e.addresses.lost = false, false
		if (wasAllowed || len(e.addresses.held) > 0) && !e.addresses.dropping {
			e.dropAddresses()
		}
		e.lookForStrangers(f, p)
		return
	}
	e.announceOnce()
	if p.Role != ha.Master || e.run.running() || e.addresses.busy {
		return
	}
	e.announceAfterSilence(p)
	e.noteMissing()
	if e.addressesComplete() || f.Now < e.addresses.retryAt {
		e.lookForStrangers(f, p)
		return
	}
	e.addresses.busy = true
	target := e.peerTarget()
	want := wishes(e.settings)
	askConflicts := f.Now.Sub(e.addresses.askedAt) > conflictEvery
	known, held := e.addresses.conflicts, e.addresses.held
	e.goRun("addresses on", func(ctx context.Context) {
		asked := askConflicts && (len(known) > 0 || !e.addressesRecentlyHeld(want)) // a stranger may have gone meanwhile
		if asked {
			known = e.findConflicts(ctx, want, target, known)
		}
		err := e.putAddresses(ctx, takeable(want, known, held))
		take := e.readHeld()
		e.post(func() {
			take()
			e.addressesDone(err, known, asked)
		})
	})
}

// announceOnce says where the addresses are as soon as this process sees them held: the engine before it may have died between putting them on
// and telling it, and then the networks still send to the other node.
func (e *engine) announceOnce() {
	if !e.addresses.announced && len(e.addresses.held) > 0 && e.addressesComplete() {
		e.addresses.announced = true
		e.shells.addresses.Announce(wishes(e.settings))
	}
}

// announceAfterSilence says again where the addresses are when the peer is heard after a silence: switches may have learned otherwise.
func (e *engine) announceAfterSilence(p ha.Plan) {
	silent := p.Verdict == ha.PeerDead || p.Verdict == ha.PeerSick
	if e.addresses.peerSilent && p.Verdict == ha.PeerAlive {
		e.shells.addresses.Announce(wishes(e.settings))
	}
	e.addresses.peerSilent = silent || e.addresses.peerSilent && p.Verdict != ha.PeerAlive
}

// lookForStrangers asks at leisure who else answers for the addresses: on a slave whose peer lives, and on the master. Where the peer's hardware
// address is not known nobody is asked, or the peer would be taken for a stranger.
func (e *engine) lookForStrangers(f ha.Facts, p ha.Plan) {
	looks := p.Role == ha.Master || p.Role == ha.Slave && p.Verdict == ha.PeerAlive
	if !looks || e.addresses.searching || f.Now < e.addresses.searchAt {
		return
	}
	target, known := e.peerTarget(), e.addresses.conflicts
	ask := slices.DeleteFunc(wishes(e.settings), func(w wish) bool { return target.MACs[w.Device] == "" })
	if len(ask) == 0 {
		return
	}
	e.addresses.searching, e.addresses.searchAt = true, f.Now.Add(searchEvery)
	e.goRun("strangers", func(ctx context.Context) {
		strangers := e.findConflicts(ctx, ask, target, known)
		e.post(func() {
			e.addresses.searching = false
			e.takeConflicts(strangers)
		})
	})
}

// recentStrangers is what a look found that still counts; nil = there was none.
func (e *engine) recentStrangers(at ha.Instant) map[netip.Prefix]string {
	if e.addresses.askedAt == 0 || at.Sub(e.addresses.askedAt) > searchCounts {
		return nil
	}
	return e.addresses.conflicts
}

// addressesDone takes the end of a convergence.
func (e *engine) addressesDone(err error, conflicts map[netip.Prefix]string, asked bool) {
	e.addresses.busy = false
	if asked {
		e.takeConflicts(conflicts)
	}
	if err != nil {
		e.addresses.retryAt = now().Add(time.Second)
		e.log.Warn("virtual addresses incomplete", "error", err)
		return
	}
	if e.addressesComplete() && e.addresses.lost {
		e.addresses.lost = false
		e.note(control.Event{Log: "failover", Code: "address.back", Severity: ha.Info, Text: "The virtual address is back on this node."})
	}
}

// takeConflicts keeps who else answers and notes what is new. An address that this node holds is defended: kept, and announced again (RFC 5227 2.4).
func (e *engine) takeConflicts(conflicts map[netip.Prefix]string) {
	defended := false
	for address, mac := range conflicts {
		what := "it is not taken"
		if _, held := e.addresses.held[address]; held {
			what, defended = "this node keeps it, and announces it again every 20 s", true
		}
		if e.addresses.conflicts[address] == "" {
			e.note(control.Event{Log: "failover", Code: "address.conflict", Severity: ha.Critical,
				Text: fmt.Sprintf("Virtual address %s is answered by a stranger with the hardware address %s: %s.", address, mac, what)})
		}
	}
	e.addresses.conflicts, e.addresses.askedAt = conflicts, now()
	if defended {
		e.shells.addresses.Announce(wishes(e.settings))
	}
}

// addressesRecentlyHeld: an address that other software deleted is put back without asking around first.
func (e *engine) addressesRecentlyHeld(want []wish) bool {
	held, err := e.shells.addresses.Held()
	return err == nil && len(held) > 0 && len(held) < len(want)
}

// noteMissing tells of an address that vanished although nobody here took it off.
func (e *engine) noteMissing() {
	if e.addressesComplete() {
		e.addresses.wasHeld = true
		return
	}
	if !e.addresses.wasHeld || e.addresses.lost {
		return
	}
	for _, w := range e.missingAddresses() {
		text := fmt.Sprintf("Virtual address %s vanished from %s; it is put back.", w.Address, w.Device)
		if e.deviceGone(w.Device) {
			text = fmt.Sprintf("Virtual address %s is not here because its network device %s is missing; it is put back when the device is there again.", w.Address, w.Device)
		}
		e.addresses.lost = true
		e.note(control.Event{Log: "failover", Code: "address.missing", Severity: ha.Warning, Text: text})
	}
}

// addressesComplete: every wished address is held, or a stranger has it.
func (e *engine) addressesComplete() bool {
	want := map[netip.Prefix]bool{}
	for _, w := range wishes(e.settings) {
		want[w.Address] = true
		if _, held := e.addresses.held[w.Address]; !held && (e.addresses.conflicts[w.Address] == "" || now().Sub(e.addresses.askedAt) > conflictEvery) {
			return false
		}
	}
	for address := range e.addresses.held {
		if !want[address] {
			return false
		}
	}
	return true
}

// findConflicts asks who else answers for the addresses; the peer's own answers do not count, because the decision settles that. What was known of an
// address that could not be asked about stays.
func (e *engine) findConflicts(ctx context.Context, ask []wish, peer probeTarget, known map[netip.Prefix]string) map[netip.Prefix]string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	found, failed := e.shells.addresses.Conflict(ctx, ask)
	if len(failed) > 0 {
		e.log.Warn("conflict probe failed", "devices", failed)
	}
	strangers := maps.Clone(known)
	if strangers == nil {
		strangers = map[netip.Prefix]string{}
	}
	for _, w := range ask {
		if failed[w.Device] == nil {
			delete(strangers, w.Address)
		}
	}
	for address, mac := range found {
		if !isPeer(peer, mac) {
			strangers[address] = mac
		}
	}
	return strangers
}

func isPeer(peer probeTarget, mac string) bool {
	for _, known := range peer.MACs {
		if strings.EqualFold(known, mac) {
			return true
		}
	}
	return false
}

// takeable are the addresses that no stranger has, and those that this node holds already: who comes later does not drive it out.
func takeable(want []wish, strangers map[netip.Prefix]string, held map[netip.Prefix]ha.Instant) []wish {
	var list []wish
	for _, w := range want {
		if _, ours := held[w.Address]; ours || strangers[w.Address] == "" {
			list = append(list, w)
		}
	}
	return list
}

// putAddresses makes these the addresses that are held, unless they were ordered off meanwhile.
func (e *engine) putAddresses(ctx context.Context, list []wish) error {
	e.addresses.lock.Lock()
	defer e.addresses.lock.Unlock()
	if !e.addresses.allowed.Load() { // whoever forbids writes that first and then waits for the lock
		return errAbandoned
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return e.shells.addresses.Converge(ctx, list)
}

// takeOff takes every address of ours off.
func (e *engine) takeOff() error {
	e.addresses.lock.Lock()
	defer e.addresses.lock.Unlock()
	return e.shells.addresses.DropAll()
}

// dropAddresses takes all of them off at once, without holding the loop up.
func (e *engine) dropAddresses() {
	e.addresses.dropping = true
	e.goRun("addresses off", func(context.Context) {
		err := e.takeOff()
		take := e.readHeld()
		e.post(func() {
			take()
			e.addresses.dropping = false
			if err != nil {
				e.log.Error("virtual addresses not off", "error", err)
			}
		})
	})
}
