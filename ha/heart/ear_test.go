package heart

import (
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/beat"
	"evenkeel/ha/link"
)

const ms = ha.Instant(time.Millisecond)

// listener is an ear with two links, a serial one and a device, and a peer that it hears; time is a number.
type listener struct {
	t     *testing.T
	ear   ear
	wires []*wire
	peer  *beat.Codec
	us    *beat.Codec
	seq   uint64
	count uint16
}

func newListener(t *testing.T) *listener {
	l := &listener{t: t, ear: ear{dead: 3 * time.Second}}
	for i, x := range []LinkSetup{
		{Name: "/dev/ttyS0", Kind: ha.LinkSerial, Interval: 200 * time.Millisecond, Baud: 115200},
		{Name: "lan", Kind: ha.LinkUDP, Interval: 200 * time.Millisecond},
	} {
		w := &wire{LinkSetup: x, index: i, tag: beat.TagOf(x.Kind, x.Name), link: link.New(link.Setup{Kind: x.Kind, Name: x.Name})}
		w.pace()
		l.wires = append(l.wires, w)
	}
	var err error
	if l.us, err = beat.NewCodec(1, "a", "b", [][]byte{testKey}); err != nil {
		t.Fatal(err)
	}
	if l.peer, err = beat.NewCodec(1, "b", "a", [][]byte{testKey}); err != nil {
		t.Fatal(err)
	}
	return l
}

var bootOne, bootTwo = ha.BootName{1}, ha.BootName{2}

// full makes a beat of the peer on the device; echo is what it heard of us there.
func (l *listener) full(boot ha.BootName, echo uint64, role ha.Role) []byte {
	l.seq++
	l.count++
	pages, err := beat.Pages(boot, &ha.Saying{Role: role})
	if err != nil {
		l.t.Fatal(err)
	}
	h := beat.Head{Boot: boot, Seq: l.seq, Count: l.count, Link: l.wires[1].tag, Heard: []uint64{0, echo}}
	return l.peer.AppendFull(nil, &h, &pages[0])
}

func (l *listener) hear(now ha.Instant, wire int, form []byte) beat.Refusal {
	var f beat.Frame
	no := l.us.Parse(form, &f)
	if no == beat.Accepted {
		no, _ = l.ear.hear(now, l.wires, l.wires[wire], &f)
	}
	return no
}

