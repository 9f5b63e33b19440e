package heart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/link/linktest"
)

// serialPair starts two nodes at the ends of a serial cable and waits until they hear each other.
func serialPair(t *testing.T, baud int, every time.Duration) (*linktest.SerialCable, *node, *node) {
	t.Helper()
	cable := linktest.Serial(t, baud)
	a, b := serialLinkSetup(cable.A, every), serialLinkSetup(cable.B, every)
	a.Baud, b.Baud = baud, baud
	na, nb := newNode(t, "a", "b", a), newNode(t, "b", "a", b)
	na.start()
	nb.start()
	na.order(Order{Setup: &na.setup})
	nb.order(Order{Setup: &nb.setup})
	na.until("b", linkUp)
	nb.until("a", linkUp)
	return cable, na, nb
}

func linkIs(s ha.LinkState) func(Report) bool {
	return func(r Report) bool { return r.Facts.Links[0].State == s }
}

func TestOneWayLossIsVisible(t *testing.T) {
	t.Parallel()
	cable, a, b := serialPair(t, 115200, 50*time.Millisecond)
	cable.CutToA(true)
	a.until("quiet link", linkIs(ha.LinkQuiet))
	// b hears a, but a does not confirm b: b's beats lose their proof, and a's, which echo nothing new, are not fresh for long.
	b.until("own beats not heard", func(r Report) bool {
		l := r.Facts.Links[0]
		return l.HeardByPeer != nil && !*l.HeardByPeer && r.Now.Sub(l.HeardAt) < 300*time.Millisecond
	})
	cable.CutToA(false)
	r := a.until("link up again", linkIs(ha.LinkUp))
	if r.Facts.Links[0].Lost == 0 {
		t.Error("the lost beats are not counted")
	}
	b.until("own beats heard", func(r Report) bool { h := r.Facts.Links[0].HeardByPeer; return h != nil && *h })
}

func TestNoiseIsNoBeat(t *testing.T) {
	t.Parallel()
	cable, a, b := serialPair(t, 115200, 50*time.Millisecond)
	cable.Noise(true)
	r := a.until("quiet link", linkIs(ha.LinkQuiet))
	heard := r.Counters[a.setup.Links[0].Name].Heard
	r = a.until("garbage named", func(r Report) bool { return r.Counters[a.setup.Links[0].Name].Refused["malformed"] >= 10 })
	if now := r.Counters[a.setup.Links[0].Name].Heard; now > heard {
		t.Errorf("%d beats heard through the noise", now-heard)
	}
	cable.Noise(false)
	a.until("link up again", linkIs(ha.LinkUp))
	_ = b
}

func TestEchoPlugIsNamed(t *testing.T) {
	t.Parallel()
	n := newNode(t, "a", "b", serialLinkSetup(linktest.Echo(t), 20*time.Millisecond))
	n.start()
	n.order(Order{Setup: &n.setup})
	r := n.until("echo", func(r Report) bool { return r.Counters[n.setup.Links[0].Name].Refused["echo"] >= 3 })
	if l := r.Facts.Links[0]; !strings.Contains(l.Problem, "sends our own beats back") || l.State != ha.LinkNeverHeard || r.Facts.EverHeard {
		t.Errorf("%+v", l)
	}
}

func TestAMissingPortIsNamedAndTheNodeLives(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ttyS9")
	n := newNode(t, "a", "b", serialLinkSetup(path, 20*time.Millisecond))
	n.start()
	n.order(Order{Setup: &n.setup})
	n.until("sentence", func(r Report) bool {
		p := r.Facts.Links[0].Problem
		return strings.Contains(p, path) && strings.Contains(p, "no such file")
	})
	// It appears later, by another name for a real line.
	cable := linktest.Serial(t, 0)
	if err := os.Symlink(cable.A, path); err != nil {
		t.Fatal(err)
	}
	n.until("problem gone", func(r Report) bool { return r.Facts.Links[0].Problem == "" })
}

// A heart that was killed beats again at once with the words it had, above its old numbers, and knows that the peer was heard.
func TestARestartedHeartGoesOn(t *testing.T) { // alone, for it measures a time
	_, a, b := serialPair(t, 115200, 200*time.Millisecond)
	a.say.Role, a.say.Epoch = ha.Master, ha.Epoch{Counter: 3, Node: "a"}
	a.say.Volumes = []ha.VolumeSaying{{Name: "data", Promise: 4 * time.Second}}
	a.order(Order{})
	before := b.until("the master's word", func(r Report) bool { return r.Beat != nil && r.Beat.Role == ha.Master })
	if p := before.Beat.Volumes[0].Promise; p <= 3*time.Second || p > 4*time.Second {
		t.Errorf("promise %v", p)
	}
	a.until("memory kept", func(r Report) bool {
		_, err := os.Stat(filepath.Join(a.dir, memoryFile))
		return err == nil && r.Facts.EverHeard
	})
	a.stop()
	began := time.Now()
	a.start() // no order is given: it goes on from its files
	after := b.until("beat of the new heart", func(r Report) bool {
		return r.Beat != nil && r.Beat.Seq > before.Beat.Seq+10_000 && r.FreshAt > before.FreshAt
	})
	t.Logf("fresh beat %v after the restart", time.Since(began).Round(time.Millisecond))
	if time.Since(began) > 600*time.Millisecond {
		t.Errorf("it took %v, three times the stated 200 ms", time.Since(began))
	}
	if after.Beat.Role != ha.Master || after.Beat.Volumes[0].Promise != 0 {
		t.Errorf("it says %+v", after.Beat.Saying)
	}
	if after.Facts.Links[0].State == ha.LinkNeverHeard {
		t.Error("b forgot the link")
	}
	r := <-a.c.Reports()
	if !r.Facts.EverHeard || r.Facts.Links[0].State == ha.LinkNeverHeard {
		t.Errorf("a forgot that it heard b: %+v", r.Facts)
	}
}

