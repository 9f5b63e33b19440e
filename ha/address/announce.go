package address

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel/ha/arp"
	"evenkeel/ha/arp/arpsocket"
)

// burst are the announcements after an address was taken, counted from the first; then one every announceEvery.
var burst = []time.Duration{0, 200 * time.Millisecond, 1200 * time.Millisecond, 2400 * time.Millisecond, 5 * time.Second}

const (
	announceEvery = 60 * time.Second
	// tooLate: a loop that wakes this late was not running, and what it holds is in doubt: it announces nothing until asked again.
	tooLate = time.Second
)

// Announce tells the networks where these addresses are: at once, +0.2, +1.2, +2.4, +5 s and then every 60 s, each time
// only those that the kernel still has. A new call replaces the last one; nil ends it. [Keeper.Run] does the work.
func (k *Keeper) Announce(wish []Wish) {
	w := slices.Clone(wish)
	for {
		select {
		case k.announce <- w:
			return
		default:
		}
		select { // a call that Run has not seen yet is replaced
		case <-k.announce:
		default:
		}
	}
}

// Run sends the announcements until ctx ends. What an earlier engine left is announced from the first minute on.
func (k *Keeper) Run(ctx context.Context) {
	k.mu.Lock()
	wish := slices.Clone(k.wish)
	k.mu.Unlock()
	step := len(burst)
	began := bootTime() - burst[step-1]
	timer := time.NewTimer(announceEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case wish = <-k.announce:
			began, step = bootTime(), 0
		case <-timer.C:
		}
		if len(wish) == 0 {
			continue
		}
		if bootTime()-began-after(step) > tooLate {
			k.log.Warn("announcements stop: this process was not running when one was due")
			wish = nil
			continue
		}
		k.send(wish)
		step++
		timer.Reset(max(0, began+after(step)-bootTime()))
	}
}

// after is when the announcement number step is due.
func after(step int) time.Duration {
	if step < len(burst) {
		return burst[step]
	}
	return burst[len(burst)-1] + time.Duration(step-len(burst)+1)*announceEvery
}

// bootTime is the machine's clock, which goes on while it is suspended.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // a kernel without this clock runs no Go program of ours
	}
	return time.Duration(ts.Nano())
}

// send announces each address that the kernel has now.
func (k *Keeper) send(wish []Wish) {
	held, err := k.Held()
	if err != nil {
		k.log.Warn("nothing is announced", "error", err)
		return
	}
	sockets := map[string]*arpsocket.Socket{}
	for _, w := range wish {
		if !slices.Contains(held, w) {
			continue
		}
		s := sockets[w.Device]
		if s == nil {
			if s, err = arpsocket.Open(w.Device); err != nil {
				k.log.Warn("an address is not announced", "address", w, "error", err)
				continue
			}
			defer s.Close()
			sockets[w.Device] = s
		}
		if err := s.Send(arp.Announcement(s.MAC(), w.Address.Addr())); err != nil {
			k.log.Warn("an address is not announced", "address", w, "error", err)
		}
	}
}
