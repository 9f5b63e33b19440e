package address

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	relist      = 2 * time.Second        // a subscription may end or lose messages: the list is the truth
	watchPoll   = 100 * time.Millisecond // how late the loop notices the end of its context
	watchBuffer = 1 << 20                // bytes
)

// Watch follows the kernel until ctx ends and calls vanished for each address of the last wish that is gone, deleted by
// hand or lapsed: at once, and every two seconds while it stays away. vanished must not block. An address of ours that
// appears without being wished (a renewal that crossed a revoke) is removed.
func (k *Keeper) Watch(ctx context.Context, vanished func(Wish)) {
	for ctx.Err() == nil {
		if err := k.watch(ctx, vanished); err != nil {
			k.log.Warn("the watch on addresses begins again", "error", err)
		}
	}
}

// watch is one subscription; it returns when that breaks or ctx ends.
func (k *Keeper) watch(ctx context.Context, vanished func(Wish)) error {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_IFADDR)
	if err != nil {
		pause(ctx, watchPoll)
		return fmt.Errorf("no subscription: %w", err)
	}
	defer s.Close()
	poll := unix.NsecToTimeval(int64(watchPoll))
	if err := errors.Join(s.SetReceiveTimeout(&poll), s.SetReceiveBufferSize(watchBuffer, false)); err != nil {
		return fmt.Errorf("no subscription with a deadline: %w", err)
	}
	listed := time.Time{}
	for ctx.Err() == nil {
		if time.Since(listed) >= relist {
			k.compare(vanished)
			listed = time.Now()
		}
		msgs, _, err := s.Receive()
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			pause(ctx, watchPoll)
			return err
		}
		if slices.ContainsFunc(msgs, func(m syscall.NetlinkMessage) bool { return k.matters(m.Header.Type, m.Data) }) {
			k.compare(vanished)
			listed = time.Now()
		}
	}
	return nil
}

// matters says whether a message may change what compare finds: a wished address that went, or one of ours that came unwished.
func (k *Keeper) matters(kind uint16, data []byte) bool {
	e, ok := parse(data)
	if !ok {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	wished := slices.ContainsFunc(k.wish, func(w Wish) bool { return w.Address == e.Address })
	return kind == unix.RTM_DELADDR && wished || kind == unix.RTM_NEWADDR && e.own && !wished
}

// compare reports what is missing and removes what is too much.
func (k *Keeper) compare(vanished func(Wish)) {
	k.mu.Lock()
	own, err := k.own()
	if err != nil {
		k.mu.Unlock()
		k.log.Warn("the addresses cannot be compared", "error", err)
		return
	}
	drop, missing := Diff(wishes(own), k.wish)
	for _, e := range own {
		if slices.Contains(drop, e.Wish) {
			err := remove(k.sockets, e)
			k.log.Warn("an address of ours that nobody wishes was removed", "address", e.Wish, "error", err)
		}
	}
	k.mu.Unlock()
	for _, w := range missing {
		vanished(w)
	}
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
