package heart

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/beat"
)

// prepared is an order that was checked, turned into pages, and kept in heart.json.
type prepared struct {
	Order
	codec *beat.Codec // with Setup
	pages []beat.Page
}

// server is heart.sock. At most two engines are connected, the newest gives orders; a third sends the oldest away. Orders are kept in heart.json
// before the loop gets them, so that what beats say is never ahead of what a restarted heart would say.
type server struct {
	ln     *net.UnixListener
	file   string
	log    *slog.Logger
	orders chan prepared

	mu    sync.Mutex    // held for moments only: the loop takes it
	conns []*engineConn // newest last

	keeping sync.Mutex // held while heart.json is written
	last    kept
}

// kept is the content of heart.json: the newest setup and saying.
type kept struct {
	Setup  *Setup     `json:"setup"`
	Say    ha.Saying  `json:"say"`
	StepAt ha.Instant `json:"step_at"`
	Renew  []Renewal  `json:"renew"`
}

type engineConn struct {
	c    net.Conn
	slot chan *Report // the newest report that was not written yet
}

const (
	engines      = 2
	maxLine      = 256 << 10       // bytes of one order or report
	writeTimeout = 2 * time.Second // for a report; an engine that does not read is gone
)

func listen(path, file string, log *slog.Logger) (*server, error) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("the old socket %s cannot be removed: %w; check the run folder", path, err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("socket %s cannot be opened: %w; check that the run folder exists and is root's", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("socket %s cannot be closed to others: %w", path, err)
	}
	return &server{ln: ln, file: file, log: log, orders: make(chan prepared)}, nil
}

// kept reads heart.json; nil = there is none.
func (s *server) kept() (*prepared, error) {
	p, err := os.ReadFile(s.file)
	if os.IsNotExist(err) {
		return nil, nil
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(p, &k)
	}
	if err == nil && k.Setup == nil {
		err = errors.New("it names no setup")
	}
	if err == nil && k.StepAt > Now() {
		err = errors.New("it is of another boot of this machine: the run folder must be emptied at boot")
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be used: %w", s.file, err)
	}
	out := &prepared{Order: Order{Setup: k.Setup, Say: k.Say, StepAt: k.StepAt, Renew: k.Renew}}
	if out.codec, err = k.Setup.check(); err != nil {
		return nil, fmt.Errorf("%s cannot be used: %w", s.file, err)
	}
	if out.pages, err = beat.Pages(k.Setup.Boot, &k.Say); err != nil {
		return nil, fmt.Errorf("%s cannot be used: %w", s.file, err)
	}
	s.last = k
	return out, nil
}

// run accepts engines until ctx ends, and returns when all their goroutines have.
func (s *server) run(ctx context.Context) {
	var served sync.WaitGroup
	defer served.Wait()
	stop := context.AfterFunc(ctx, func() {
		s.ln.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, e := range s.conns {
			e.c.Close()
		}
	})
	defer stop()
	for {
		c, err := s.ln.Accept()
		if err != nil {
			if ctx.Err() == nil {
				s.log.Error("heart.sock cannot accept any more; restart heart", "why", err)
			}
			return
		}
		e := &engineConn{c: c, slot: make(chan *Report, 1)}
		if !s.join(ctx, e) {
			c.Close()
			return
		}
		gone := make(chan struct{})
		served.Go(func() { defer close(gone); s.read(ctx, e) })
		served.Go(func() { s.write(e, gone) })
	}
}

// join takes an engine in, sending the oldest away if there are too many.
func (s *server) join(ctx context.Context, e *engineConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	s.conns = append(s.conns, e)
	if len(s.conns) > engines {
		s.conns[0].c.Close()
	}
	return true
}

func (s *server) leave(e *engineConn) {
	e.c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = slices.DeleteFunc(s.conns, func(x *engineConn) bool { return x == e })
}

func (s *server) newest(e *engineConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns) > 0 && s.conns[len(s.conns)-1] == e
}

// publish hands a report to each engine's writer; one that is still busy with an older one gets only the newest.
func (s *server) publish(r *Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.conns {
		select {
		case <-e.slot:
		default:
		}
		e.slot <- r // publish is the slot's only sender
	}
}

func (s *server) write(e *engineConn, gone <-chan struct{}) {
	enc := json.NewEncoder(e.c)
	for {
		select {
		case <-gone:
			return
		case r := <-e.slot:
			if err := e.c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
				return
			}
			if err := enc.Encode(r); err != nil {
				e.c.Close() // the reader ends the connection
				return
			}
		}
	}
}

func (s *server) read(ctx context.Context, e *engineConn) {
	defer s.leave(e)
	lines := bufio.NewScanner(e.c)
	lines.Buffer(make([]byte, 0, 16<<10), maxLine)
	for lines.Scan() {
		var o Order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			s.log.Error("an engine's order cannot be read; its connection ends", "why", err)
			return
		}
		p, err := s.prepare(e, o)
		if err != nil {
			s.log.Error("an engine's order is refused; what was in force stays", "why", err)
			continue
		}
		if p == nil {
			continue
		}
		select {
		case s.orders <- *p:
		case <-ctx.Done():
			return
		}
	}
}

// prepare checks an order and keeps what is new of it. Nil without an error = it came from an engine that was replaced, or no setup is known yet.
func (s *server) prepare(e *engineConn, o Order) (*prepared, error) {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	if !s.newest(e) {
		return nil, nil
	}
	p := &prepared{Order: o}
	next := kept{Setup: s.last.Setup, Say: o.Say, StepAt: o.StepAt, Renew: o.Renew}
	var err error
	if o.Setup != nil {
		if p.codec, err = o.Setup.check(); err != nil {
			return nil, err
		}
		next.Setup = o.Setup
	}
	if next.Setup == nil {
		return nil, errors.New("the engine's first order names no setup")
	}
	if p.pages, err = beat.Pages(next.Setup.Boot, &o.Say); err != nil {
		return nil, err
	}
	if !sameWords(s.last, next) {
		if err := writeJSON(s.file, next); err != nil {
			// What stands there is out of date: a restarted heart must not say it.
			s.log.Error("the order cannot be kept; a restarted heart will wait for the engine", "file", s.file, "why", errors.Join(err, os.Remove(s.file)))
		}
	}
	s.last = next
	return p, nil
}

// sameWords compares all but what moves with each step.
func sameWords(a, b kept) bool {
	a.StepAt, b.StepAt = 0, 0
	a.Say.Volumes, b.Say.Volumes = withoutPromises(a.Say.Volumes), withoutPromises(b.Say.Volumes)
	return reflect.DeepEqual(a, b)
}

func withoutPromises(vs []ha.VolumeSaying) []ha.VolumeSaying {
	out := slices.Clone(vs)
	for i := range out {
		out[i].Promise = 0
	}
	return out
}
