package check

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"os"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/address/addresstest"
)

func TestMain(m *testing.M) { addresstest.Main(m) }

// deadline bounds every wait of these tests.
const deadline = 10 * time.Second

var ip = netip.MustParseAddr

// peer is another machine on the device lan.
func peer(t *testing.T) *addresstest.Machine {
	t.Helper()
	m := addresstest.NewMachine(t)
	m.Cable("lan", "10.88.1.1/24", "10.88.1.2/24")
	return m
}

// references runs References until the test ends.
func references(t *testing.T, points ...ha.Reference) *References {
	t.Helper()
	r := NewReferences(slog.New(slog.DiscardHandler))
	r.Set(points)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { r.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return r
}

// await waits until the first point's fact satisfies ok.
func await(t *testing.T, r *References, ok func(ha.ReferenceFact) bool) ha.ReferenceFact {
	t.Helper()
	timeout := time.After(deadline)
	for {
		if f := r.Facts()[0]; ok(f) {
			return f
		}
		select {
		case <-r.Changed():
		case <-timeout:
			t.Fatalf("it did not come: %+v", r.Facts())
		}
	}
}

func state(s ha.ReferenceState) func(ha.ReferenceFact) bool {
	return func(f ha.ReferenceFact) bool { return f.State == s }
}

func TestGoodAndBad(t *testing.T) {
	peer(t)
	r := references(t, ha.Reference{Name: "gateway", Address: ip("10.88.1.2")}, ha.Reference{Name: "nobody", Address: ip("10.88.1.77")})
	began := now()
	good := await(t, r, state(ha.ReferenceGood))
	t.Logf("good after %v", now().Sub(began))
	if good.AskedAt == 0 || good.AskedAt > now() || good.Name != "gateway" {
		t.Errorf("the fact: %+v", good)
	}
	timeout := time.After(deadline)
	for r.Facts()[1].State != ha.ReferenceBad {
		select {
		case <-r.Changed():
		case <-timeout:
			t.Fatalf("an address that nobody has: %+v", r.Facts())
		}
	}
	t.Logf("bad after %v (patience 500 ms)", now().Sub(began))
}

func TestEveryChangesAtOnce(t *testing.T) {
	peer(t)
	r := references(t, ha.Reference{Name: "gateway", Address: ip("10.88.1.2")})
	last := await(t, r, state(ha.ReferenceGood)).AskedAt
	began := now()
	r.Every(60 * time.Millisecond)
	for range 5 {
		last = await(t, r, func(f ha.ReferenceFact) bool { return f.AskedAt > last }).AskedAt
	}
	t.Logf("five answers at 60 ms took %v (stated: 240 ms)", now().Sub(began))
}

func TestCarrierLossIsBadAtOnce(t *testing.T) {
	m := peer(t)
	r := references(t, ha.Reference{Name: "gateway", Address: ip("10.88.1.2")})
	await(t, r, state(ha.ReferenceGood))
	m.Down("lan")
	began := now()
	await(t, r, state(ha.ReferenceBad))
	t.Logf("bad %v after the cable was pulled", now().Sub(began))
	m.Up("lan")
	await(t, r, state(ha.ReferenceGood))
	t.Logf("good again %v after the cable was pulled", now().Sub(began))
}

func TestNoWayIsBad(t *testing.T) {
	r := references(t, ha.Reference{Name: "far", Address: ip("192.0.2.1")})
	await(t, r, state(ha.ReferenceBad))
}

func TestSetKeepsWhatIsKnown(t *testing.T) {
	peer(t)
	r := references(t, ha.Reference{Name: "gateway", Address: ip("10.88.1.2")})
	await(t, r, state(ha.ReferenceGood))
	r.Set([]ha.Reference{{Name: "renamed", Address: ip("10.88.1.2")}, {Name: "new", Address: ip("10.88.1.3")}})
	f := r.Facts()
	if f[0].State != ha.ReferenceGood || f[0].Name != "renamed" || f[1].State != ha.ReferenceUnknown || f[1].AskedAt != 0 {
		t.Errorf("facts: %+v", f)
	}
	r.Set(nil)
	if f := r.Facts(); len(f) != 0 {
		t.Errorf("no points: %+v", f)
	}
}

// The order in which answers count, without a network.
func TestNewerQuestionsWin(t *testing.T) {
	r := NewReferences(slog.New(slog.DiscardHandler))
	r.Set([]ha.Reference{{Name: "x", Address: ip("10.0.0.1")}})
	p := r.points[0]
	q := func(seq uint16, at ha.Instant) question {
		return question{seq: seq, nonce: 7, to: p.Address, at: at}
	}
	p.open = []question{q(1, 100), q(2, 200), q(3, 300)}
	r.answered(answer{from: ip("10.0.0.2"), seq: 2, nonce: 7})
	r.answered(answer{from: p.Address, seq: 2, nonce: 8})
	if p.state != ha.ReferenceUnknown {
		t.Fatal("a stranger's answer, or one with a wrong nonce, counts")
	}
	r.answered(answer{from: p.Address, seq: 2, nonce: 7})
	if p.state != ha.ReferenceGood || p.askedAt != 200 || len(p.open) != 1 {
		t.Fatalf("after the answer to the second: %+v", p)
	}
	r.become(p, ha.ReferenceBad, 100)
	if p.state != ha.ReferenceGood {
		t.Fatal("an older question's silence overrules a newer one's answer")
	}
	r.become(p, ha.ReferenceBad, 300)
	if p.state != ha.ReferenceBad || p.askedAt != 300 {
		t.Fatalf("a newer question's silence: %+v", p)
	}
}

func probe(t *testing.T, target Target, d time.Duration) (Result, time.Duration) {
	t.Helper()
	began := time.Now()
	r := Probe(t.Context(), target, d)
	took := time.Since(began)
	if took > 3*d {
		t.Errorf("a round of %v took %v", d, took)
	}
	return r, took
}

func TestProbe(t *testing.T) {
	const d = 200 * time.Millisecond
	m := peer(t)
	m.Address("lan", "10.88.1.100/24")
	peers, macs := []netip.Addr{ip("10.88.1.2")}, map[string]string{"lan": m.MAC("lan")}
	virtual := []Virtual{{"lan", ip("10.88.1.100")}}

	r, took := probe(t, Target{peers, macs, virtual}, d)
	if r.KernelAt == 0 || r.AddressAt == 0 {
		t.Errorf("a living peer with the address: %+v", r)
	}
	t.Logf("everything answered in %v", took)
	r, _ = probe(t, Target{peers, macs, []Virtual{{"lan", ip("10.88.1.150")}}}, d)
	if r.KernelAt == 0 || r.AddressAt != 0 {
		t.Errorf("a living peer without the address: %+v", r)
	}
	r, _ = probe(t, Target{[]netip.Addr{ip("10.88.1.77")}, macs, nil}, d)
	if r != (Result{}) {
		t.Errorf("nobody is there: %+v", r)
	}
	m.Down("lan")
	r, _ = probe(t, Target{peers, macs, virtual}, d)
	if r != (Result{}) {
		t.Errorf("the cable is pulled: %+v", r)
	}
	if r, took := probe(t, Target{}, d); r != (Result{}) || took > d {
		t.Errorf("nobody to ask: %+v in %v", r, took)
	}
}

// A stranger with the peer's address proves nothing by ARP.
func TestProbeHeedsOnlyThePeersMAC(t *testing.T) {
	m := peer(t)
	target := Target{PeerAddresses: []netip.Addr{ip("10.88.1.2")}, PeerMACs: map[string]string{"lan": "02:00:00:00:00:09"}}
	if err := m.Inside(dropEcho); err != nil {
		t.Fatal(err)
	}
	if r, _ := probe(t, target, 100*time.Millisecond); r.KernelAt != 0 {
		t.Errorf("ARP from another MAC counts: %+v", r)
	}
	target.PeerMACs["lan"] = m.MAC("lan")
	if r, _ := probe(t, target, 100*time.Millisecond); r.KernelAt == 0 {
		t.Error("ARP from the peer's MAC does not count")
	}
}

// dropEcho makes the kernel of this thread's namespace silent to ping: only ARP is left.
func dropEcho() error {
	return os.WriteFile("/proc/sys/net/ipv4/icmp_echo_ignore_all", []byte("1"), 0)
}

func TestEchoBytes(t *testing.T) {
	b := appendEcho(nil, echoAnswer, 0x1234, 7, 99)
	if id, seq, nonce, ok := parseEcho(b); !ok || id != 0x1234 || seq != 7 || nonce != 99 {
		t.Errorf("round trip: %x %d %d %v", id, seq, nonce, ok)
	}
	for i := range b {
		bad := append([]byte{}, b...)
		bad[i] ^= 0x10
		if _, _, _, ok := parseEcho(bad); ok {
			t.Errorf("a wrong byte %d passes", i)
		}
	}
	// RFC 1071's own example.
	if got := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != ^uint16(0xddf2) {
		t.Errorf("checksum %x", got)
	}
}

func FuzzParseEcho(f *testing.F) {
	f.Add(appendEcho(nil, echoAnswer, 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, seq, nonce, ok := parseEcho(b); ok && binary.BigEndian.Uint64(b[8:]) != nonce {
			t.Error(id, seq, nonce)
		}
	})
}
