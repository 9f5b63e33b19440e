package volume

import "sync"

// event is something that happened; the loop lets it happen to itself. The hot ones are conversions of *op, so that they cost no memory.
type event interface{ happen(l *loop) }

// call is an event made of a function, for what is rare.
type call func(l *loop)

func (c call) happen(l *loop) { c(l) }

// mailbox is the loop's only way in. It has no bound of its own: what may be in it is bounded where it is made (bytes in flight of the
// frontends, of the connection and of the resync; one per verb).
type mailbox struct {
	mu    sync.Mutex
	queue []event
	wake  chan struct{}
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) post(e event) {
	m.mu.Lock()
	m.queue = append(m.queue, e)
	first := len(m.queue) == 1
	m.mu.Unlock()
	if first {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

// take returns all that is there and leaves the emptied slice of the last time in its place.
func (m *mailbox) take(emptied []event) []event {
	clear(emptied)
	m.mu.Lock()
	q := m.queue
	m.queue = emptied[:0]
	m.mu.Unlock()
	return q
}

// budget bounds bytes in flight. A request larger than all of it is taken when nothing else is in flight.
type budget struct {
	mu    sync.Mutex
	freed sync.Cond
	used  int
	limit int
	open  bool
}

func newBudget(limit int) *budget {
	b := &budget{limit: limit, open: true}
	b.freed.L = &b.mu
	return b
}

// take waits for n bytes; false: the budget was shut.
func (b *budget) take(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.open && b.used > 0 && b.used+n > b.limit {
		b.freed.Wait()
	}
	b.used += n
	return b.open
}

// add takes n bytes without waiting: for the loop itself.
func (b *budget) add(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used += n
}

// empty says that nothing is taken.
func (b *budget) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used == 0
}

func (b *budget) give(n int) {
	b.mu.Lock()
	b.used -= n
	b.mu.Unlock()
	b.freed.Broadcast()
}

// shut ends every wait.
func (b *budget) shut() {
	b.mu.Lock()
	b.open = false
	b.mu.Unlock()
	b.freed.Broadcast()
}
