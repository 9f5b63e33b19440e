// Package peer is the channel between the two engines: HTTP and JSON over TCP with TLS 1.3, both certificates pinned. It knows nothing of what
// is said over it. Every exchange has a deadline, and no name or authority is asked: whoever does not hold the one pinned key is refused
// in the handshake.
package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"evenkeel/ha/control"
)

// Base is the scheme and host of the peer's addresses; the host is a word only, Transport knows where to dial.
const Base = "https://peer"

// Bounds of one exchange.
const (
	dialLimit   = 2 * time.Second
	headLimit   = 5 * time.Second // from the connection to the request's head
	idleLimit   = 30 * time.Second
	answerLimit = 16 << 20 // bytes
	bindRetry   = 500 * time.Millisecond
)

// Options is what Serve needs.
type Options struct {
	Listen  []string // address:port; one whose address is not there yet is tried again
	TLS     *tls.Config
	Handler http.Handler
	Log     *slog.Logger
}

// Serve serves the peer on every address until ctx ends.
func Serve(ctx context.Context, o Options) {
	server := &http.Server{Handler: o.Handler, TLSConfig: o.TLS, ReadHeaderTimeout: headLimit, ReadTimeout: idleLimit,
		WriteTimeout: 4 * time.Minute, IdleTimeout: idleLimit, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug)}
	var group sync.WaitGroup
	for _, address := range o.Listen {
		group.Go(func() { listen(ctx, server, address, o) })
	}
	<-ctx.Done()
	server.Close()
	group.Wait()
}

// listen binds one address, again and again while it is not there, and serves it.
func listen(ctx context.Context, server *http.Server, address string, o Options) {
	told := false
	for ctx.Err() == nil {
		var config net.ListenConfig
		listener, err := config.Listen(ctx, "tcp", address)
		if err == nil {
			told = false
			err = server.Serve(tls.NewListener(listener, o.TLS))
		}
		if errors.Is(err, http.ErrServerClosed) {
			return
		}
		if !told {
			o.Log.Warn("peer channel does not listen, it is tried again", "address", address, "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(bindRetry):
		}
	}
}

// Client asks the peer.
type Client struct {
	http *http.Client
}

// NewClient returns a client that dials the addresses in order until one answers.
func NewClient(addresses []string, config *tls.Config) *Client {
	dialer := &net.Dialer{Timeout: dialLimit}
	transport := &http.Transport{
		TLSClientConfig: config, TLSHandshakeTimeout: dialLimit, ResponseHeaderTimeout: 4 * time.Minute,
		IdleConnTimeout: idleLimit, MaxIdleConnsPerHost: 2,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialFirst(ctx, dialer, addresses) },
	}
	return &Client{&http.Client{Transport: transport}}
}

// dialFirst connects to the first address that answers. All are tried together, each a little after the one before, so a dead network
// costs no time-out.
func dialFirst(ctx context.Context, dialer *net.Dialer, addresses []string) (net.Conn, error) {
	if len(addresses) == 0 {
		return nil, errors.New("no peer_address is configured")
	}
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, len(addresses))
	for i, address := range addresses {
		go func() {
			select {
			case <-ctx.Done():
				results <- result{nil, ctx.Err()}
				return
			case <-time.After(time.Duration(i) * 100 * time.Millisecond):
			}
			conn, err := dialer.DialContext(ctx, "tcp", address)
			results <- result{conn, err}
		}()
	}
	var errs []error
	for n := range addresses {
		r := <-results
		if r.err == nil {
			cancel()
			go closeRest(len(addresses)-n-1, func() net.Conn { return (<-results).conn })
			return r.conn, nil
		}
		errs = append(errs, r.err)
	}
	return nil, errors.Join(errs...)
}

func closeRest(n int, next func() net.Conn) {
	for range n {
		if conn := next(); conn != nil {
			conn.Close()
		}
	}
}

// Transport carries other clients' requests to the peer.
func (c *Client) Transport() http.RoundTripper { return c.http.Transport }

// Get asks for path and decodes the answer.
func (c *Client) Get(ctx context.Context, path string, answer any) error {
	return c.exchange(ctx, http.MethodGet, path, nil, answer)
}

// Post sends body to path and decodes the answer, if it is wanted.
func (c *Client) Post(ctx context.Context, path string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode what is sent to the peer's %s: %w", path, err)
	}
	return c.exchange(ctx, http.MethodPost, path, data, answer)
}

func (c *Client) exchange(ctx context.Context, method, path string, body []byte, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, Base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make the request to the peer's %s: %w", path, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("the other node's engine does not answer: %w", err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return fmt.Errorf("the other node's engine broke off: %w", err)
	}
	if response.StatusCode >= 300 {
		var refused control.Error
		if json.Unmarshal(data, &refused) == nil && refused.Text != "" {
			return &refused
		}
		return fmt.Errorf("the other node's engine answered %s", response.Status)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(data, answer)
}
