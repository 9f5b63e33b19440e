package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"evenkeel/replication"
	"evenkeel/replication/control"
	"evenkeel/replication/wire"
)

const (
	apiBody       = 64 << 10 // bytes of a request
	streamEvery   = 500 * time.Millisecond
	streamSpacing = 20 * time.Millisecond
	stuckAfter    = 2 * time.Second
	// statusPatience is how long a question waits for the loop before it gets the last status.
	statusPatience = 300 * time.Millisecond
)

// sayHello is what this side says of itself to the peer; read by the meeting.
func (l *loop) sayHello() wire.Hello {
	if h := l.hello.Load(); h != nil {
		return *h
	}
	return wire.Hello{}
}

func listenAPI(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot replace the socket %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot serve the volume's API: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot protect the socket %s: %w", path, err)
	}
	return l, nil
}

// serveAPI serves the verbs until ctx ends.
func serveAPI(ctx context.Context, listener net.Listener, l *loop) error {
	a := &api{loop: l, ctx: ctx}
	s := &http.Server{Handler: a.routes(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("the volume's API ended: %w", err)
	}
	return nil
}

type api struct {
	loop *loop
	ctx  context.Context // of the process
}

func (a *api) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /v1/status", a.freshStatus)
	m.HandleFunc("GET /v1/status/stream", a.stream)
	m.HandleFunc("GET /v1/snapshot", a.snapshot)
	m.HandleFunc("POST /v1/compare", a.compare)
	order(a, m, "alive", func(l *loop, _ struct{}, done func(any, error)) { l.aliveAt = l.now; done(nil, nil) })
	order(a, m, "configure", func(l *loop, c control.Config, done func(any, error)) { done(nil, l.configure(c)) })
	order(a, m, "promote", func(l *loop, p control.Promote, done func(any, error)) {
		err := l.promote(p)
		done(*l.status.Load(), err)
	})
	order(a, m, "demote", func(l *loop, _ struct{}, done func(any, error)) { l.demote(func(err error) { done(nil, err) }) })
	order(a, m, "permit", func(l *loop, p control.Permit, done func(any, error)) { done(nil, l.permit(p)) })
	order(a, m, "withdraw", func(l *loop, _ struct{}, done func(any, error)) { done(nil, l.withdraw()) })
	order(a, m, "outdate", func(l *loop, o control.Outdate, done func(any, error)) {
		v, err := l.outdate(o)
		done(v, err)
	})
	order(a, m, "peer-outdated", func(l *loop, v control.OutdateAnswer, done func(any, error)) { done(nil, l.peerOutdated(v)) })
	order(a, m, "licence/end", func(l *loop, r control.Reason, done func(any, error)) { done(nil, l.endLicence(r.Reason)) })
	order(a, m, "leave", func(l *loop, _ struct{}, done func(any, error)) { done(nil, l.leave()) })
	order(a, m, "connect", func(l *loop, _ struct{}, done func(any, error)) { l.connect(); done(nil, nil) })
	order(a, m, "disconnect", func(l *loop, _ struct{}, done func(any, error)) { l.disconnect(); done(nil, nil) })
	order(a, m, "resolve", func(l *loop, r control.Resolve, done func(any, error)) { done(nil, l.resolve(r)) })
	order(a, m, "pause", func(l *loop, _ struct{}, done func(any, error)) { l.pause(true); done(nil, nil) })
	order(a, m, "resume", func(l *loop, _ struct{}, done func(any, error)) { l.pause(false); done(nil, nil) })
	order(a, m, "detach", func(l *loop, d control.Detach, done func(any, error)) { done(nil, l.detach(d.Force)) })
	order(a, m, "device/open", func(l *loop, d control.DeviceOpen, done func(any, error)) {
		l.openKernel(d.Kind, d.Mount, func(v control.Device, err error) { done(v, err) })
	})
	order(a, m, "device/close", func(l *loop, d control.DeviceClose, done func(any, error)) {
		l.closeKernelThen(d.Lazy, func(err error) { done(nil, deviceError(err)) })
	})
	m.HandleFunc("POST /v1/revoke", a.revoke)
	return m
}

