// Package check asks what else on the network answers: reference points ([References]) and, in a probe round, the peer
// ([Probe]).
//
//	unknown --answer--> good --question unanswered, or carrier lost--> bad --answer--> good
//
// An answer speaks for the moment in which its question was asked, never for the moment in which it came.
package check

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"evenkeel/ha"
)

const (
	leisure     = time.Second            // between questions when nothing hangs on them
	minPatience = 100 * time.Millisecond // a question waits at least this long for its answer
	maxPatience = 500 * time.Millisecond // and at most this long
	minEvery    = 20 * time.Millisecond
	maxOpen     = 32 // unanswered questions kept per point
	idle        = time.Hour
)

// References asks the reference points. Its methods may be called at the same time.
type References struct {
	log     *slog.Logger
	wake    chan struct{}
	changed chan struct{}

	mu     sync.Mutex
	every  time.Duration
	points []*point
	next   time.Time // when all are asked again
}

// point is one reference point.
type point struct {
	ha.Reference
	state   ha.ReferenceState
	askedAt ha.Instant // of the question that state answers
	open    []question // unanswered, oldest first
}

// NewReferences returns References that ask nobody until Set and Run are called.
func NewReferences(log *slog.Logger) *References {
	return &References{log: log, every: leisure, wake: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
}

// Set replaces the points; the same ones again change nothing. One whose address stays keeps what is known of it.
func (r *References) Set(refs []ha.Reference) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.EqualFunc(r.points, refs, func(p *point, ref ha.Reference) bool { return p.Reference == ref }) {
		return
	}
	old := r.points
	r.points = nil
	for _, ref := range refs {
		p := &point{state: ha.ReferenceUnknown}
		if i := slices.IndexFunc(old, func(o *point) bool { return o.Address == ref.Address }); i >= 0 {
			p = old[i]
		}
		p.Reference = ref
		r.points = append(r.points, p)
	}
	r.next = time.Time{}
	signal(r.wake)
}

// Every sets how often every point is asked; 0 = once a second. A new value takes effect at once.
func (r *References) Every(d time.Duration) {
	if d <= 0 {
		d = leisure
	}
	d = max(d, minEvery)
	r.mu.Lock()
	defer r.mu.Unlock()
	if d == r.every {
		return
	}
	r.every, r.next = d, time.Time{}
	signal(r.wake)
}

// Facts is what is known of each point, in the order of Set.
func (r *References) Facts() []ha.ReferenceFact {
	r.mu.Lock()
	defer r.mu.Unlock()
	facts := make([]ha.ReferenceFact, 0, len(r.points))
	for _, p := range r.points {
		facts = append(facts, ha.ReferenceFact{Name: p.Name, State: p.state, AskedAt: p.askedAt})
	}
	return facts
}

// Changed delivers after a state changed, and after each answer while the points are asked faster than at leisure.
func (r *References) Changed() <-chan struct{} { return r.changed }

// signal is a send that does not wait: one that was not taken yet says the same.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run asks until ctx ends. Without a socket to ask with it tries again each second; the points stay unknown or turn bad.
func (r *References) Run(ctx context.Context) {
	for ctx.Err() == nil {
		s, err := openEcho()
		if err != nil {
			r.log.Warn("reference points cannot be asked", "error", err)
			pause(ctx, leisure)
			continue
		}
		r.loop(ctx, s)
		pause(ctx, minPatience) // a socket that broke at once must not spin
	}
}

// loop is the life of one socket.
func (r *References) loop(ctx context.Context, s *echoSocket) {
	answers := make(chan answer, 64)
	heard := make(chan struct{})
	go func() { // owned by loop: ends when the socket is closed
		defer close(heard)
		for {
			a, err := s.hear(time.Time{})
			if err != nil {
				return
			}
			select {
			case answers <- a:
			default: // a flood: what is lost is asked again
			}
		}
	}()
	defer func() { s.close(); <-heard }()
	carrier, stop := watchCarrier(ctx)
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-heard:
			return
		case <-r.wake:
		case <-carrier:
			r.lookAtCarrier()
		case a := <-answers:
			r.answered(a)
		case <-timer.C:
		}
		timer.Reset(r.turn(s))
	}
}