func TestAnOutdateRequestOverSerialAlone(t *testing.T) {
	t.Parallel()
	_, a, b := serialPair(t, 115200, 200*time.Millisecond)
	for i := range 3 {
		began := time.Now()
		q := ha.Request{Number: uint64(i + 1), Kind: ha.AskOutdate, Volume: "data", Session: 5}
		a.say.Requests = []ha.Request{q}
		a.order(Order{Burst: true})
		b.until("request", func(r Report) bool { return r.Beat != nil && len(r.Beat.Requests) == 1 && r.Beat.Requests[0] == q })
		b.say.Answers = []ha.Answer{{Number: q.Number, Boot: a.setup.Boot, Kind: q.Kind, Volume: "data", Result: ha.AnsweredOutdated}}
		b.order(Order{Burst: true})
		a.until("answer", func(r Report) bool {
			return r.Beat != nil && len(r.Beat.Answers) == 1 && r.Beat.Answers[0].Number == q.Number
		})
		took := time.Since(began)
		t.Logf("answered after %v", took.Round(time.Millisecond))
		if took > 4500*time.Millisecond {
			t.Errorf("it took %v, three times the stated 1.5 s", took)
		}
	}
}

// At 9600 baud the interval stretches, full forms get through, and the line is left mostly alone.
func TestASlowLineIsEnough(t *testing.T) {
	t.Parallel()
	cable, a, b := serialPair(t, 9600, 200*time.Millisecond)
	r := a.until("b", linkUp)
	if r.Facts.Links[0].Interval != 400*time.Millisecond {
		t.Errorf("interval %v", r.Facts.Links[0].Interval)
	}
	from, began := cable.Passed(), time.Now()
	a.say.Phase = "mount"
	a.order(Order{})
	b.until("new word", func(r Report) bool { return r.Beat != nil && r.Beat.Phase == "mount" })
	t.Logf("a new word took %v", time.Since(began).Round(time.Millisecond))
	a.until("some beats more", func(Report) bool { return time.Since(began) > time.Second })
	share := float64(cable.Passed()-from) / (960 * time.Since(began).Seconds())
	t.Logf("%.0f %% of the line used", 100*share)
}

func TestANewIntervalAppliesLive(t *testing.T) {
	t.Parallel()
	_, a, b := serialPair(t, 115200, 100*time.Millisecond)
	name := a.setup.Links[0].Name
	sent := func() uint64 { return (<-a.c.Reports()).Counters[name].Sent }
	first := sent()
	a.setup.Links[0].Interval = 50 * time.Millisecond
	a.order(Order{Setup: &a.setup})
	b.order(Order{})
	r := a.until("new interval", func(r Report) bool { return r.Facts.Links[0].Interval == 50*time.Millisecond })
	from, at := r.Counters[name].Sent, r.Now
	if from < first {
		t.Error("the link was made anew")
	}
	r = a.until("10 beats", func(r Report) bool { return r.Counters[name].Sent >= from+10 })
	t.Logf("spacing %v", (r.Now.Sub(at) / time.Duration(r.Counters[name].Sent-from)).Round(time.Millisecond))
	if l := r.Facts.Links[0]; l.State == ha.LinkNeverHeard {
		t.Error("what was heard is forgotten")
	}
}

func TestABadOrderLeavesWhatWas(t *testing.T) {
	t.Parallel()
	_, a, b := serialPair(t, 115200, 50*time.Millisecond)
	bad := a.setup
	bad.Keys = nil
	if err := a.c.Send(Order{Setup: &bad, Say: a.say, StepAt: Now()}); err != nil {
		t.Fatal(err)
	}
	if err := a.c.Send(Order{Say: ha.Saying{Role: "king"}}); err == nil || !strings.Contains(err.Error(), "king") {
		t.Errorf("error %v does not name the word", err)
	}
	r := b.until("link up", linkUp)
	b.until("a's beats go on", func(now Report) bool { return now.FreshAt > r.FreshAt.Add(500*time.Millisecond) })
}

func TestTheNewestEngineGivesOrders(t *testing.T) {
	t.Parallel()
	_, a, b := serialPair(t, 115200, 50*time.Millisecond)
	old := a.c
	c, err := Dial(t.Context(), filepath.Join(a.dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	a.c = c
	<-c.Reports() // it is in
	if err := old.Send(Order{Say: ha.Saying{Role: ha.Failed}, StepAt: Now()}); err != nil {
		t.Fatal(err)
	}
	a.say.Role = ha.Standby
	a.order(Order{})
	b.until("the newest word", func(r Report) bool {
		if r.Beat != nil && r.Beat.Role == ha.Failed {
			t.Fatal("the engine that was replaced still gives orders")
		}
		return r.Beat != nil && r.Beat.Role == ha.Standby
	})
	old.Close()
	if _, open := <-old.Reports(); open {
		for range old.Reports() { // drain what was on its way; the channel ends
		}
	}
}
