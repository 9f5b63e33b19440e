package heart

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/beat"
)

// Client is the engine's end of heart.sock.
type Client struct {
	c       net.Conn
	mu      sync.Mutex // orders go out one at a time
	reports chan Report
}

// sendTimeout bounds Send: heart reads at once, or is not there.
const sendTimeout = 500 * time.Millisecond

// Dial connects to heart at the socket path.
func Dial(ctx context.Context, path string) (*Client, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("heart does not answer at %s: %w; is it running?", path, err)
	}
	cl := &Client{c: c, reports: make(chan Report, 1)}
	go cl.read()
	return cl, nil
}

// Send gives an order. The error says which word does not fit a beat, or that heart is gone; what was in force stays.
func (c *Client) Send(o Order) error {
	if _, err := beat.Pages(ha.BootName{}, &o.Say); err != nil {
		return err
	}
	p, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("the order cannot be written: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.c.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return fmt.Errorf("heart is gone: %w", err)
	}
	if _, err := c.c.Write(append(p, '\n')); err != nil {
		return fmt.Errorf("heart is gone: %w", err)
	}
	return nil
}

// Reports delivers the newest report; older ones that nobody took are dropped. It is closed when the connection is lost.
func (c *Client) Reports() <-chan Report { return c.reports }

// Close ends the connection.
func (c *Client) Close() error { return c.c.Close() }

// read owns the reading side until the connection ends.
func (c *Client) read() {
	defer close(c.reports)
	defer c.c.Close()
	lines := bufio.NewScanner(c.c)
	lines.Buffer(make([]byte, 0, 16<<10), maxLine)
	for lines.Scan() {
		var r Report
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			return
		}
		select {
		case <-c.reports:
		default:
		}
		c.reports <- r // read is the only sender
	}
}
