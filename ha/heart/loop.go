package heart

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/beat"
	"evenkeel/ha/link"
)

// loop owns all of heart's state. Everything that could wait for something else (files, netlink, sockets of engines, serial lines) is in goroutines
// of their own that it hands things to without waiting.
//
//	links --frames--> loop --reports--> server --> engines
//	engines --orders--> server --orders--> loop --> links, renewer, keeper
type loop struct {
	log     *slog.Logger
	setup   *Setup // nil = none yet
	codec   *beat.Codec
	ear     ear
	voice   voice
	wires   []*wire
	links   sync.WaitGroup // goroutines of all links, of those too that were dropped
	frames  chan inbound
	frame   beat.Frame
	renewer *renewer
	keeper  *keeper
	renew   []Renewal

	recalled memory // from an earlier process of this boot
	everAny  bool
	wokeAt   ha.Instant
	late     time.Duration
	reported ha.Instant
	realTime bool

	form, line []byte // scratch
	heard      []uint64
	promised   []time.Duration
}

// inbound is what a link's goroutine hands over: one form, or the count of broken frames.
type inbound struct {
	wire   *wire
	at     ha.Instant
	form   []byte
	from   netip.Addr
	ttl    int
	broken int
}

const (
	frameQueue  = 256                    // more than a second's beats of all links; what does not fit is dropped and counted as lost
	reportEvery = 100 * time.Millisecond // at the latest
	downRetry   = 20 * time.Millisecond
	lateFrom    = 20 * time.Millisecond // an own loop later than this, and half an interval, is told
	lateKept    = 10 * time.Second      // a shorter lateness does not hide a longer one for this long
)

func newLoop(o Options) *loop {
	return &loop{
		log: o.Log, voice: voice{since: Now(), silent: true}, frames: make(chan inbound, frameQueue),
		renewer: newRenewer(o.Renew, o.Log), keeper: newKeeper(o.RunDir, o.Log), realTime: isRealTime(),
	}
}

// run is the loop. It returns when ctx ends and all links have ended.
func (l *loop) run(ctx context.Context, srv *server) {
	defer l.endLinks()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wake := l.nextWake()
		timer.Reset(max(wake.Sub(Now()), 0))
		news := false
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case in := <-l.frames:
			news = l.receive(in)
			for range len(l.frames) {
				news = l.receive(<-l.frames) || news
			}
		case p := <-srv.orders:
			l.obey(p)
		}
		now := Now()
		l.noticeLateness(now, wake)
		l.beat(now)
		l.grant(now)
		if news || now.Sub(l.reported) >= reportEvery || l.turnedQuiet(now) {
			l.reported = now
			srv.publish(l.report(now))
			l.keep(now)
		}
	}
}

// nextWake is when something is due: a beat, a report, or a link turns quiet.
func (l *loop) nextWake() ha.Instant {
	next := l.reported.Add(reportEvery)
	for _, w := range l.wires {
		next = min(next, w.due)
		if w.freshAt != 0 && w.freshAt.Add(w.quietAfter(l.ear.dead)) > l.reported {
			next = min(next, w.freshAt.Add(w.quietAfter(l.ear.dead)))
		}
	}
	return next
}

// turnedQuiet says whether a link turned quiet since the last report.
func (l *loop) turnedQuiet(now ha.Instant) bool {
	for _, w := range l.wires {
		if at := w.freshAt.Add(w.quietAfter(l.ear.dead)); w.freshAt != 0 && at > l.reported && at <= now {
			return true
		}
	}
	return false
}

// noticeLateness compares when the loop meant to wake with when it did. That is zero at the first turn, for nothing was meant before.
func (l *loop) noticeLateness(now, wake ha.Instant) {
	late := now.Sub(wake)
	if l.reported == 0 || late <= max(lateFrom, l.shortest()/2) {
		return
	}
	if late >= l.late || now.Sub(l.wokeAt) > max(lateKept, 2*l.ear.dead) {
		l.wokeAt, l.late = now, late
		l.log.Warn("heart's loop was late", "by", late.Round(time.Millisecond))
	}
}

func (l *loop) shortest() time.Duration {
	d := reportEvery
	for _, w := range l.wires {
		d = min(d, w.interval)
	}
	return d
}

// receive judges one form and says whether the engine should learn of it at once.
func (l *loop) receive(in inbound) (news bool) {
	w := in.wire
	if in.broken > 0 {
		for range in.broken {
			w.refuse(beat.Malformed)
		}
		w.garbageAt = in.at
	}
	if in.form == nil || l.codec == nil {
		return false
	}
	no := beat.Accepted
	if w.Kind == ha.LinkUDP && in.ttl != 255 {
		no = beat.TTL
	} else if no = l.codec.Parse(in.form, &l.frame); no == beat.Accepted {
		no, news = l.ear.hear(in.at, l.wires, w, &l.frame)
	}
	switch {
	case no == beat.Own && w.Kind == ha.LinkSerial:
		no, w.echoAt = beat.Echo, in.at
	case no == beat.Accepted && in.from.IsValid():
		w.link.HeardFrom(in.from)
	}
	if no != beat.Accepted {
		w.refuse(no)
	}
	l.everAny = l.everAny || w.ever
	return news
}

// beat sends what is due. The schedule is absolute: a beat that was late does not delay the next, and beats that were missed are not made up.
func (l *loop) beat(now ha.Instant) {
	for _, w := range l.wires {
		if now < w.due {
			continue
		}
		err := l.send(now, w)
		if w.due = w.due.Add(w.interval); w.due <= now {
			w.due = now.Add(w.interval)
		}
		if errors.Is(err, link.ErrDown) {
			w.due = min(w.due, now.Add(downRetry)) // the first beat leaves as soon as the link is open
		}
	}
}

// grant lets the renewer renew until a little after its next turn, or not at all.
func (l *loop) grant(now ha.Instant) {
	wokeAt := l.wokeAt
	if l.late < l.ear.dead/2 {
		wokeAt = 0
	}
	if len(l.renew) > 0 && l.voice.mayRenew(now, l.ear.confirmed, wokeAt, l.ear.dead) && !l.voice.replaced(now, l.ear.beat) {
		l.renewer.allow(l.renew, now.Add(grantFor))
		return
	}
	l.renewer.allow(nil, 0)
}

// report tells the engine all that heart knows.
func (l *loop) report(now ha.Instant) *Report {
	e := &l.ear
	r := &Report{
		Now: now, PID: os.Getpid(), Beat: e.beat, FreshAt: e.freshAt, Confirmed: e.confirmed, EchoedSent: e.echoedSent,
		PeerMACs: map[string]string{}, Counters: map[string]Counters{},
		Facts: ha.HeartFacts{
			Running: true, Since: l.voice.since, Heartbeats: true, RealTime: l.realTime, WokeAt: l.wokeAt, Late: l.late, EverHeard: l.everAny,
		},
	}
	for _, w := range l.wires {
		r.Facts.Links = append(r.Facts.Links, w.fact(now, e.dead))
		r.Counters[w.Name] = w.counters()
		if mac := w.link.Status().PeerMAC; mac != "" {
			r.PeerMACs[w.Name] = mac
		}
	}
	return r
}
