package address

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"evenkeel/ha/address/addresstest"
	"evenkeel/ha/arp"
	"evenkeel/ha/arp/arpsocket"
)

func TestMain(m *testing.M) { addresstest.Main(m) }

// deadline bounds every wait of these tests.
const deadline = 10 * time.Second

func wish(device, address string) Wish {
	return Wish{Device: device, Address: netip.MustParsePrefix(address)}
}

var vip = wish("lan", "10.88.1.100/24")

// bench is this machine with another one on the device lan.
func bench(t *testing.T) (*Keeper, *addresstest.Machine) {
	t.Helper()
	m := addresstest.NewMachine(t)
	m.Cable("lan", "10.88.1.1/24", "10.88.1.2/24")
	k, err := NewKeeper(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k, m
}

func converge(t *testing.T, k *Keeper, w ...Wish) []Change {
	t.Helper()
	changes, err := k.Converge(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

// run runs a loop of the keeper until the test ends.
func run(t *testing.T, loop func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { loop(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
}

// deleteByHand is what another program does.
func deleteByHand(t *testing.T, w Wish) {
	t.Helper()
	n, err := index(w.Device)
	if err == nil {
		err = remove(nil, entry{Wish: w, index: int32(n)})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDiff(t *testing.T) {
	a, b, c := wish("lan", "10.0.0.1/24"), wish("lan", "10.0.0.2/24"), wish("wan", "10.0.0.1/24")
	drop, add := Diff([]Wish{a, b, b}, []Wish{a, c, c})
	if !slices.Equal(drop, []Wish{b}) || !slices.Equal(add, []Wish{c}) {
		t.Errorf("drop %v, add %v", drop, add)
	}
}

func TestConvergeKernelAsText(t *testing.T) {
	k, _ := bench(t)
	if c := converge(t, k, vip, wish("lan", "10.88.1.101/32")); len(c) != 2 || !c[0].Added {
		t.Errorf("changes: %v", c)
	}
	const want = `10.88.1.1/24
10.88.1.100/24 label lan:ek valid 2s deprecated
10.88.1.101/32 label lan:ek valid 2s deprecated
`
	if got := addresstest.Text(t, "lan"); got != want {
		t.Errorf("the kernel has\n%snot\n%s", got, want)
	}
	if c := converge(t, k, vip, wish("lan", "10.88.1.101/32")); len(c) != 0 {
		t.Errorf("the second time changes %v", c)
	}
	began := time.Now()
	if err := k.DropAll(); err != nil {
		t.Error(err)
	}
	t.Logf("a revoke of two addresses took %v (bound 100 ms)", time.Since(began))
	if got := addresstest.Text(t, "lan"); got != "10.88.1.1/24\n" {
		t.Errorf("after DropAll: %s", got)
	}
}

// From any wish to any other: the kernel has exactly the wish and the base address.
func TestConvergeRandomWishes(t *testing.T) {
	k, _ := bench(t)
	r := rand.New(rand.NewPCG(1, 2))
	var pool []Wish
	for i := range 8 {
		pool = append(pool, wish("lan", fmt.Sprintf("10.88.1.%d/24", 100+i)))
	}
	for range 60 {
		r.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
		want := pool[:r.IntN(len(pool)+1)]
		converge(t, k, want...)
		held, err := k.Held()
		if drop, add := Diff(held, want); err != nil || len(drop)+len(add) != 0 || len(held) != len(want) {
			t.Fatalf("wish %v, held %v, %v", want, held, err)
		}
	}
}

func TestLeftoversAndStrangers(t *testing.T) {
	k, _ := bench(t)
	converge(t, k, vip)
	next, err := NewKeeper(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if held, err := next.Held(); err != nil || !slices.Equal(held, []Wish{vip}) {
		t.Fatalf("the next engine finds %v, %v", held, err)
	}
	// One with our label only, as a kernel without IFA_PROTO has it.
	lan, _ := netlink.LinkByName("lan")
	labelled, _ := netlink.ParseAddr("10.88.1.77/24")
	labelled.Label = "lan:ek"
	if err := netlink.AddrAdd(lan, labelled); err != nil {
		t.Fatal(err)
	}
	stranger, _ := netlink.ParseAddr("10.88.1.102/24")
	if err := netlink.AddrAdd(lan, stranger); err != nil {
		t.Fatal(err)
	}
	if c := converge(t, next); len(c) != 2 {
		t.Errorf("leftovers: %v", c)
	}
	_, err = next.Converge(t.Context(), []Wish{wish("lan", "10.88.1.102/24"), vip, wish("none", "10.0.0.1/8")})
	if err == nil || !strings.Contains(err.Error(), "not Evenkeel's") || !strings.Contains(err.Error(), "device none") {
		t.Errorf("a stranger's address and a missing device: %v", err)
	}
	if held, _ := next.Held(); !slices.Equal(held, []Wish{vip}) {
		t.Errorf("the good one beside them: %v", held)
	}
}

func TestAnswersLeaveWithTheRightSource(t *testing.T) {
	k, m := bench(t)
	converge(t, k, vip)
	// Who is asked at the virtual address answers from it; who asks by himself does so from his base address. (A UDP
	// server on the wildcard address answers from the base address, as on every Linux: it has to bind the virtual one.)
	server, err := net.Listen("tcp4", ":7007")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	err = m.Inside(func() error {
		c, err := net.DialTimeout("tcp4", "10.88.1.100:7007", deadline)
		if err == nil {
			c.Close()
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	c, err := net.Dial("udp4", "10.88.1.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if a := c.LocalAddr().String(); !strings.HasPrefix(a, "10.88.1.1:") {
		t.Errorf("own traffic leaves from %s", a)
	}
}

func TestRenew(t *testing.T) {
	k, _ := bench(t)
	converge(t, k, vip)
	if err := Renew("lan", "10.88.1.100/24", Label("lan"), 9*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := addresstest.Text(t, "lan"); !strings.Contains(got, "valid 9s") {
		t.Errorf("after Renew: %s", got)
	}
	if held, _ := k.Held(); !slices.Equal(held, []Wish{vip}) {
		t.Errorf("it is not ours any more: %v", held)
	}
	if err := k.DropAll(); err != nil {
		t.Fatal(err)
	}
	if err := Renew("lan", "10.88.1.100/24", Label("lan"), Lifetime); err == nil {
		t.Error("an address that is gone was renewed")
	}
	// The request itself, as if the revoke came between the question and it.
	n, _ := index("lan")
	if err := renew(n, vip.Address, Label("lan"), Lifetime); err == nil {
		t.Error("the kernel took a renewal of an address that it has not")
	}
	if got := addresstest.Text(t, "lan"); got != "10.88.1.1/24\n" {
		t.Errorf("a renewal brought it back: %s", got)
	}
	for _, bad := range []string{"", "10.88.1.100", "fd00::1/64"} {
		if Renew("lan", bad, "lan:ek", Lifetime) == nil {
			t.Errorf("%q was renewed", bad)
		}
	}
}

// Heart renews every 500 ms: what one renewal takes is printed here.
func BenchmarkRenew(b *testing.B) {
	m := addresstest.NewMachine(b)
	m.Cable("lan", "10.88.1.1/24", "10.88.1.2/24")
	if err := add(nil, vip); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := Renew("lan", "10.88.1.100/24", "lan:ek", Lifetime); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNobodyRenews(t *testing.T) {
	k, _ := bench(t)
	gone := make(chan Wish, 8)
	run(t, func(ctx context.Context) { k.Watch(ctx, func(w Wish) { gone <- w }) })
	began := time.Now()
	converge(t, k, vip)
	select {
	case <-gone:
		t.Logf("the kernel dropped an address that nobody renewed after %v (stated: 2.5 s)", time.Since(began))
	case <-time.After(deadline):
		t.Fatal("an address that nobody renews stays")
	}
}

func TestWatchTellsOfADeletedAddress(t *testing.T) {
	k, _ := bench(t)
	back := make(chan struct{}, 8)
	run(t, func(ctx context.Context) {
		k.Watch(ctx, func(Wish) {
			if _, err := k.Converge(ctx, []Wish{vip}); err == nil {
				back <- struct{}{}
			}
		})
	})
	converge(t, k, vip)
	deleteByHand(t, vip)
	began := time.Now()
	select {
	case <-back:
		t.Logf("an address deleted by hand was back after %v (stated: 100 ms)", time.Since(began))
	case <-time.After(deadline):
		t.Fatal("nobody noticed")
	}
	if held, _ := k.Held(); !slices.Equal(held, []Wish{vip}) {
		t.Errorf("held %v", held)
	}
}

func TestWatchRemovesWhatNobodyWishes(t *testing.T) {
	k, _ := bench(t)
	run(t, func(ctx context.Context) { k.Watch(ctx, func(Wish) {}) })
	if err := add(nil, vip); err != nil {
		t.Fatal(err)
	}
	timeout := time.After(deadline)
	for {
		if held, err := k.Held(); err == nil && len(held) == 0 {
			return
		}
		select {
		case <-timeout:
			t.Fatal("it stays")
		case <-time.After(time.Millisecond):
		}
	}
}

// An engine that starts again leaves alone what it finds, and is told when it goes.
func TestWatchAdoptsWhatIsThere(t *testing.T) {
	k, _ := bench(t)
	converge(t, k, vip)
	next, err := NewKeeper(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	gone := make(chan Wish, 8)
	run(t, func(ctx context.Context) { next.Watch(ctx, func(w Wish) { gone <- w }) })
	if err := Renew("lan", vip.Address.String(), Label("lan"), 9*time.Second); err != nil {
		t.Fatal(err)
	}
	select {
	case w := <-gone:
		t.Fatalf("%v was taken off, or said to be", w)
	case <-time.After(relist / 10): // nothing to wait for: a while in which nothing may happen
	}
	deleteByHand(t, vip)
	select {
	case <-gone:
	case <-time.After(deadline):
		t.Fatal("nobody noticed")
	}
}

func TestConflict(t *testing.T) {
	k, m := bench(t)
	m.Address("lan", "10.88.1.100/24")
	began := time.Now()
	found, failed := k.Conflict(t.Context(), []Wish{vip, wish("lan", "10.88.1.101/24"), wish("none", "10.0.0.1/8")})
	t.Logf("the probe took %v (stated: 200 ms)", time.Since(began))
	if len(found) != 1 || found[vip.Address] != m.MAC("lan") {
		t.Errorf("found %v; the stranger is %s", found, m.MAC("lan"))
	}
	if len(failed) != 1 || failed["none"] == nil {
		t.Errorf("only the device that is not there cannot be asked: %v", failed)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, failed := k.Conflict(ctx, []Wish{vip}); len(failed) > 0 {
		t.Errorf("cancelled: %v", failed)
	}
}

func TestAnnounce(t *testing.T) {
	k, m := bench(t)
	converge(t, k, vip)
	var ear *arpsocket.Socket
	if err := m.Inside(func() (err error) { ear, err = arpsocket.Open("lan"); return err }); err != nil {
		t.Fatal(err)
	}
	defer ear.Close()
	run(t, k.Run)
	k.Announce([]Wish{vip, wish("lan", "10.88.1.150/24")}) // the second is not held, so nothing is said of it
	began := time.Now()
	for range 3 {
		f := hear(t, ear)
		if f.Operation != arp.Request || f.Sender != f.Target || f.Sender != vip.Address.Addr() {
			t.Errorf("this is no announcement of ours: %+v", f)
		}
		t.Logf("announced at %v", time.Since(began))
	}
	k.Announce(nil)
}

func hear(t *testing.T, s *arpsocket.Socket) arp.Frame {
	t.Helper()
	f, err := s.Receive(time.Now().Add(deadline))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A neighbour that knew another holder learns of the new one by the first announcement.
func TestAnnounceMovesTheNeighbour(t *testing.T) {
	k, m := bench(t)
	lan, err := m.Kernel.LinkByName("lan")
	if err != nil {
		t.Fatal(err)
	}
	old := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	if err := m.Kernel.NeighSet(&netlink.Neigh{LinkIndex: lan.Attrs().Index, IP: net.ParseIP("10.88.1.100"), HardwareAddr: old, State: netlink.NUD_REACHABLE, Family: unix.AF_INET}); err != nil {
		t.Fatal(err)
	}
	converge(t, k, vip)
	run(t, k.Run)
	k.Announce([]Wish{vip})
	here, _ := net.InterfaceByName("lan")
	timeout := time.After(deadline)
	for m.Neighbour("lan", "10.88.1.100") != here.HardwareAddr.String() {
		select {
		case <-timeout:
			t.Fatalf("the neighbour still has %s", m.Neighbour("lan", "10.88.1.100"))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestAfter(t *testing.T) {
	want := []time.Duration{0, 200 * time.Millisecond, 1200 * time.Millisecond, 2400 * time.Millisecond, 5 * time.Second, 65 * time.Second, 125 * time.Second}
	for i, w := range want {
		if after(i) != w {
			t.Errorf("announcement %d is due at %v, not %v", i, w, after(i))
		}
	}
}

func TestLabel(t *testing.T) {
	if l := Label("lan"); l != "lan:ek" {
		t.Error(l)
	}
	if l := Label("enp129s0f0np0vf"); l != "enp129s0f0np:ek" {
		t.Error(l)
	}
}
