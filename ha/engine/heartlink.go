package engine

import (
	"context"
	"reflect"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/heart"
)

// heartState is what the loop knows of the heart process.
type heartState struct {
	outgoing  chan heart.Order // the newest order for the connection; nil = not connected
	setup     *heart.Setup     // what the connection's heart was told; nil = nothing yet
	report    heart.Report
	heardAt   ha.Instant // when the report came in
	everHeard bool
	burst     bool // the next order asks for beats at once
	said      urgent
}

// reportLimit is the age at which a report no longer shows that heart runs: it reports every 100 ms.
const reportLimit = 500 * time.Millisecond

// facts splits the report into what the machine takes.
func (h *heartState) facts(at ha.Instant, interval time.Duration) (ha.HeartFacts, ha.PeerFacts) {
	f := h.report.Facts
	age := at.Sub(h.heardAt)
	f.Running = h.outgoing != nil && h.heardAt != 0 && age < reportLimit
	f.Heartbeats = h.outgoing != nil && h.heardAt != 0 && age < interval+250*time.Millisecond
	f.EverHeard = f.EverHeard || h.everHeard
	return f, ha.PeerFacts{Beat: h.report.Beat, FreshAt: h.report.FreshAt, Confirmed: h.report.Confirmed, EchoedSent: h.report.EchoedSent}
}

// followHeart keeps a connection to the heart process until ctx ends.
func (e *engine) followHeart(ctx context.Context) {
	for ctx.Err() == nil {
		link, err := e.shells.dialHeart(ctx)
		if err != nil {
			wait(ctx, 50*time.Millisecond)
			continue
		}
		e.useHeart(ctx, link)
		link.Close()
	}
}

// useHeart serves one connection until it is lost.
func (e *engine) useHeart(ctx context.Context, link heartLink) {
	outgoing := make(chan heart.Order, 1)
	e.post(func() { e.heart.outgoing, e.heart.setup = outgoing, nil })
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		for {
			select {
			case <-ctx.Done():
				return
			case o := <-outgoing:
				if err := link.Send(o); err != nil {
					e.log.Warn("order not given to heart", "error", err)
					return
				}
			}
		}
	}()
	defer e.post(func() {
		if e.heart.outgoing == outgoing {
			e.heart.outgoing = nil
		}
	})
	for {
		select {
		case <-ctx.Done():
			return
		case report, ok := <-link.Reports():
			if !ok {
				return
			}
			e.post(func() { e.takeReport(report) })
		}
	}
}

// takeReport keeps the newest report; a beat once heard in this boot is not forgotten because heart began anew.
func (e *engine) takeReport(r heart.Report) {
	if r.Beat == nil {
		r.Beat, r.FreshAt, r.EchoedSent = e.heart.report.Beat, e.heart.report.FreshAt, e.heart.report.EchoedSent
	}
	r.Confirmed = max(r.Confirmed, e.heart.report.Confirmed)
	e.heart.report, e.heart.heardAt = r, now()
	e.foreign.follow(r.Counters, e.heart.heardAt)
	e.heart.everHeard = e.heart.everHeard || r.Facts.EverHeard
	if r.Beat != nil {
		e.hearPeer(r.Beat)
	}
}

// urgent is the part of a saying whose change the peer is to hear at once.
type urgent struct {
	epoch    ha.Epoch
	role     ha.Role
	release  ha.Release
	back     ha.Epoch
	leaving  bool
	requests uint64
	answers  int
}

func urgency(s ha.Saying) urgent {
	u := urgent{epoch: s.Epoch, role: s.Role, leaving: s.Leaving, answers: len(s.Answers)}
	if s.Release != nil {
		u.release = *s.Release
	}
	if s.HandedBack != nil {
		u.back = *s.HandedBack
	}
	for _, r := range s.Requests {
		u.requests += r.Number
	}
	return u
}

// sendHeart gives heart its newest order; an older one that was not sent yet is replaced.
func (e *engine) sendHeart(f ha.Facts, say ha.Saying) {
	if e.heart.outgoing == nil {
		return
	}
	o := heart.Order{Say: say, StepAt: f.Now, Renew: e.renewals(), Burst: e.heart.burst}
	if u := urgency(say); u != e.heart.said {
		e.heart.said, o.Burst = u, true
	}
	e.heart.burst = false
	if setup := e.heartSetup(f.Settings); e.heart.setup == nil || !reflect.DeepEqual(setup, *e.heart.setup) {
		o.Setup, e.heart.setup = &setup, &setup
	}
	select {
	case old := <-e.heart.outgoing: // not sent yet: what must not be lost moves into the new one
		o.Burst = o.Burst || old.Burst
		if o.Setup == nil {
			o.Setup = old.Setup
		}
	default:
	}
	select {
	case e.heart.outgoing <- o:
	default: // cannot be: the loop is the only one that fills it
	}
}

// heartSetup makes the links: the serial line first, then the devices in the settings' order, as on the other node.
func (e *engine) heartSetup(in ha.Effective) heart.Setup {
	h := e.settings.Heartbeat
	s := heart.Setup{Node: e.node, Peer: e.peerID(), Boot: e.boot, Cluster: h.ClusterID, Keys: e.taken.keys,
		DeadTime: in.DeadTime, Port: h.Port}
	if h.Serial {
		path := h.MasterSerial
		if e.side() == ha.SlaveSide {
			path = h.SlaveSerial
		}
		s.Links = append(s.Links, heart.LinkSetup{Name: path, Kind: ha.LinkSerial, Interval: in.Interval, Baud: h.Baud})
	}
	for _, d := range h.Devices {
		if d.Send {
			s.Links = append(s.Links, heart.LinkSetup{Name: d.Device, Kind: ha.LinkUDP, Interval: in.Interval, Sync: d.Device == h.SyncDevice})
		}
	}
	return s
}

// wait sleeps for d or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