func (l *listener) expect(what string, got, want any) {
	l.t.Helper()
	if got != want {
		l.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestOnlyAnEchoInTimeIsLife(t *testing.T) {
	l := newListener(t)
	l.expect("first beat", l.hear(100*ms, 1, l.full(bootOne, 0, ha.Master)), beat.Accepted)
	if l.ear.beat != nil || l.wires[1].ever || l.wires[1].heardAt == 0 {
		t.Error("a beat that echoes nothing is heard but proves nothing")
	}
	l.expect("what we echo", l.ear.echoes(nil, l.wires)[1], l.seq)
	l.ear.ring.note(50, 200*ms, l.wires[1].tag)
	l.hear(3300*ms, 1, l.full(bootOne, 50, ha.Master))
	if l.ear.beat != nil {
		t.Error("an echo of 3.1 s ago is too old")
	}
	l.ear.ring.note(51, 3400*ms, l.wires[1].tag)
	l.hear(3500*ms, 1, l.full(bootOne, 51, ha.Master))
	if l.ear.beat == nil || l.ear.freshAt != 3500*ms || l.ear.confirmed != 3400*ms || l.ear.echoedSent != 3400*ms || !l.wires[1].ever {
		t.Errorf("no life found: %+v", l.ear.beat)
	}
	f := l.wires[1].fact(3600*ms, l.ear.dead)
	l.expect("device", f.State, ha.LinkUp)
	l.expect("heard by peer", *f.HeardByPeer, true)
	l.expect("serial line", l.wires[0].fact(3600*ms, l.ear.dead).State, ha.LinkNeverHeard)
	l.expect("serial line heard by peer", *l.wires[0].fact(3600*ms, l.ear.dead).HeardByPeer, false)
	l.expect("after 2.5 intervals", l.wires[1].fact(4000*ms, l.ear.dead).State, ha.LinkQuiet)
}

func TestReplaysAreRefused(t *testing.T) {
	l := newListener(t)
	old := l.full(bootTwo, 10, ha.Master)
	l.ear.ring.note(10, 100*ms, l.wires[1].tag)
	first := l.full(bootOne, 10, ha.Slave)
	l.expect("first", l.hear(200*ms, 1, first), beat.Accepted)
	l.expect("the same again", l.hear(210*ms, 1, first), beat.Replay)
	l.expect("another boot while this one lives", l.hear(220*ms, 1, old), beat.Replay)
	l.expect("what was said", l.ear.beat.Role, ha.Slave)

	// The peer resets: its new boot is taken as soon as it echoes us, and the old boot's name is void.
	l.expect("a new boot after silence", l.hear(2000*ms, 1, l.full(bootTwo, 0, ha.Starting)), beat.Accepted)
	l.expect("peer's boot until an echo", l.ear.boot, bootOne)
	l.ear.ring.note(11, 2100*ms, l.wires[1].tag)
	l.expect("its echo", l.hear(2200*ms, 1, l.full(bootTwo, 11, ha.Starting)), beat.Accepted)
	l.expect("peer's boot", l.ear.boot, bootTwo)
	l.expect("its word", l.ear.beat.Role, ha.Starting)
	l.expect("a beat of the boot before", l.hear(9000*ms, 1, l.full(bootOne, 11, ha.Master)), beat.Replay)
}

// A recorded boot must not be able to keep the real one out, nor make a link count as heard.
func TestARecordingDoesNotTakeThePeersPlace(t *testing.T) {
	l := newListener(t)
	l.hear(100*ms, 1, l.full(bootTwo, 7, ha.Master))
	if l.wires[1].ever || l.ear.boot != noBoot {
		t.Error("a recording counts as life")
	}
	l.ear.ring.note(20, 150*ms, l.wires[1].tag)
	l.hear(200*ms, 1, l.full(bootOne, 0, ha.Slave))
	l.expect("echo", l.ear.echoes(nil, l.wires)[1], l.seq)
	l.expect("real peer", l.hear(220*ms, 1, l.full(bootOne, 20, ha.Slave)), beat.Accepted)
	l.expect("boot", l.ear.boot, bootOne)
	l.expect("recording", l.hear(240*ms, 1, l.full(bootTwo, 7, ha.Master)), beat.Replay)
}

func TestLossesAreCountedPerLink(t *testing.T) {
	l := newListener(t)
	l.hear(100*ms, 1, l.full(bootOne, 0, ha.Slave))
	l.full(bootOne, 0, ha.Slave) // lost
	l.full(bootOne, 0, ha.Slave) // lost
	l.seq += 50                  // beats on other links
	l.hear(700*ms, 1, l.full(bootOne, 0, ha.Slave))
	l.expect("lost", l.wires[1].lost, uint64(2))
	l.seq += 5_000_000 // heart over there was restarted and counts anew
	l.count = 40
	l.hear(900*ms, 1, l.full(bootOne, 0, ha.Slave))
	l.expect("lost after a restart", l.wires[1].lost, uint64(2))
}

func TestACompactBeatWithoutItsFullOneChangesNoWord(t *testing.T) {
	l := newListener(t)
	l.ear.ring.note(10, 100*ms, l.wires[1].tag)
	l.hear(200*ms, 1, l.full(bootOne, 10, ha.Slave))
	pages, err := beat.Pages(bootOne, &ha.Saying{Role: ha.Master})
	if err != nil {
		t.Fatal(err)
	}
	l.ear.ring.note(11, 250*ms, l.wires[1].tag)
	h := beat.Head{Boot: bootOne, Seq: l.seq + 10, Count: 1, Newest: 11, NewestLink: 1}
	l.expect("compact", l.hear(300*ms, 0, l.peer.AppendCompact(nil, &h, &pages[0])), beat.Accepted)
	l.expect("serial line", l.wires[0].fact(310*ms, l.ear.dead).State, ha.LinkUp)
	l.expect("confirmed", l.ear.confirmed, 250*ms)
	l.expect("its words", l.ear.beat.Role, ha.Slave)
	l.expect("their time", l.ear.freshAt, 200*ms)
	l.expect("full form asked for", l.ear.wantFull, true)

	h = beat.Head{Boot: bootOne, Seq: l.seq + 11, Count: 2, Link: l.wires[0].tag, Heard: []uint64{0, 11}}
	l.hear(400*ms, 0, l.peer.AppendFull(nil, &h, &pages[0]))
	l.expect("its words", l.ear.beat.Role, ha.Master)
	h = beat.Head{Boot: bootOne, Seq: l.seq + 12, Count: 3, Newest: 11, NewestLink: 1, EngineAge: time.Second}
	l.hear(500*ms, 0, l.peer.AppendCompact(nil, &h, &pages[0]))
	l.expect("engine's age by a compact form", l.ear.beat.EngineAge, time.Second)
	l.expect("its time", l.ear.freshAt, 500*ms)
	l.expect("full form asked for", l.ear.wantFull, false)
	l.expect("a compact form on a device", l.hear(600*ms, 1, l.peer.AppendCompact(nil, &h, &pages[0])), beat.Malformed)
}

func TestABeatOfAnotherLinkIsRefused(t *testing.T) {
	l := newListener(t)
	l.expect("crossed", l.hear(100*ms, 0, l.full(bootOne, 0, ha.Slave)), beat.Crossed)
}

func TestPromisesRunFromTheEnginesStep(t *testing.T) {
	v := voice{say: ha.Saying{Volumes: []ha.VolumeSaying{{Promise: 4500 * time.Millisecond}, {}}}, stepAt: 1000 * ms}
	if p := v.promises(nil, 1200*ms); p[0] != 4300*time.Millisecond || p[1] != 0 {
		t.Errorf("promises %v", p)
	}
	v.silent = true
	if p := v.promises(nil, 1200*ms); p[0] != 0 {
		t.Errorf("a restarted heart repeats a promise: %v", p)
	}
}

// A silent engine cannot yield its addresses to a peer that serves under a higher epoch: heart stops renewing them.
func TestReplacedWhileTheEngineIsSilent(t *testing.T) {
	serving := func(r ha.Role, counter uint64) *ha.Beat {
		return &ha.Beat{Saying: ha.Saying{Role: r, Epoch: ha.Epoch{Counter: counter, Node: "b"}}}
	}
	for _, c := range []struct {
		name string
		age  ha.Instant
		beat *ha.Beat
		want bool
	}{
		{"nothing heard", 2000 * ms, nil, false},
		{"the peer stands by", 2000 * ms, serving(ha.Slave, 4), false},
		{"the peer serves under a lower epoch", 2000 * ms, serving(ha.Master, 2), false},
		{"the peer serves under a higher epoch", 2000 * ms, serving(ha.Master, 4), true},
		{"the peer is taking the role", 2000 * ms, serving(ha.Promoting, 4), true},
		{"the engine decides", 100 * ms, serving(ha.Master, 4), false},
	} {
		v := voice{since: 1 * ms, stepAt: 20000*ms - c.age}
		v.say.Epoch = ha.Epoch{Counter: 3, Node: "a"}
		if got := v.replaced(20000*ms, c.beat); got != c.want {
			t.Errorf("%s: replaced %v", c.name, got)
		}
	}
}

func TestAddressesLiveWithTheEngine(t *testing.T) {
	const dead = 3 * time.Second
	for _, c := range []struct {
		name              string
		now, stepAt       ha.Instant
		confirmed, wokeAt ha.Instant
		want              bool
		gone              bool
	}{
		{"engine alive, no peer", 20000 * ms, 19900 * ms, 0, 0, true, false},
		{"silent for 1 s, peer confirms", 20000 * ms, 18900 * ms, 19900 * ms, 0, true, false},
		{"silent for 1 s, e above 0.8 D", 20000 * ms, 18900 * ms, 17500 * ms, 0, false, false},
		{"silent for 10 s", 20000 * ms, 9900 * ms, 19900 * ms, 0, false, true},
		{"slept, engine has not spoken", 20000 * ms, 19900 * ms, 19900 * ms, 19950 * ms, false, false},
		{"slept, engine has spoken", 20000 * ms, 19960 * ms, 19900 * ms, 19950 * ms, true, false},
	} {
		v := voice{since: 1 * ms, stepAt: c.stepAt}
		if got := v.mayRenew(c.now, c.confirmed, c.wokeAt, dead); got != c.want {
			t.Errorf("%s: renew %v", c.name, got)
		}
		if got := v.engineGone(c.now); got != c.gone {
			t.Errorf("%s: gone %v", c.name, got)
		}
	}
	v := voice{since: 19500 * ms, stepAt: 1000 * ms}
	if v.engineGone(20000*ms) || !v.engineGone(20600*ms) {
		t.Error("a restarted heart gives the engine one second to be heard")
	}
}

func TestSequencesOfLaterProcessesAreHigher(t *testing.T) {
	first := firstSeq(bootOne, 5000*ms)
	if later := firstSeq(bootOne, 6000*ms); later != first+1_000_000 || first >= 1<<53 {
		t.Errorf("%d then %d", first, later)
	}
	if other := firstSeq(bootTwo, 5000*ms); other == first {
		t.Error("two boots count alike")
	}
}

func TestTheRingForgetsOnlyWhatIsOld(t *testing.T) {
	var r sentRing
	for seq := uint64(1); seq <= 40000; seq++ {
		r.note(seq, ha.Instant(seq), 1)
	}
	if _, ok := r.find(40000 - 1<<15); ok {
		t.Error("a forgotten beat was found")
	}
	if s, ok := r.find(40001 - 1<<15); !ok || s.at != 40001-1<<15 {
		t.Error("a kept beat was lost")
	}
	if _, ok := r.find(0); ok {
		t.Error("number 0 means none")
	}
}
