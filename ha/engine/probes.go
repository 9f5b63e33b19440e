package engine

import (
	"context"
	"net/netip"
	"time"

	"evenkeel/ha"
)

// probeState is the newest probe round.
type probeState struct {
	number              uint64
	began, ended        ha.Instant
	kernelAt, addressAt ha.Instant
}

// beginProbe begins a probe round when the plan names a new one: beats on every link, ICMP and ARP to the peer, ARP for each
// virtual address.
func (e *engine) beginProbe(f ha.Facts, p ha.Plan) {
	if p.Probe == 0 || p.Probe == e.probe.number {
		return
	}
	e.probe.number, e.probe.began, e.probe.ended = p.Probe, f.Now, 0
	e.heart.burst = true
	number, target := p.Probe, e.peerTarget()
	length := min(200*time.Millisecond, f.Settings.DeadTime/3)
	e.goRun("probe", func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, length+time.Second)
		defer cancel()
		kernel, address := e.shells.checks.Probe(ctx, target, length)
		e.post(func() {
			if e.probe.number != number {
				return
			}
			e.probe.ended = now()
			e.probe.kernelAt = max(e.probe.kernelAt, kernel)
			e.probe.addressAt = max(e.probe.addressAt, address)
		})
	})
}

// peerTarget is the peer as a probe sees it: its base addresses, its hardware addresses and the virtual addresses that this node does not
// hold itself.
func (e *engine) peerTarget() probeTarget {
	t := probeTarget{MACs: e.heart.report.PeerMACs}
	add := func(a netip.Addr) {
		if a.IsValid() {
			t.Peer = append(t.Peer, a)
		}
	}
	s := e.settings
	slave := e.side() == ha.MasterSide // the peer is the configured slave
	pick := func(m, sl netip.Addr) netip.Addr {
		if slave {
			return sl
		}
		return m
	}
	add(pick(s.General.MasterAddress, s.General.SlaveAddress))
	add(pick(s.Replication.MasterAddress, s.Replication.SlaveAddress))
	for _, v := range s.Addresses {
		if v.Enabled {
			add(pick(v.MasterAddress, v.SlaveAddress))
		}
	}
	for _, w := range wishes(s) {
		if _, held := e.addresses.held[w.Address]; !held {
			t.Virtual = append(t.Virtual, w)
		}
	}
	return t
}
