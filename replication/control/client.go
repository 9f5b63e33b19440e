package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// SocketName is the name of a volume's socket below the run folder.
func SocketName(volume string) string { return "volume-" + volume + ".sock" }

// NBDSocketName is the name of the volume's NBD socket below the run folder.
func NBDSocketName(volume string) string { return "volume-" + volume + ".nbd" }

// Error codes of the client itself; a volume's own refusals carry other codes.
const (
	CodeNotRunning = "not_running" // nobody serves the socket: the volume process is gone
	CodeNoAnswer   = "no_answer"   // it is there but did not answer in time
	CodeBadAnswer  = "bad_answer"
	CodeCancelled  = "cancelled"
)

// How long a call may take. A word changes metadata only; an order may flush a disk, wait for its peer or build a kernel device.
const (
	dialTimeout  = time.Second
	wordTimeout  = 5 * time.Second
	orderTimeout = 60 * time.Second
	silenceLimit = 3 * time.Second // of the status stream, which speaks every 500 ms
	answerLimit  = 1 << 20         // bytes of one answer
)

// Client speaks to one volume process. It may be used by many goroutines at once and keeps nothing that must be closed.
type Client struct {
	http   *http.Client
	socket string
}

// NewClient returns a client of the volume process that serves the unix socket.
func NewClient(socket string) *Client {
	dialer := net.Dialer{Timeout: dialTimeout}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     30 * time.Second,
	}}}
}

// IsGone says whether err means that no volume process answers: it is not running, or it hangs.
func IsGone(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Code == CodeNotRunning || e.Code == CodeNoAnswer)
}

// Status asks for the status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, http.MethodGet, "/v1/status", nil, wordTimeout)
}

// StreamStatus calls each with every status that the volume sends, until ctx ends, the stream breaks or falls silent.
func (c *Client) StreamStatus(ctx context.Context, each func(Status)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := time.AfterFunc(silenceLimit, cancel)
	defer watch.Stop()
	response, err := c.send(ctx, http.MethodGet, "/v1/status/stream", nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := json.NewDecoder(response.Body)
	for {
		var s Status
		if err := lines.Decode(&s); err != nil {
			return c.silent(err)
		}
		watch.Reset(silenceLimit)
		each(s)
	}
}

// Alive tells that the engine completed a Step.
func (c *Client) Alive(ctx context.Context) error {
	return c.tell(ctx, "/v1/alive", struct{}{}, wordTimeout)
}

// Configure changes what can be changed live.
func (c *Client) Configure(ctx context.Context, config Config) error {
	return c.tell(ctx, "/v1/configure", config, wordTimeout)
}

// Promote makes this side primary.
func (c *Client) Promote(ctx context.Context, p Promote) (Status, error) {
	return ask[Status](ctx, c, http.MethodPost, "/v1/promote", p, orderTimeout)
}

// Demote makes this side secondary in order: everything is flushed first.
func (c *Client) Demote(ctx context.Context) error {
	return c.tell(ctx, "/v1/demote", struct{}{}, orderTimeout)
}

// Revoke takes the role away at once; held and new requests get an I/O error.
func (c *Client) Revoke(ctx context.Context, r Revoke) error {
	return c.tell(ctx, "/v1/revoke", r, wordTimeout)
}

// Permit permits lone acknowledgement.
func (c *Client) Permit(ctx context.Context, p Permit) error {
	return c.tell(ctx, "/v1/permit", p, wordTimeout)
}

// Withdraw takes the permission back.
func (c *Client) Withdraw(ctx context.Context) error {
	return c.tell(ctx, "/v1/withdraw", struct{}{}, wordTimeout)
}

// Outdate asks this side to mark itself Outdated; the answer is stored before it is given.
func (c *Client) Outdate(ctx context.Context, o Outdate) (OutdateAnswer, error) {
	return ask[OutdateAnswer](ctx, c, http.MethodPost, "/v1/outdate", o, wordTimeout)
}

// PeerOutdated stores what the peer answered.
func (c *Client) PeerOutdated(ctx context.Context, a OutdateAnswer) error {
	return c.tell(ctx, "/v1/peer-outdated", a, wordTimeout)
}

// EndLicence ends a secondary's right to one takeover decision.
func (c *Client) EndLicence(ctx context.Context, reason string) error {
	return c.tell(ctx, "/v1/licence/end", Reason{Reason: reason}, wordTimeout)
}

// Leave makes a secondary leave in order.
func (c *Client) Leave(ctx context.Context) error {
	return c.tell(ctx, "/v1/leave", struct{}{}, orderTimeout)
}

// Snapshot is the generation set for the other side's compare, at most 640 bytes.
func (c *Client) Snapshot(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, wordTimeout)
	defer cancel()
	return c.exchange(ctx, http.MethodGet, "/v1/snapshot", nil)
}

