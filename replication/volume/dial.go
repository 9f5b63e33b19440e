package volume

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"evenkeel/replication/wire"
)

// Back-off of the side that dials; a refusal waits longer each time, so that nobody's log floods.
const (
	backoffMin     = 200 * time.Millisecond
	backoffMax     = 2 * time.Second
	backoffRefused = 5 * time.Second
	dialDeadline   = 2 * time.Second
	helloDeadline  = 5 * time.Second
)

// meeting makes links: one side dials, the other accepts. What the other says of itself is checked before the loop sees it.
type meeting struct {
	listen, remote string
	dialer         bool
	server, client *tls.Config
	box            *mailbox
	log            *slog.Logger
	hello          func() wire.Hello // what this side says now
	willing        func() error      // nil: the loop wants to connect
	nudge          chan struct{}     // dial now

	mu      sync.Mutex
	waiting map[string]*halfLink // accepted data connections without their ack connection, by token
	said    string               // newest complaint, so that it is logged once
}

type halfLink struct {
	conn  net.Conn
	hello wire.Hello
}

// run lives until ctx ends.
func (m *meeting) run(ctx context.Context) {
	for ctx.Err() == nil {
		if m.dialer {
			m.dialLoop(ctx)
			continue
		}
		if err := m.accept(ctx); err != nil && ctx.Err() == nil {
			m.complain("listen", fmt.Errorf("cannot wait for the peer on %s: %w", m.listen, err))
			wait(ctx, backoffMax, nil)
		}
	}
}

// wait sleeps for d, until nudged, or until ctx ends.
func wait(ctx context.Context, d time.Duration, nudge <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-nudge:
	case <-ctx.Done():
	}
}

func (m *meeting) dialLoop(ctx context.Context) {
	pause, refused := backoffMin, backoffMin
	for ctx.Err() == nil {
		if m.willing() != nil {
			wait(ctx, backoffMax, m.nudge)
			continue
		}
		l, err := m.dial(ctx)
		if err != nil {
			if ctx.Err() == nil {
				m.complain("dial", err)
			}
			if isRefusal(err) {
				pause = refused
				refused = min(2*refused, backoffRefused)
			}
			wait(ctx, pause, m.nudge)
			pause = min(2*pause, backoffMax)
			continue
		}
		end, ok := m.hand(ctx, l)
		if !ok {
			return
		}
		pause = backoffMin
		switch {
		case end.again:
			pause = 10 * time.Millisecond
		case end.refused:
			pause = refused
			refused = min(2*refused, backoffRefused)
		default:
			refused = backoffMin
		}
		wait(ctx, pause, m.nudge)
	}
}

// hand gives a link to the loop and waits until the loop is done with it.
func (m *meeting) hand(ctx context.Context, l *link) (outcome, bool) {
	m.settle()
	m.box.post(call(func(lp *loop) { lp.linkUp(l) }))
	select {
	case o := <-l.result:
		return o, true
	case <-ctx.Done():
		return outcome{}, false
	}
}

type refusal struct{ wire.Refuse }

func (r *refusal) Error() string { return r.Text }

func isRefusal(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

func (m *meeting) dial(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, helloDeadline)
	defer cancel()
	token := rand.Text()
	data, peer, err := m.dialOne(ctx, wire.RoleData, token)
	if err != nil {
		return nil, err
	}
	ack, _, err := m.dialOne(ctx, wire.RoleAck, token)
	if err != nil {
		data.Close()
		return nil, err
	}
	return newLink(data, ack, peer), nil
}

func (m *meeting) dialOne(ctx context.Context, role, token string) (net.Conn, wire.Hello, error) {
	d := net.Dialer{Timeout: dialDeadline}
	if own, err := netip.ParseAddrPort(m.listen); err == nil { // from the own replication address, so that the data take that line
		d.LocalAddr = &net.TCPAddr{IP: own.Addr().AsSlice()}
	}
	raw, err := d.DialContext(ctx, "tcp", m.remote)
	if err != nil {
		return nil, wire.Hello{}, fmt.Errorf("cannot reach the peer at %s from %s: %w", m.remote, m.listen, err)
	}
	c := tls.Client(raw, m.client)
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	_ = raw.SetDeadline(time.Now().Add(helloDeadline))
	if err := c.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, wire.Hello{}, fmt.Errorf("the peer at %s does not prove that it is the paired one: %w", m.remote, err)
	}
	own := m.hello()
	own.Role, own.Token = role, token
	peer, err := m.greet(c, own)
	if err != nil {
		raw.Close()
		return nil, wire.Hello{}, err
	}
	_ = raw.SetDeadline(time.Time{})
	return c, peer, nil
}

// greet sends the own hello and reads the peer's.
func (m *meeting) greet(c net.Conn, own wire.Hello) (wire.Hello, error) {
	if err := sayWords(c, wire.KindHello, own); err != nil {
		return wire.Hello{}, fmt.Errorf("cannot greet the peer: %w", err)
	}
	peer, err := hearHello(c)
	if err != nil {
		return peer, err
	}
	return peer, m.check(peer)
}

func sayWords(w io.Writer, kind wire.Kind, v any) error {
	payload := wire.Encode(v)
	h := wire.Header{Kind: kind, Size: uint32(len(payload)), Sum: wire.Sum(payload)}
	_, err := w.Write(append(h.Append(nil), payload...))
	return err
}

