package web

import (
	"strings"
	"sync"
	"time"
)

// After freeTries failures an address, or an account, waits: 1 s, 2 s, 4 s ... up to waitMost. They are forgotten when the last of
// them is longer ago than forget. An account's wait is bounded low, so that nobody can lock the administrator out for long.
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

// try is what is known of an address or an account.
type try struct {
	failed int
	last   time.Time
}

// attempt is one try that was counted when it began.
type attempt struct {
	from, as string // its keys
	at       time.Time
	before   map[string]try // what was known before it
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, tries: map[string]try{}}
}

// begin counts a try of this address and account as a failed one before it is made: of many at once only so many are made as may
// fail. If one of the two must wait it says how long, and counts nothing.
func (l *limiter) begin(address, account string) (attempt, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := attempt{from: "from " + address, as: "as " + strings.ToLower(account), at: l.now(), before: map[string]try{}}
	if wait := max(l.left(a.from, waitMost), l.left(a.as, accountMost)); wait > 0 {
		return a, wait
	}
	if len(l.tries) >= limiterMost {
		l.sweep()
	}
	for _, key := range []string{a.from, a.as} {
		t := l.tries[key]
		if a.at.Sub(t.last) > forget {
			t = try{}
		}
		a.before[key] = t
		l.tries[key] = try{failed: t.failed + 1, last: a.at}
	}
	return a, 0
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

// good ends a try with the right password. It forgets the account's failures, and of the address's only itself: who knows one password
// must not use it to guess others.
func (l *limiter) good(a attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.tries, a.as)
	l.takeBack(a, a.from)
}

// undo takes a try back that was not made.
func (l *limiter) undo(a attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.takeBack(a, a.from)
	l.takeBack(a, a.as)
}

// takeBack uncounts a try; what failed since it began goes on counting.
func (l *limiter) takeBack(a attempt, key string) {
	t := l.tries[key]
	t.failed--
	if t.last.Equal(a.at) {
		t.last = a.before[key].last
	}
	l.tries[key] = t
	if t.failed <= 0 {
		delete(l.tries, key)
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
