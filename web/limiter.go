package web

import (
	"strings"
	"sync"
	"time"
)

// After freeTries failures an address, or an account, waits: 1 s, 2 s, 4 s ... up to waitMost. What failed longer ago than forget
// does not count. An account's wait is bounded low, so that nobody can lock the administrator out for long.
const (
	freeTries   = 5
	waitMost    = 5 * time.Minute
	accountMost = 30 * time.Second
	forget      = 15 * time.Minute
	limiterMost = 10_000 // names that are remembered
)

// limiter slows guessing down, per address and per account.
type limiter struct {
	mu    sync.Mutex
	now   func() time.Time
	tries map[string]try
}

type try struct {
	failed int
	last   time.Time
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, tries: map[string]try{}}
}

func keys(address, account string) (string, string) {
	return "from " + address, "as " + strings.ToLower(account)
}

// wait is how long the next try of this address or account must wait.
func (l *limiter) wait(address, account string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	from, as := keys(address, account)
	return max(l.left(from, waitMost), l.left(as, accountMost))
}

func (l *limiter) left(key string, most time.Duration) time.Duration {
	t := l.tries[key]
	over := t.failed - freeTries
	if over < 0 {
		return 0
	}
	pause := min(time.Second<<min(over, 20), most)
	return max(0, pause-l.now().Sub(t.last))
}

// tried notes the outcome of a try. A good one forgets the account's failures, and not the address's: who knows one password
// must not use it to guess others.
func (l *limiter) tried(address, account string, good bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from, as := keys(address, account)
	if good {
		delete(l.tries, as)
		return
	}
	if len(l.tries) >= limiterMost {
		l.sweep()
	}
	now := l.now()
	for _, key := range []string{from, as} {
		t := l.tries[key]
		if now.Sub(t.last) > forget {
			t.failed = 0
		}
		l.tries[key] = try{failed: t.failed + 1, last: now}
	}
}

// sweep forgets what is old, and everything if that is not enough.
func (l *limiter) sweep() {
	now := l.now()
	for key, t := range l.tries {
		if now.Sub(t.last) > forget {
			delete(l.tries, key)
		}
	}
	if len(l.tries) >= limiterMost {
		clear(l.tries)
	}
}