// hearHello reads exactly one message, so that nothing of what follows is lost in a buffer.
func hearHello(c net.Conn) (wire.Hello, error) {
	h, err := readHeader(c)
	if err != nil {
		return wire.Hello{}, fmt.Errorf("the peer did not greet: %w", err)
	}
	switch h.Kind {
	case wire.KindHello:
		return readWords[wire.Hello](c, h)
	case wire.KindRefuse:
		r, err := readWords[wire.Refuse](c, h)
		if err != nil {
			return wire.Hello{}, err
		}
		r.Text = "the peer refuses: " + r.Text
		return wire.Hello{}, &refusal{r}
	}
	return wire.Hello{}, fmt.Errorf("%w: the peer began with kind %d", wire.ErrDamaged, h.Kind)
}

// check compares what must match before any data.
func (m *meeting) check(peer wire.Hello) error {
	own := m.hello()
	no := func(code, format string, args ...any) error {
		return &refusal{wire.Refuse{Code: code, Text: fmt.Sprintf(format, args...)}}
	}
	switch {
	case peer.Cluster != own.Cluster:
		return no("other_cluster", "the peer belongs to cluster %d, this node to %d: set the same cluster id on both", peer.Cluster, own.Cluster)
	case peer.Volume != own.Volume:
		return no("other_volume", "the peer serves volume %q here, this side %q: give both the same replication port per volume", peer.Volume, own.Volume)
	case peer.Node == own.Node:
		return no("own_node", "the peer calls itself %q as this node does: the replication address is this node's own, or both have one id", peer.Node)
	case peer.Node != own.Peer || peer.Peer != own.Node:
		return no("other_node", "%q wants %q, this is %q and wants %q: check the nodes' ids", peer.Node, peer.Peer, own.Node, own.Peer)
	case peer.Dialer == own.Dialer:
		return no("direction", "both sides dial or both wait: the configured slave dials, so the configured roles must differ")
	}
	return nil
}

// accept serves the listening socket until it fails or ctx ends.
func (m *meeting) accept(ctx context.Context) error {
	lc := net.ListenConfig{}
	l, err := lc.Listen(ctx, "tcp", m.listen)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	var all sync.WaitGroup
	defer all.Wait()
	slots := make(chan struct{}, 16) // greetings at once
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		select {
		case slots <- struct{}{}:
			all.Go(func() { m.welcome(ctx, c); <-slots })
		default:
			c.Close()
		}
	}
}

// welcome greets one accepted connection; the second one of a token completes the link.
func (m *meeting) welcome(ctx context.Context, raw net.Conn) {
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	_ = raw.SetDeadline(time.Now().Add(helloDeadline))
	c := tls.Server(raw, m.server)
	peer, err := m.answer(ctx, c)
	if err != nil {
		m.complain("accept", err)
		raw.Close()
		return
	}
	_ = raw.SetDeadline(time.Time{})
	if peer.Role == wire.RoleData {
		m.park(c, peer)
		return
	}
	if half := m.collect(peer.Token); half != nil {
		m.settle()
		l := newLink(half.conn, c, half.hello)
		m.box.post(call(func(lp *loop) { lp.linkUp(l) }))
		return
	}
	raw.Close()
}

func (m *meeting) answer(ctx context.Context, c *tls.Conn) (wire.Hello, error) {
	if err := c.HandshakeContext(ctx); err != nil {
		return wire.Hello{}, fmt.Errorf("%s does not prove that it is the paired node: %w", c.RemoteAddr(), err)
	}
	peer, err := hearHello(c)
	if err == nil { // first: without a disk there is nothing to compare with
		err = m.willing()
	}
	if err == nil {
		err = m.check(peer)
	}
	var r *refusal
	if errors.As(err, &r) {
		_ = sayWords(c, wire.KindRefuse, r.Refuse) // it ends either way
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, bufio.NewReader(io.LimitReader(c, 1<<10)))
	}
	if err != nil {
		return peer, err
	}
	own := m.hello()
	own.Role, own.Token = peer.Role, peer.Token
	return peer, sayWords(c, wire.KindHello, own)
}

// park keeps a data connection until its ack connection comes, at most helloDeadline and at most 8 of them.
func (m *meeting) park(c net.Conn, peer wire.Hello) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting == nil {
		m.waiting = map[string]*halfLink{}
	}
	if len(m.waiting) >= 8 || m.waiting[peer.Token] != nil {
		c.Close()
		return
	}
	half := &halfLink{conn: c, hello: peer}
	m.waiting[peer.Token] = half
	time.AfterFunc(helloDeadline, func() {
		if m.collect(peer.Token) != nil {
			c.Close()
		}
	})
}

func (m *meeting) collect(token string) *halfLink {
	m.mu.Lock()
	defer m.mu.Unlock()
	half := m.waiting[token]
	delete(m.waiting, token)
	return half
}

// complain logs an error once and tells the loop, which shows it.
func (m *meeting) complain(what string, err error) {
	m.mu.Lock()
	repeated := m.said == err.Error()
	m.said = err.Error()
	m.mu.Unlock()
	if !repeated {
		m.log.Warn("not connected", "step", what, "why", err)
	}
	var r *refusal
	code := "unreachable"
	if errors.As(err, &r) {
		code = r.Code
	}
	m.box.post(call(func(lp *loop) { lp.unconnected(code, err.Error()) }))
}

func (m *meeting) settle() {
	m.mu.Lock()
	m.said = ""
	m.mu.Unlock()
}
