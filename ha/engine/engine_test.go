package engine

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// peerSlave is a peer that stands by.
func peerSlave(at ha.Instant, _ ha.Saying) *ha.Beat {
	return &ha.Beat{Node: "b", Boot: ha.BootName{2}, SentAt: at, Saying: ha.Saying{Role: ha.Slave, Armed: true, Healthy: true, Mode: ha.Evidence,
		DeadTime: 600 * time.Millisecond, Revision: 1}}
}

func held(s control.Status) bool {
	for _, a := range s.Addresses {
		if !a.Held {
			return false
		}
	}
	return len(s.Addresses) > 0
}

// The configured master of a pair without a volume serves when the peer stands by (M2).
func TestPromotesWithoutVolume(t *testing.T) {
	b := newBench(t, false)
	b.heart.peer = peerSlave
	b.start()
	s := b.await("master with its address", func(s control.Status) bool { return s.State == string(ha.Master) && held(s) })
	if s.RunningRole != "master" || s.Epoch.Counter == 0 || s.Epoch.Node != "a" {
		t.Errorf("status %+v", s)
	}
	b.heart.mu.Lock()
	defer b.heart.mu.Unlock()
	if b.heart.setup == nil || len(b.heart.setup.Links) != 2 || b.heart.setup.Links[0].Name != "lan" {
		t.Errorf("setup %+v", b.heart.setup)
	}
}

// A whole promotion with a volume, in order.
func TestPromotesWithVolume(t *testing.T) {
	b := newBench(t, true)
	b.computer.addVolume("data", false)
	b.start()
	if _, err := waitOutcome(b, control.Order{Force: true, Confirm: "a"}); err != nil {
		t.Fatal(err)
	}
	b.await("whole", func(s control.Status) bool {
		return s.State == string(ha.Master) && held(s) && s.Volumes[0].Role == "Primary" && s.Volumes[0].Mount != nil && s.Services[1].State == "running"
	})
	inOrder(t, b.computer.history(), "promote", "device", "mount /srv/data", "guestbook running", "address 10.88.1.100/24")
	if !b.events.has("procedure.done") {
		wait(t.Context(), 200*time.Millisecond)
		if !b.events.has("procedure.done") {
			t.Error("no event about the procedure")
		}
	}
}

func waitOutcome(b *bench, o control.Order) (control.Outcome, error) {
	b.t.Helper()
	b.await("answering", func(s control.Status) bool { return s.State != "" && s.ConfiguredRole != "" })
	return b.client.Takeover(b.t.Context(), o)
}

func inOrder(t *testing.T, history string, parts ...string) {
	t.Helper()
	rest := history
	for _, part := range parts {
		i := indexOf(rest, part)
		if i < 0 {
			t.Fatalf("%q is missing, or too early, in: %s", part, history)
		}
		rest = rest[i+len(part):]
	}
}

func indexOf(s, part string) int {
	for i := 0; i+len(part) <= len(s); i++ {
		if s[i:i+len(part)] == part {
			return i
		}
	}
	return -1
}

// A failed mount is taken back: no primary, no mount, no address stays behind.
func TestFailedMountIsTakenBack(t *testing.T) {
	b := newBench(t, true)
	v := b.computer.addVolume("data", false)
	b.computer.mountErr = errors.New("wrong fs type")
	b.start()
	_, err := waitOutcome(b, control.Order{Force: true, Confirm: "a"})
	if err == nil {
		t.Fatal("a takeover that cannot mount was told to be done")
	}
	b.await("clean", func(s control.Status) bool {
		return s.State != string(ha.Promoting) && s.Volumes[0].Role == "Secondary" && !held(s)
	})
	b.computer.mu.Lock()
	defer b.computer.mu.Unlock()
	if len(b.computer.mounts) != 0 || v.fact.Role != ha.Secondary {
		t.Errorf("left behind: mounts %v, role %s", b.computer.mounts, v.fact.Role)
	}
}

// An engine that is killed and started again adopts what it finds: no role change, nothing touched.
func TestAdopts(t *testing.T) {
	b := newBench(t, true)
	b.computer.addVolume("data", false)
	b.start()
	if _, err := waitOutcome(b, control.Order{Force: true, Confirm: "a"}); err != nil {
		t.Fatal(err)
	}
	first := b.await("whole", func(s control.Status) bool { return s.State == string(ha.Master) && held(s) })
	b.end()
	before := b.computer.history()
	b.start()
	second := b.await("master again", isState(ha.Master))
	b.await("some steps later", func(s control.Status) bool { return s.At.Sub(second.At) > 300*time.Millisecond })
	if after := b.computer.history(); after != before+", announce" { // which changes nothing here
		t.Errorf("something else than an announcement was done while adopting: %s", after[len(before):])
	}
	if second.Epoch != first.Epoch {
		t.Errorf("epoch %v became %v", first.Epoch, second.Epoch)
	}
}

