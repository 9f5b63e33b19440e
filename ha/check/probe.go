package check

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/arp"
	"evenkeel/ha/arp/arpsocket"
)

// Target is whom a probe round asks.
type Target struct {
	PeerAddresses []netip.Addr      // the peer's base addresses
	PeerMACs      map[string]string // by device, as the peer's beats named them: other ARP answers say nothing of the peer
	Virtual       []Virtual
}

// Virtual is one virtual address on one device.
type Virtual struct {
	Device  string
	Address netip.Addr
}

// Result says when the newest answers came; zero = none in this round.
type Result struct {
	KernelAt  ha.Instant // the peer's kernel: ICMP, or ARP from one of its MACs
	AddressAt ha.Instant // somebody else than this machine answered for a virtual address
}

// round gathers the answers of one probe.
type round struct {
	target Target
	mu     sync.Mutex
	result Result
	open   map[string]bool // what was asked and not answered
	done   context.CancelFunc
}

// Probe asks the peer's kernel and the virtual addresses on every path at once, each question twice. It ends at d, when everything was answered, or
// with ctx. A path that cannot be asked is one without an answer.
func Probe(ctx context.Context, t Target, d time.Duration) Result {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	r := &round{target: t, open: map[string]bool{}, done: cancel}
	questions := r.plan()
	var paths sync.WaitGroup
	if len(t.PeerAddresses) > 0 {
		paths.Go(func() { r.echo(ctx, d) })
	}
	for device, targets := range questions {
		paths.Go(func() {
			at := []time.Duration{0, d / 2}
			// An error is a path without an answer; the link's own condition names it.
			_ = arpsocket.Ask(ctx, device, targets, at, d, func(f arp.Frame) bool { return r.heardARP(device, f) })
		})
	}
	paths.Wait()
	return r.result
}

// plan notes every question and sorts those by ARP by device.
func (r *round) plan() map[string][]netip.Addr {
	byDevice := map[string][]netip.Addr{}
	for _, a := range r.target.PeerAddresses {
		r.open["icmp "+a.String()] = true
		if link, ok := deviceFor(a); ok && len(link.HardwareAddr) == 6 {
			byDevice[link.Name] = append(byDevice[link.Name], a)
			r.open["arp "+a.String()] = true
		}
	}
	for _, v := range r.target.Virtual {
		byDevice[v.Device] = append(byDevice[v.Device], v.Address)
		r.open["virtual "+v.Address.String()] = true
	}
	return byDevice
}

// answered crosses a question off; the last one ends the round. The caller holds mu.
func (r *round) answered(question string) {
	delete(r.open, question)
	if len(r.open) == 0 {
		r.done()
	}
}

// heardARP weighs one ARP frame: the same address may be a virtual one and prove nothing of the peer's kernel.
func (r *round) heardARP(device string, f arp.Frame) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.target.Virtual {
		if v.Device == device && v.Address == f.Sender {
			r.result.AddressAt = now()
			r.answered("virtual " + f.Sender.String())
		}
	}
	if mac := r.target.PeerMACs[device]; mac != "" && mac == f.SenderMAC.String() {
		r.result.KernelAt = now()
		r.answered("arp " + f.Sender.String())
	}
	return false
}

// echo asks the peer's base addresses by ICMP.
func (r *round) echo(ctx context.Context, d time.Duration) {
	s, err := openEcho()
	if err != nil {
		return
	}
	defer s.close()
	defer context.AfterFunc(ctx, s.close)()
	began := time.Now()
	asked := map[question]bool{}
	for _, until := range []time.Time{began.Add(d / 2), began.Add(d)} {
		for _, a := range r.target.PeerAddresses {
			if q, err := s.ask(a); err == nil {
				asked[q] = true
			}
		}
		for {
			a, err := s.hear(until)
			if err != nil {
				break
			}
			r.heardEcho(asked, a)
		}
	}
}

// heardEcho weighs one ICMP answer.
func (r *round) heardEcho(asked map[question]bool, a answer) {
	for q := range asked {
		if a.to(q) {
			r.mu.Lock()
			r.result.KernelAt = now()
			r.answered("icmp " + a.from.String())
			r.mu.Unlock()
		}
	}
}
