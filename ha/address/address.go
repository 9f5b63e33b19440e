// Package address keeps the virtual addresses of this node in the kernel of the current network namespace.
//
//	wish  ---- Diff ---->  drop, add  ---- netlink ---->  kernel
//	            ^                                           |
//	            +------------------- held ------------------+
//
// Own addresses carry the protocol number [Protocol] and a label that people can see, so leftovers of a crash are found and removed.
// They are installed with a lifetime of [Lifetime] that the heart process renews ([Renew]): when nobody renews them,
// the kernel of a hung node drops them by itself. That is why nothing here renews them, and why an address that
// vanished is reported and not put back: whether it may come back is the decision's business.
//
// IPv4 only: ha.Settings.Validate refuses others.
package address

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"evenkeel/ha/arp"
	"evenkeel/ha/arp/arpsocket"
)

// Wish is one address on one device.
type Wish struct {
	Device  string
	Address netip.Prefix
}

// String is "10.88.1.100/24 on lan".
func (w Wish) String() string { return fmt.Sprintf("%v on %s", w.Address, w.Device) }

// Change is one thing that was done to the kernel.
type Change struct {
	Wish
	Added bool // false = removed
}

// Keeper owns the virtual addresses. Its methods may be called at the same time.
type Keeper struct {
	log      *slog.Logger
	announce chan []Wish

	mu      sync.Mutex
	sockets map[int]*nl.SocketHandle
	wish    []Wish // of the last Converge, empty after DropAll; until the first, what an earlier engine left
}

// NewKeeper opens the way to the kernel of the current network namespace. What an earlier engine left there stays, and
// is watched, until Converge or DropAll says what is wished: an engine that starts again adopts it.
func NewKeeper(log *slog.Logger) (*Keeper, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("the kernel's netlink is not to be had: %w", err)
	}
	second := unix.Timeval{Sec: 1}
	if err := errors.Join(s.SetSendTimeout(&second), s.SetReceiveTimeout(&second)); err != nil {
		s.Close()
		return nil, fmt.Errorf("netlink takes no deadline: %w", err)
	}
	k := &Keeper{log: log, announce: make(chan []Wish, 1), sockets: map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}}
	if k.wish, err = k.Held(); err != nil {
		s.Close()
		return nil, err
	}
	return k, nil
}

// Close ends the way to the kernel. The addresses stay, for as long as they live.
func (k *Keeper) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.sockets {
		s.Close()
	}
	k.sockets = nil
	return nil
}

// errClosed is what a closed Keeper answers.
var errClosed = errors.New("the keeper of addresses is closed")

// Diff says what has to be dropped and added to get from held to wish. It is pure; order and doubles do not matter.
func Diff(held, wish []Wish) (drop, add []Wish) {
	for _, h := range held {
		if !slices.Contains(wish, h) && !slices.Contains(drop, h) {
			drop = append(drop, h)
		}
	}
	for _, w := range wish {
		if !slices.Contains(held, w) && !slices.Contains(add, w) {
			add = append(add, w)
		}
	}
	return drop, add
}

// own are our addresses in the kernel. The caller holds mu.
func (k *Keeper) own() ([]entry, error) {
	if k.sockets == nil {
		return nil, errClosed
	}
	all, err := list(k.sockets)
	return slices.DeleteFunc(all, func(e entry) bool { return !e.own }), err
}

// Held are our addresses in the kernel, also those that another process of ours left.
func (k *Keeper) Held() ([]Wish, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	own, err := k.own()
	return wishes(own), err
}

// wishes drops what only the kernel's entries have.
func wishes(all []entry) []Wish {
	var w []Wish
	for _, e := range all {
		w = append(w, e.Wish)
	}
	return w
}

// Converge makes our addresses in the kernel equal to the wish and says what it changed. It goes on after an error with
// the next address; an address that stands there and is not ours is an error.
func (k *Keeper) Converge(ctx context.Context, wish []Wish) ([]Change, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wish = slices.Clone(wish)
	own, err := k.own()
	if err != nil {
		return nil, err
	}
	drop, adds := Diff(wishes(own), wish)
	var changes []Change
	var faults []error
	for _, e := range own {
		if slices.Contains(drop, e.Wish) {
			if err := remove(k.sockets, e); err != nil {
				faults = append(faults, fmt.Errorf("%v cannot be removed: %w", e.Wish, err))
				continue
			}
			changes = append(changes, Change{Wish: e.Wish})
		}
	}
	for _, w := range adds {
		if ctx.Err() != nil {
			faults = append(faults, context.Cause(ctx))
			break
		}
		if err := add(k.sockets, w); errors.Is(err, unix.EEXIST) {
			faults = append(faults, fmt.Errorf("%v stands there already and is not Evenkeel's: remove it, or choose another virtual address", w))
		} else if err != nil {
			faults = append(faults, fmt.Errorf("%v cannot be added: %w", w, err))
		} else {
			changes = append(changes, Change{Wish: w, Added: true})
		}
	}
	return changes, errors.Join(faults...)
}

// DropAll takes every address of ours off at once: a revoke.
func (k *Keeper) DropAll() error {
	_, err := k.Converge(context.Background(), nil)
	return err
}

const (
	conflictGap    = 100 * time.Millisecond // between the two questions
	conflictWindow = 200 * time.Millisecond
)

// Conflict asks the networks whether somebody else answers for an address of the wish, all devices at once: two
// questions 100 ms apart, 200 ms in all. It returns the MAC of the one who does, and why a device could not be asked.
func (k *Keeper) Conflict(ctx context.Context, wish []Wish) (found map[netip.Prefix]string, failed map[string]error) {
	byDevice := map[string][]netip.Addr{}
	for _, w := range wish {
		byDevice[w.Device] = append(byDevice[w.Device], w.Address.Addr())
	}
	var mu sync.Mutex
	strangers := map[Wish]string{}
	failed = map[string]error{}
	var asks sync.WaitGroup
	for device, targets := range byDevice {
		asks.Go(func() {
			err := arpsocket.Ask(ctx, device, targets, []time.Duration{0, conflictGap}, conflictWindow, func(f arp.Frame) bool {
				mu.Lock()
				defer mu.Unlock()
				for _, w := range wish {
					if w.Device == device && w.Address.Addr() == f.Sender {
						strangers[w] = f.SenderMAC.String()
					}
				}
				return false
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[device] = err
			}
		})
	}
	asks.Wait()
	found = map[netip.Prefix]string{}
	for w, mac := range strangers {
		found[w.Address] = mac
	}
	return found, failed
}