// An address that other software deletes is back, with two events.
func TestAddressComesBack(t *testing.T) {
	b := newBench(t, false)
	b.heart.peer = peerSlave
	b.start()
	b.await("master with its address", func(s control.Status) bool { return s.State == string(ha.Master) && held(s) })
	b.await("procedure over", func(s control.Status) bool { return s.Procedure != nil && s.Procedure.State == "done" })
	wait(t.Context(), 150*time.Millisecond) // two ticks: the loop has seen it complete
	b.computer.mu.Lock()
	clear := b.computer.held
	for prefix := range clear {
		delete(clear, prefix)
	}
	changed := b.computer.changed
	b.computer.mu.Unlock()
	began := time.Now()
	changed()
	for len(heldNow(b)) == 0 && time.Since(began) < 5*time.Second {
		wait(t.Context(), time.Millisecond)
	}
	t.Logf("back after %v (stated: 100 ms)", time.Since(began))
	if took := time.Since(began); took > 300*time.Millisecond {
		t.Errorf("the address was back after %v only", took)
	}
	b.await("told", func(control.Status) bool { return b.events.has("address.missing") && b.events.has("address.back") })
}

// An address whose network device is missing was taken off by nobody, and the device is what has to be looked for.
func TestAddressOfAMissingDevice(t *testing.T) {
	b := newBench(t, false)
	b.heart.peer = peerSlave
	b.start()
	b.await("master with its address", func(s control.Status) bool { return s.State == string(ha.Master) && held(s) })
	seen := 0
	b.await("procedure over, and seen complete", func(s control.Status) bool { // a decision or more lies between two of these
		if s.Procedure != nil && s.Procedure.State == "done" {
			seen++
		}
		return seen > 2
	})
	b.setDevice("lan")
	s := b.await("named", func(s control.Status) bool { return hasCondition(s, "address.missing") })
	for _, c := range s.Conditions {
		if c.Code == "address.missing" && !strings.Contains(c.Text, "network device lan of the virtual address 10.88.1.100/24 is missing") {
			t.Errorf("the condition says: %s", c.Text)
		}
	}
	b.setDevice("")
	b.await("back", func(s control.Status) bool {
		return held(s) && !hasCondition(s, "address.missing") && b.events.has("address.back")
	})
	if text := b.events.text("address.missing"); !strings.Contains(text, "because its network device lan is missing") {
		t.Errorf("the event says: %s", text)
	}
}

// setDevice takes a network device and its addresses away; "" brings all back.
func (b *bench) setDevice(gone string) {
	b.computer.mu.Lock()
	b.computer.gone = gone
	for prefix, w := range b.computer.held {
		if w.Device == gone {
			delete(b.computer.held, prefix)
		}
	}
	changed := b.computer.changed
	b.computer.mu.Unlock()
	changed()
}

func heldNow(b *bench) []wish {
	list, _ := fakeAddresses{b.computer}.Held()
	return list
}

// A stranger's address is named and not taken.
func TestStrangerKeepsTheAddress(t *testing.T) {
	b := newBench(t, false)
	b.heart.peer = peerSlave
	other := testSettings(false).Addresses[0]
	other.Device, other.Address = "wan", netip.MustParsePrefix("10.88.2.100/24") // which no stranger has
	other.MasterAddress, other.SlaveAddress = netip.MustParseAddr("10.88.2.1"), netip.MustParseAddr("10.88.2.2")
	b.settings.all[0].Addresses = append(b.settings.all[0].Addresses, other)
	b.computer.stranger = map[netip.Prefix]string{wishes(testSettings(false))[0].Address: "02:00:00:00:00:99"}
	b.start()
	s := b.await("condition", func(s control.Status) bool { return anyCondition(s, "address.conflict") })
	if held(s) {
		t.Error("the address was taken although a stranger has it")
	}
	b.computer.mu.Lock()
	b.computer.stranger = nil
	b.computer.mu.Unlock()
	b.await("the address is taken when the stranger is gone", held)
}

// A stranger who comes while this node holds the address does not drive it out: it is named, the address stays and is announced again. An address that goes then is not
// fought for.
func TestStrangerComesLater(t *testing.T) {
	b := newBench(t, false)
	b.heart.peer = peerSlave
	b.heart.macs = map[string]string{"lan": "02:00:00:00:00:02"}
	b.computer.late = map[netip.Prefix]string{wishes(testSettings(false))[0].Address: "02:00:00:00:00:99"}
	b.start()
	s := b.await("named", func(s control.Status) bool { return anyCondition(s, "address.conflict") })
	if !held(s) {
		t.Error("the address was given up to whoever came later")
	}
	b.await("announced again", func(control.Status) bool { return strings.Count(b.computer.history(), "announce") > 1 })
	b.computer.mu.Lock()
	b.computer.held = map[netip.Prefix]wish{}
	changed := b.computer.changed
	b.computer.mu.Unlock()
	changed()
	b.await("not fought for", func(s control.Status) bool { return !held(s) && anyCondition(s, "address.conflict") })
}

