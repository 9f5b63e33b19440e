// Package link carries bytes between the two nodes: as UDP datagrams on an Ethernet device, or as a stream on a serial line. It knows nothing
// of beats; the heart process frames, signs and judges them.
//
// A link never fails for good. While its device is missing, has no address, or hangs, Run keeps trying and Status says in one sentence what is
// wrong. Send never blocks: what cannot go out now is dropped, for a beat that is late is worth nothing.
package link

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"evenkeel/ha"
)

// Received is a datagram, or a piece of a serial stream of any length.
type Received struct {
	Bytes []byte     // valid during the call only
	From  netip.Addr // sender of a datagram; zero on a serial line
	TTL   int        // of the datagram (N12); 0 on a serial line
}

// Status is what a link says of itself.
type Status struct {
	Carrier *bool  // nil: it has none to show, or nobody could look
	Problem string // one sentence if it cannot work; else empty
	PeerMAC string // hardware address of the peer as the kernel knows it; empty = not known
}

// Link is one path to the other node.
type Link interface {
	// Run opens the link, delivers what comes in, and reopens it as needed, until ctx ends. Call it once.
	Run(ctx context.Context)
	// Send hands bytes over without waiting. The error says why they were dropped.
	Send(p []byte) error
	// HeardFrom says that an authentic beat came from this address, so that its hardware address is worth looking up.
	HeardFrom(a netip.Addr)
	Status() Status
}

// ErrDown is Send's answer while the link is not open; ErrBusy while the one before is still on its way.
var (
	ErrDown = errors.New("the link is not open")
	ErrBusy = errors.New("the line is still busy with the beat before")
)

// Setup names a link and where its bytes go.
type Setup struct {
	Kind ha.LinkKind
	Name string // device, or path of a serial device
	Baud int    // serial
	Port uint16 // UDP, from and to (N13)
	// Receive is called from the link's own goroutine, one call at a time; it must not block.
	Receive func(Received)
}

// New makes the link that s names; Run brings it to life.
func New(s Setup) Link {
	if s.Kind == ha.LinkSerial {
		return &serialLink{setup: s, out: make(chan []byte, 1), spare: make(chan []byte, 1), open: openSerial}
	}
	return &udpLink{setup: s}
}

// noted is a Status that several goroutines write and read.
type noted struct {
	mu sync.Mutex
	s  Status
}

func (n *noted) Status() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.s
}

func (n *noted) problem(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.s.Problem = text
}

func (n *noted) carrier(up *bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.s.Carrier = up
}

func (n *noted) peerMAC(mac string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.s.PeerMAC = mac
}

// pause waits for d or the end of ctx, and says whether to go on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