// turn asks what is due, gives up what waited too long, and says how long until there is something to do again.
func (r *References) turn(s *echoSocket) time.Duration {
	for _, t := range r.due() {
		r.asked(t.point, ask(s, t.address))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.points) == 0 {
		return idle
	}
	wait := time.Until(r.next)
	patience := min(max(minPatience, r.every), maxPatience)
	for _, p := range r.points {
		r.expire(p, patience)
		if len(p.open) > 0 {
			wait = min(wait, p.open[0].at.Add(patience).Sub(now()))
		}
	}
	return max(wait, time.Millisecond)
}

// target is a point that is to be looked at without the lock. The kernel may let whoever asks it for ways and devices wait for seconds, just when a device
// fails; nobody who wants to know what is known may wait for that.
type target struct {
	point   *point
	address netip.Addr
}

// due lists the points if it is time to ask them, and sets the next time.
func (r *References) due() []target {
	r.mu.Lock()
	defer r.mu.Unlock()
	wall := time.Now()
	if wall.Before(r.next) {
		return nil
	}
	r.next = wall.Add(r.every)
	return r.targets()
}

// targets lists the points. The caller holds mu.
func (r *References) targets() []target {
	var list []target
	for _, p := range r.points {
		list = append(list, target{p, p.Address})
	}
	return list
}

// ask sends one question; one with sequence number 0 was not sent. A point behind a device without carrier is not asked: a send on a pulled cable
// succeeds.
func ask(s *echoSocket, to netip.Addr) question {
	if noCarrier(to) {
		return question{at: now()}
	}
	q, err := s.ask(to)
	if err != nil { // no route, device down
		q.seq = 0
	}
	return q
}

// asked notes a question. One that was not sent makes its point bad at once.
func (r *References) asked(p *point, q question) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.seq == 0 {
		r.become(p, ha.ReferenceBad, q.at)
		return
	}
	if len(p.open) == maxOpen {
		p.open = p.open[1:]
	}
	p.open = append(p.open, q)
}

// expire turns a point bad whose question waited too long.
func (r *References) expire(p *point, patience time.Duration) {
	t := now()
	for len(p.open) > 0 && t.Sub(p.open[0].at) >= patience {
		q := p.open[0]
		p.open = p.open[1:]
		r.become(p, ha.ReferenceBad, q.at)
	}
}

// answered finds the question of an answer. Older questions that are still open are settled by it.
func (r *References) answered(a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.points {
		if i := slices.IndexFunc(p.open, a.to); i >= 0 {
			at := p.open[i].at
			p.open = p.open[i+1:]
			r.become(p, ha.ReferenceGood, at)
			return
		}
	}
}

// become notes an answer, or the lack of one, unless a newer question was answered already. The caller holds mu.
func (r *References) become(p *point, state ha.ReferenceState, askedAt ha.Instant) {
	if askedAt < p.askedAt {
		return
	}
	changed := p.state != state
	p.state, p.askedAt = state, askedAt
	if changed {
		r.log.Info("reference point", "name", p.Name, "address", p.Address, "state", state)
	}
	if changed || r.every < leisure {
		signal(r.changed)
	}
}

// lookAtCarrier turns the points bad whose device has lost its carrier, and has all asked again.
func (r *References) lookAtCarrier() {
	r.mu.Lock()
	list := r.targets()
	r.mu.Unlock()
	for _, t := range list {
		if noCarrier(t.address) {
			r.cutOff(t.point)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = time.Time{}
}

// cutOff turns a point bad; an answer that still comes was asked before.
func (r *References) cutOff(p *point) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.open = nil
	r.become(p, ha.ReferenceBad, now())
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