// Compare says what the handshake's function finds of this side's generation set and the peer's snapshot.
func (c *Client) Compare(ctx context.Context, snapshot []byte) (Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, wordTimeout)
	defer cancel()
	data, err := c.exchange(ctx, http.MethodPost, "/v1/compare", snapshot)
	if err != nil {
		return Verdict{}, err
	}
	return decode[Verdict](c, data)
}

// Connect lets the volume connect, also after a StandAlone.
func (c *Client) Connect(ctx context.Context) error {
	return c.tell(ctx, "/v1/connect", struct{}{}, wordTimeout)
}

// Disconnect ends the replication connection and keeps it ended.
func (c *Client) Disconnect(ctx context.Context) error {
	return c.tell(ctx, "/v1/disconnect", struct{}{}, wordTimeout)
}

// Resolve ends a split-brain.
func (c *Client) Resolve(ctx context.Context, r Resolve) error {
	return c.tell(ctx, "/v1/resolve", r, wordTimeout)
}

// Pause holds a resync; application writes go on being mirrored.
func (c *Client) Pause(ctx context.Context) error {
	return c.tell(ctx, "/v1/pause", struct{}{}, wordTimeout)
}

// Resume goes on with a resync.
func (c *Client) Resume(ctx context.Context) error {
	return c.tell(ctx, "/v1/resume", struct{}{}, wordTimeout)
}

// Detach gives the backing disk up.
func (c *Client) Detach(ctx context.Context, d Detach) error {
	return c.tell(ctx, "/v1/detach", d, orderTimeout)
}

// OpenDevice makes the kernel device appear.
func (c *Client) OpenDevice(ctx context.Context, d DeviceOpen) (Device, error) {
	return ask[Device](ctx, c, http.MethodPost, "/v1/device/open", d, orderTimeout)
}

// CloseDevice removes the kernel device.
func (c *Client) CloseDevice(ctx context.Context, d DeviceClose) error {
	return c.tell(ctx, "/v1/device/close", d, orderTimeout)
}

func (c *Client) tell(ctx context.Context, path string, body any, limit time.Duration) error {
	_, err := ask[json.RawMessage](ctx, c, http.MethodPost, path, body, limit)
	return err
}

// ask sends one request and decodes one answer.
func ask[T any](ctx context.Context, c *Client, method, path string, body any, limit time.Duration) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var request []byte
	if body != nil {
		var err error
		if request, err = json.Marshal(body); err != nil {
			var none T
			return none, fmt.Errorf("encode the request to %s: %w", path, err)
		}
	}
	data, err := c.exchange(ctx, method, path, request)
	if err != nil {
		var none T
		return none, err
	}
	return decode[T](c, data)
}

func decode[T any](c *Client, data []byte) (T, error) {
	var answer T
	if err := json.Unmarshal(data, &answer); err != nil {
		return answer, &Error{Code: CodeBadAnswer, Text: fmt.Sprintf("the volume at %s answered what is not understood (%v): are both of one version?", c.socket, err)}
	}
	return answer, nil
}

// exchange sends one request and returns the answer's body.
func (c *Client) exchange(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	response, err := c.send(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return nil, c.silent(err)
	}
	return data, nil
}

// send does the exchange up to the answer's head; an answer that is an error becomes an *Error.
func (c *Client) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://volume"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the request to %s: %w", path, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.silent(err)
	}
	if response.StatusCode < http.StatusMultipleChoices {
		return response, nil
	}
	defer response.Body.Close()
	var e Error
	data, _ := io.ReadAll(io.LimitReader(response.Body, answerLimit)) // what is missing shows in the decoding
	if json.Unmarshal(data, &e) == nil && e.Text != "" {
		return nil, &e
	}
	return nil, &Error{Code: CodeBadAnswer, Text: fmt.Sprintf("the volume at %s answered %q without a reason: see its log", c.socket, response.Status)}
}

// silent is the error when nobody answered, or the stream ended.
func (c *Client) silent(err error) *Error {
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		return &Error{Code: CodeNoAnswer, Text: fmt.Sprintf("the volume at %s did not answer in time: see its log, or try again", c.socket)}
	case errors.Is(err, context.Canceled):
		return &Error{Code: CodeCancelled, Text: fmt.Sprintf("the request to the volume at %s was cancelled, or it fell silent", c.socket)}
	}
	return &Error{Code: CodeNotRunning, Text: fmt.Sprintf("the volume process does not answer on %s (%v): is it running?", c.socket, rootCause(err))}
}

func rootCause(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}
