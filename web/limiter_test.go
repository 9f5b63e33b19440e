package web

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	l := newLimiter(func() time.Time { return now })
	wait := func(address, account string) time.Duration { // what the next try would be told
		a, w := l.begin(address, account)
		if w == 0 {
			l.undo(a)
		}
		return w
	}
	fail := func(address, account string) { // waits as long as it must
		now = now.Add(wait(address, account))
		l.begin(address, account)
	}
	for range freeTries - 1 {
		fail("1.1.1.1", "admin")
	}
	if w := wait("1.1.1.1", "admin"); w != 0 {
		t.Errorf("after %d failures one waits %v", freeTries-1, w)
	}
	fail("1.1.1.1", "admin")
	if w := wait("1.1.1.1", "other"); w != time.Second {
		t.Errorf("the address waits %v, want 1 s", w)
	}
	if w := wait("2.2.2.2", "ADMIN"); w != time.Second {
		t.Errorf("the account waits %v, want 1 s", w)
	}
	if w := wait("2.2.2.2", "other"); w != 0 {
		t.Errorf("a stranger to both waits %v", w)
	}
	for range 40 {
		fail("1.1.1.1", "admin")
	}
	if a, b := wait("1.1.1.1", "x"), wait("2.2.2.2", "admin"); a != waitMost || b != accountMost {
		t.Errorf("the waits are %v and %v, want %v and %v", a, b, waitMost, accountMost)
	}
	now = now.Add(forget + waitMost)
	fail("1.1.1.1", "admin")
	if w := wait("1.1.1.1", "admin"); w != 0 {
		t.Errorf("old failures still count: %v", w)
	}
	for i := range 2 * limiterMost {
		l.begin(time.Duration(i).String(), fmt.Sprint(i))
	}
	if len(l.tries) > limiterMost+1 {
		t.Errorf("%d names are remembered", len(l.tries))
	}
}

// The right password forgets the account's failures; of the address's it takes back no more than its own try.
func TestLimiterAfterTheRightPassword(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	l := newLimiter(func() time.Time { return now })
	for range freeTries {
		l.begin("1.1.1.1", "admin")
	}
	now = now.Add(10 * time.Second)
	good, wait := l.begin("1.1.1.1", "admin")
	if wait != 0 {
		t.Fatalf("10 s after the last failure one waits %v", wait)
	}
	if _, wait := l.begin("1.1.1.1", "other"); wait != 2*time.Second {
		t.Errorf("beside a try that runs one waits %v, want 2 s: it counts when it begins", wait)
	}
	l.good(good)
	if _, wait := l.begin("2.2.2.2", "admin"); wait != 0 {
		t.Errorf("after the right password the account waits %v", wait)
	}
	if got, want := l.tries["from 1.1.1.1"], (try{failed: freeTries, last: now.Add(-10 * time.Second)}); got != want {
		t.Errorf("after the right password the address has %v, want %v", got, want)
	}
}

// crowded is a database whose passwords cannot be looked at.
type crowded struct{ DB }

func (crowded) Authenticate(context.Context, string, string) (string, error) { return "", errCrowd }
func (crowded) WrongSignIn(error) bool                                       { return false }

var errCrowd = errors.New("too many")

// A password that was not looked at is no try.
func TestCrowdCountsForNothing(t *testing.T) {
	s := &server{limiter: newLimiter(time.Now), db: crowded{}}
	for i := range 2 * freeTries {
		if _, wait, err := s.Authenticate(t.Context(), "1.1.1.1", "admin", "a good password"); wait != 0 || !errors.Is(err, errCrowd) {
			t.Fatalf("try %d in a crowd: wait %v, %v", i+1, wait, err)
		}
	}
}
