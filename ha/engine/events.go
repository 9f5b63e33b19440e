package engine

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// eventBound is how many events may wait for the log; when it is full the oldest give way, and how many is told.
const eventBound = 1024

// eventQueue takes events from the loop without delay and writes them in a goroutine of its own.
type eventQueue struct {
	log     *slog.Logger
	sink    EventLog
	mu      sync.Mutex
	waiting []control.Event
	lost    int
	wake    chan struct{}
	written broadcast
}

func newEventQueue(sink EventLog, log *slog.Logger) *eventQueue {
	return &eventQueue{sink: sink, log: log, wake: make(chan struct{}, 1)}
}

// add queues an event.
func (q *eventQueue) add(event control.Event) {
	q.mu.Lock()
	if len(q.waiting) >= eventBound {
		q.waiting = q.waiting[1:]
		q.lost++
	}
	q.waiting = append(q.waiting, event)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *eventQueue) take() ([]control.Event, int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch, lost := q.waiting, q.lost
	q.waiting, q.lost = nil, 0
	return batch, lost
}

// run writes until ctx ends, and then what is still waiting.
func (q *eventQueue) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			q.write(last)
			return
		case <-q.wake:
			q.write(ctx)
		}
	}
}

func (q *eventQueue) write(ctx context.Context) {
	batch, lost := q.take()
	if lost > 0 {
		q.log.Error("events lost: the log is too slow", "lost", lost)
	}
	if len(batch) == 0 || q.sink == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := q.sink.Append(ctx, batch); err != nil {
		q.log.Error("events not written", "events", len(batch), "error", err)
		return
	}
	q.written.send()
}

// note adds an event of this node, now, under the epoch in force.
func (e *engine) note(event control.Event) {
	event.At, event.Node, event.Epoch = time.Now().UTC(), string(e.node), e.durable.Epoch.String()
	if event.Log == "" {
		event.Log = "failover"
	}
	event.Text = ha.Sentence(event.Text)
	e.log.Info(event.Text, "event", event.Code, "severity", string(event.Severity))
	e.events.add(event)
}

// broadcast wakes everybody who waits for the next change.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns a channel that is closed at the next send.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
