package web

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"
)

const (
	liveTick     = time.Second            // ages go on although nothing changes
	liveGap      = 400 * time.Millisecond // between two messages at least: a slow browser must not fall behind
	livePing     = 900 * time.Millisecond // a sign of life with each tick: the page turns grey after three seconds without one
	liveWrite    = 10 * time.Second       // one message
	sessionCheck = 10 * time.Second
	liveMost     = 64 // streams at once
)

// live is the one stream of a page: server-sent events with the fragments that changed.
//
//	event: hello      data: the name of this process; another one than before = load the page anew
//	event: fragments  data: elements with ids, all of them at first, then again when they changed
//	event: alive      nothing changed
//	event: ended      the session has ended
func (s *server) live(w http.ResponseWriter, r *http.Request) {
	wake, leave := s.hub.subscribe()
	defer leave()
	if s.hub.subscribers() > liveMost {
		http.Error(w, "too many pages are open: close some", http.StatusServiceUnavailable)
		return
	}
	out := stream{w: w, control: http.NewResponseController(w)}
	_ = out.control.SetReadDeadline(time.Time{}) // the server's limit for reading a request would end the stream; one without keeps it
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	if out.send("retry: 2000\nevent: hello\ndata: "+s.boot+"\n\n") != nil {
		return
	}
	tick := time.NewTicker(liveTick)
	defer tick.Stop()
	checked := time.Now()
	for out.fragments(s, r) {
		if time.Since(checked) > sessionCheck {
			checked = time.Now()
			if !s.sessions.alive(r.Context(), r) {
				_ = out.send("event: ended\ndata: session\n\n") // it ends either way
				return
			}
		}
		if !await(r.Context(), wake, tick.C, liveGap-time.Since(out.at)) {
			return
		}
	}
}

// await lets the rest of the gap after the last message pass, so that many changes become one message, and then waits for a change or the next tick.
func await(ctx context.Context, wake <-chan struct{}, tick <-chan time.Time, rest time.Duration) bool {
	pause(ctx, rest)
	select {
	case <-ctx.Done():
	case <-tick:
	case <-wake:
	}
	return ctx.Err() == nil
}

// message frames data as one event: each line of it has its own field.
func message(event string, data []byte) string {
	return "event: " + event + "\ndata: " + string(bytes.ReplaceAll(bytes.TrimSpace(data), []byte("\n"), []byte("\ndata: "))) + "\n\n"
}

// stream writes events, each with a deadline of its own: the server's limit for a whole answer does not fit an endless one.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	last    []byte    // fragments that were sent last
	at      time.Time // when anything was sent last
}

// fragments sends the page's live parts if they changed, else a sign of life; it says whether the stream goes on.
func (s *stream) fragments(from *server, r *http.Request) bool {
	now, err := from.pages.Fragments(r.Context(), r.URL.Query())
	if r.Context().Err() != nil {
		return false // the browser has left
	}
	if err != nil {
		from.log.Error("a live page failed", "query", r.URL.RawQuery, "error", err)
		return false
	}
	if !bytes.Equal(now, s.last) {
		s.last = now
		return s.send(message("fragments", now)) == nil
	}
	return time.Since(s.at) < livePing || s.send("event: alive\ndata: -\n\n") == nil
}

func (s *stream) send(text string) error {
	s.at = time.Now()
	if err := s.control.SetWriteDeadline(time.Now().Add(liveWrite)); err != nil {
		return fmt.Errorf("set the deadline of a live page: %w", err)
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}

// subscribers counts the open streams.
func (h *hub) subscribers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting)
}
