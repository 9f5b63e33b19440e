package web

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"evenkeel/ha/control"
	"evenkeel/handlers"
)

const (
	askEvery   = time.Second // the peer's status and the explanation
	askFirst   = 50 * time.Millisecond
	askTimeout = 2 * time.Second
	retryAfter = 500 * time.Millisecond // after the engine's stream broke
)

// hub keeps the newest that the engine said, and wakes who shows it. Nothing is queued: who is slow sees the newest.
type hub struct {
	engine EngineClient
	log    *slog.Logger
	turned chan struct{} // a role or a verdict changed: the explanation is old

	mu      sync.Mutex
	newest  handlers.Snapshot
	waiting map[chan struct{}]bool
}

func newHub(engine EngineClient, log *slog.Logger) *hub {
	return &hub{engine: engine, log: log, turned: make(chan struct{}, 1), waiting: map[chan struct{}]bool{}}
}

// run follows the engine until ctx ends.
func (h *hub) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { h.follow(ctx) })
	wg.Go(func() { h.ask(ctx) })
	wg.Wait()
}

// follow reads the engine's stream and opens it again when it breaks.
func (h *hub) follow(ctx context.Context) {
	said := ""
	for ctx.Err() == nil {
		err := h.engine.StreamStatus(ctx, func(s control.Status) {
			said = ""
			before := h.snapshot().Own
			h.change(func(n *handlers.Snapshot) { n.Own, n.OwnAt = &s, time.Now() })
			if before == nil || before.State != s.State || before.Peer.Verdict != s.Peer.Verdict {
				select {
				case h.turned <- struct{}{}:
				default: // it will be asked already
				}
			}
		})
		if err != nil && err.Error() != said && ctx.Err() == nil {
			said = err.Error()
			h.log.Warn("the engine's status cannot be followed", "error", err)
		}
		pause(ctx, retryAfter)
	}
}

// ask fetches what the stream does not carry: every askEvery, and at once when a role or a verdict changed.
func (h *hub) ask(ctx context.Context) {
	for ctx.Err() == nil {
		own := h.snapshot().Own
		if own == nil { // who the peer is stands in the first status
			pause(ctx, askFirst)
			continue
		}
		h.askOnce(ctx, own.Peer.Node)
		select {
		case <-ctx.Done():
		case <-h.turned:
		case <-time.After(askEvery):
		}
	}
}

func (h *hub) askOnce(ctx context.Context, peer string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if e, err := h.engine.Explain(ctx); err == nil {
		h.change(func(n *handlers.Snapshot) { n.Explain = &e })
	}
	if peer == "" {
		return
	}
	if s, err := h.engine.Status(ctx, peer); err == nil { // a peer that is away is the normal case to show
		h.change(func(n *handlers.Snapshot) { n.Peer, n.PeerAt = &s, time.Now() })
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// snapshot returns the newest; what it points to is never changed.
func (h *hub) snapshot() handlers.Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.newest
}

// change alters the newest and wakes everybody.
func (h *hub) change(do func(*handlers.Snapshot)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do(&h.newest)
	for wake := range h.waiting {
		select {
		case wake <- struct{}{}:
		default: // it is awake already
		}
	}
}

// subscribe returns a channel that is filled at each change; leave ends that.
func (h *hub) subscribe() (wake chan struct{}, leave func()) {
	wake = make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting[wake] = true
	return wake, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.waiting, wake)
	}
}