// order serves one verb: it decodes the body, lets the loop do it, and waits.
func order[T any](a *api, m *http.ServeMux, verb string, do func(l *loop, body T, done func(any, error))) {
	m.HandleFunc("POST /v1/"+verb, func(w http.ResponseWriter, r *http.Request) {
		body, err := decodeBody[T](w, r)
		if err != nil {
			fail(w, err)
			return
		}
		v, err := a.ask(r.Context(), func(l *loop, done func(any, error)) { do(l, body, done) })
		if err != nil {
			fail(w, err)
			return
		}
		answer(w, v)
	})
}

func decodeBody[T any](w http.ResponseWriter, r *http.Request) (T, error) {
	var body T
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, apiBody))
	if err := d.Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		return body, &usage{fmt.Sprintf("the request's body is not what %s takes: %v", r.URL.Path, err)}
	}
	return body, nil
}

type result struct {
	value any
	err   error
}

var errStopping = errors.New("the volume process is stopping")

// ask lets the loop do something and waits for the result.
func (a *api) ask(ctx context.Context, do func(l *loop, done func(any, error))) (any, error) {
	got := make(chan result, 1)
	a.loop.box.post(call(func(l *loop) {
		do(l, func(v any, err error) { got <- result{v, err} })
	}))
	select {
	case r := <-got:
		return r.value, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("the caller went away: %w", ctx.Err())
	case <-a.ctx.Done():
		return nil, errStopping
	}
}

// revoke stops new requests at once, before the loop has its turn.
func (a *api) revoke(w http.ResponseWriter, r *http.Request) {
	body, err := decodeBody[control.Revoke](w, r)
	if err != nil {
		fail(w, err)
		return
	}
	a.loop.serving.Store(false)
	if _, err := a.ask(r.Context(), func(l *loop, done func(any, error)) {
		l.revoke(body.Reason)
		if l.area != nil {
			err = l.save(l.state.SawEpoch(replication.Epoch(body.Epoch)))
		}
		done(nil, err)
	}); err != nil {
		fail(w, err)
		return
	}
	answer(w, nil)
}

func (a *api) snapshot(w http.ResponseWriter, r *http.Request) {
	v, err := a.ask(r.Context(), func(l *loop, done func(any, error)) { done(l.ownSnapshot().Encode(), nil) })
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(v.([]byte)) // the caller gone is its own matter
}

func (a *api) compare(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, apiBody))
	if err != nil {
		fail(w, &usage{"the snapshot cannot be read: " + err.Error()})
		return
	}
	v, err := a.ask(r.Context(), func(l *loop, done func(any, error)) {
		v, err := l.compare(b)
		done(v, err)
	})
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, v)
}

// status is the newest one; a loop that does not turn is said so, because the rest is old then.
func (a *api) status() control.Status {
	l := a.loop
	s := *l.status.Load()
	if time.Since(time.Unix(0, l.turned.Load())) > stuckAfter {
		stick(&s)
	}
	return s
}

// freshStatus is as new as the question, unless the loop is stuck.
func (a *api) freshStatus(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), statusPatience)
	defer cancel()
	_, _ = a.ask(ctx, func(l *loop, done func(any, error)) { l.changed(); done(nil, nil) }) // else the last one stands
	answer(w, a.status())
}

// stream sends the status at once, at each change (at most one in 20 ms), and every 500 ms.
func (a *api) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/jsonl")
	out := http.NewResponseController(w)
	lines := json.NewEncoder(w)
	beat := time.NewTicker(streamEvery)
	defer beat.Stop()
	for {
		next := a.loop.news.wait()
		if lines.Encode(a.status()) != nil || out.Flush() != nil {
			return
		}
		wait(r.Context(), streamSpacing, nil)
		select {
		case <-next:
		case <-beat.C:
		case <-r.Context().Done():
			return
		case <-a.ctx.Done():
			return
		}
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if v == nil {
		v = struct{}{}
	}
	_ = json.NewEncoder(w).Encode(v) // the caller gone is its own matter
}

// fail answers an error: 409 a rule, 400 the request, 500 the rest.
func fail(w http.ResponseWriter, err error) {
	status, e := http.StatusInternalServerError, &control.Error{Code: "failed", Text: err.Error()}
	var given *control.Error
	var wrong *usage
	switch {
	case errors.As(err, &given):
		status, e = http.StatusConflict, given
	case errors.As(err, &wrong):
		status, e = http.StatusBadRequest, &control.Error{Code: "usage", Text: wrong.text}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(e) // as above
}
