package heart

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
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
	renew func(device, address, label string, valid time.Duration) error
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
	go func() { done <- Run(ctx, Options{RunDir: n.dir, Renew: n.renew, Log: slog.New(slog.DiscardHandler)}) }()
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
	t.Parallel()
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

// Addresses are renewed while the engine lives; without engine and without a peer that confirms, not longer than its first silent second.
func TestRenewalsEndWithTheEngine(t *testing.T) {
	t.Parallel()
	n := newNode(t, "a", "b")
	var newest atomic.Int64
	var wrong atomic.Bool
	n.renew = func(device, address, label string, valid time.Duration) error {
		newest.Store(int64(Now()))
		if device != "lan" || address != "10.88.1.100/24" || label != "lan:ek" || valid != 2*time.Second {
			wrong.Store(true)
		}
		return nil
	}
	n.start()
	n.order(Order{Setup: &n.setup, Renew: []Renewal{{Device: "lan", Address: "10.88.1.100/24", Label: "lan:ek"}}})
	for end := time.Now().Add(5 * time.Second); newest.Load() == 0; {
		if time.Now().After(end) {
			t.Fatal("no renewal in 5 s")
		}
		<-n.c.Reports()
	}
	if wrong.Load() {
		t.Error("another address was renewed")
	}
	silentAt := Now() // the engine says nothing from here on
	for r := range n.c.Reports() {
		if r.Now.Sub(silentAt) > 2*time.Second {
			break
		}
	}
	if late := ha.Instant(newest.Load()).Sub(silentAt); late > time.Second+3*renewEvery/2 {
		t.Errorf("renewed %v after the engine fell silent", late)
	}
}

func TestDamagedFilesAreNamedAndHeartWaitsForTheEngine(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "{", "{}", `{"setup":{"links":[]}}`, fmt.Sprintf(`{"setup":{},"step_at":%d}`, Now().Add(time.Hour))} {
		n := newNode(t, "a", "b", LinkSetup{Name: filepath.Join(t.TempDir(), "none"), Kind: ha.LinkSerial, Baud: 9600, Interval: time.Second})
		for _, file := range []string{setupFile, memoryFile} {
			if err := os.WriteFile(filepath.Join(n.dir, file), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		n.start()
		if r := <-n.c.Reports(); len(r.Facts.Links) != 0 || r.Facts.EverHeard {
			t.Errorf("%q: %+v", content, r.Facts)
		}
		n.order(Order{Setup: &n.setup})
		n.until("link", func(r Report) bool { return len(r.Facts.Links) == 1 })
		if info, err := os.Stat(filepath.Join(n.dir, setupFile)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("heart.json, which holds the keys: %v %v", info, err)
		}
		n.stop()
	}
}