// A stranger is not forgotten because its device cannot be asked for a while, or is not asked now; one that does not answer any more is.
func TestStrangerOnADeviceThatCannotBeAsked(t *testing.T) {
	lan, wan, other := wish{"lan", netip.MustParsePrefix("10.88.1.100/24")}, wish{"wan", netip.MustParsePrefix("10.88.2.100/24")}, wish{"other", netip.MustParsePrefix("10.88.4.100/24")}
	known := map[netip.Prefix]string{lan.Address: "02:00:00:00:00:01", wan.Address: "02:00:00:00:00:02", other.Address: "02:00:00:00:00:03"}
	c := newComputer()
	c.askFails = map[string]error{"lan": errors.New("no carrier")}
	e := &engine{log: slog.New(slog.DiscardHandler), shells: shells{addresses: fakeAddresses{c}}}
	got := e.findConflicts(t.Context(), []wish{lan, wan}, probeTarget{}, known)
	if _, gone := got[wan.Address]; gone || got[lan.Address] != known[lan.Address] || got[other.Address] != known[other.Address] || len(known) != 3 {
		t.Errorf("%v, of %v", got, known)
	}
}

// The master's look for strangers holds nothing up: an address that is deleted meanwhile is put back.
func TestLookingForStrangersHoldsNothingUp(t *testing.T) {
	b := newBench(t, false)
	b.heart.peer = peerSlave
	b.settings.all[0].Addresses[0].Aliases = []netip.Prefix{netip.MustParsePrefix("10.88.1.101/24")}
	b.start()
	b.await("serves", held)
	b.computer.mu.Lock()
	b.computer.askHangs = make(chan struct{})
	hang, before := b.computer.askHangs, b.computer.asking
	b.computer.mu.Unlock()
	defer close(hang)
	b.heart.mu.Lock()
	b.heart.macs = map[string]string{"lan": "02:00:00:00:00:02"} // from here on it can look
	b.heart.mu.Unlock()
	b.await("looks", func(control.Status) bool {
		b.computer.mu.Lock()
		defer b.computer.mu.Unlock()
		return b.computer.asking > before
	})
	b.computer.mu.Lock()
	delete(b.computer.held, wishes(b.settings.all[0])[1].Address)
	changed := b.computer.changed
	b.computer.mu.Unlock()
	changed()
	b.await("back", held)
}

func anyCondition(s control.Status, code string) bool {
	return slices.ContainsFunc(s.Conditions, func(c control.Condition) bool { return c.Code == code })
}

// A volume that is taken out of the settings while it is in use: what needs it ends before it is unmounted, does not come back on the bare
// folder, and is named; with the volume it runs again.
func TestRemovedVolumeStopsWhatNeedsIt(t *testing.T) {
	b := newBench(t, true)
	b.options.Catalogue[1].Volume = "data"
	b.computer.addVolume("data", false)
	b.start()
	if _, err := waitOutcome(b, control.Order{Force: true, Confirm: "a"}); err != nil {
		t.Fatal(err)
	}
	b.await("whole", func(s control.Status) bool { return s.State == string(ha.Master) && s.Services[1].State == "running" })
	b.change(t, 2, func(s *ha.Settings) { s.Replication.Volumes = nil })
	b.await("without the service", func(s control.Status) bool {
		return len(s.Volumes) == 0 && s.Services[1].State == "stopped" && slices.ContainsFunc(s.Conditions, func(c control.Condition) bool {
			return c.Code == "service.failed" && strings.Contains(c.Text, "guestbook does not run: it needs the volume data")
		})
	})
	inOrder(t, b.computer.history(), "guestbook running", "guestbook stopped", "unmount /srv/data")
	b.change(t, 3, func(s *ha.Settings) { s.Replication.Volumes = testSettings(true).Replication.Volumes })
	b.await("with the service", func(s control.Status) bool {
		return len(s.Volumes) == 1 && s.Volumes[0].Mount != nil && s.Services[1].State == "running"
	})
}

// change stores a revision and tells the engine.
func (b *bench) change(t *testing.T, revision uint64, change func(*ha.Settings)) {
	t.Helper()
	s := testSettings(true)
	s.Revision = revision
	change(&s)
	if _, err := b.settings.Import(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := b.client.Settings(t.Context(), control.Revision{Revision: revision}); err != nil {
		t.Fatal(err)
	}
}
