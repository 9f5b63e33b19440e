package heart

import (
	"context"
	"crypto/rand"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/link/linktest"
)

var testKey = []byte("0123456789abcdef0123456789abcdef")

// node is a heart with an engine's end, in this process.
type node struct {
	t     *testing.T
	dir   string
	setup Setup
	say   ha.Saying
	c     *Client
	stop  func()
}

func newNode(t *testing.T, id, peer ha.NodeID, links ...LinkSetup) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), say: ha.Saying{Role: ha.Slave, Mode: ha.Evidence, Armed: true, DeadTime: 3 * time.Second}}
	n.setup = Setup{Node: id, Peer: peer, Cluster: 7, Keys: [][]byte{testKey}, DeadTime: 3 * time.Second, Port: 999, Links: links}
	rand.Read(n.setup.Boot[:])
	t.Cleanup(func() {
		if n.stop != nil {
			n.stop()
		}
	})
	return n
}

func (n *node) start() {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, Options{RunDir: n.dir, Log: slog.New(slog.DiscardHandler)}) }()
	n.stop = func() {
		n.stop = nil
		cancel()
		if err := <-done; err != nil {
			n.t.Error(err)
		}
		if n.c != nil {
			n.c.Close()
		}
	}
	for end := time.Now().Add(5 * time.Second); ; {
		c, err := Dial(ctx, filepath.Join(n.dir, SocketName))
		if err == nil {
			n.c = c
			return
		}
		if time.Now().After(end) {
			n.t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

func (n *node) order(o Order) {
	n.t.Helper()
	o.Say, o.StepAt = n.say, Now()
	if err := n.c.Send(o); err != nil {
		n.t.Fatal(err)
	}
}

// until waits for a report that ok accepts, giving a sign of life with each.
func (n *node) until(what string, ok func(Report) bool) Report {
	n.t.Helper()
	end := time.After(10 * time.Second)
	var last Report
	for {
		select {
		case r, open := <-n.c.Reports():
			if !open {
				n.t.Fatalf("node %s: heart gone while waiting for %s", n.setup.Node, what)
			}
			if last = r; ok(r) {
				return r
			}
			n.order(Order{})
		case <-end:
			n.t.Fatalf("node %s: no %s in 10 s; last report %+v", n.setup.Node, what, last)
		}
	}
}

func serialLinkSetup(path string, every time.Duration) LinkSetup {
	return LinkSetup{Name: path, Kind: ha.LinkSerial, Interval: every, Baud: 115200}
}

func linkUp(r Report) bool { return len(r.Facts.Links) > 0 && r.Facts.Links[0].State == ha.LinkUp }

func TestTwoHeartsHearEachOtherOverSerial(t *testing.T) {
	cable := linktest.Serial(t, 115200)
	a := newNode(t, "a", "b", serialLinkSetup(cable.A, 50*time.Millisecond))
	b := newNode(t, "b", "a", serialLinkSetup(cable.B, 50*time.Millisecond))
	a.start()
	b.start()
	a.say.Role, a.say.Epoch = ha.Master, ha.Epoch{Counter: 4, Node: "a"}
	a.order(Order{Setup: &a.setup})
	b.order(Order{Setup: &b.setup})
	r := b.until("fresh beat of the master", func(r Report) bool { return linkUp(r) && r.Beat != nil && r.Beat.Role == ha.Master })
	if r.Beat.Epoch.Counter != 4 || r.Beat.Node != "a" || r.Beat.Boot != a.setup.Boot || !r.Facts.EverHeard {
		t.Errorf("beat %+v ever %v", r.Beat, r.Facts.EverHeard)
	}
	a.until("confirmation", func(r Report) bool {
		return r.Confirmed != 0 && r.Facts.Links[0].HeardByPeer != nil && *r.Facts.Links[0].HeardByPeer
	})
}
