package store

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Who comes when as many wait as may wait is refused at once, and not put behind them.
func TestPasswordsWaitInAShortQueue(t *testing.T) {
	db := &DB{hashes: make(chan struct{}, hashesAtOnce), queue: make(chan struct{}, hashesAtOnce+hashesWaiting)}
	entered := make(chan error, hashesAtOnce+hashesWaiting)
	for range cap(entered) {
		go func() { entered <- db.enter(context.Background()) }()
	}
	for deadline := time.Now().Add(10 * time.Second); len(db.queue) < cap(db.queue) || len(entered) < hashesAtOnce; {
		if time.Now().After(deadline) {
			t.Fatalf("%d stand in the queue and %d are through it", len(db.queue), len(entered))
		}
		time.Sleep(time.Millisecond)
	}
	if err := db.enter(context.Background()); !errors.Is(err, ErrCrowded) {
		t.Errorf("behind a full queue: %v, want ErrCrowded", err)
	}
	for range cap(entered) {
		if err := <-entered; err != nil {
			t.Errorf("who waited got %v", err)
		}
		db.leave()
	}
	full, cancel := context.WithCancel(context.Background())
	cancel()
	for range hashesAtOnce {
		if err := db.enter(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.enter(full); !errors.Is(err, context.Canceled) || len(db.queue) != hashesAtOnce {
		t.Errorf("who leaves the queue: %v, and %d stand in it", err, len(db.queue))
	}
}
