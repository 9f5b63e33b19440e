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
	"net/url"
	"strconv"
	"time"

	"evenkeel/ha"
)

// SocketName is the engine's socket below the run folder.
const SocketName = "engine.sock"

// How long a call may take. An order answers when its procedure has ended, so it waits for a whole switch-over with services that stop
// slowly; a stream has no end, but it must not be silent for longer than silenceLimit.
const (
	dialTimeout  = time.Second
	askTimeout   = 5 * time.Second
	orderTimeout = 3 * time.Minute
	silenceLimit = 10 * time.Second
	answerLimit  = 16 << 20 // bytes of one answer
)

// Client speaks to one engine. It may be used by many goroutines at once; it keeps no connection that must be closed.
type Client struct {
	http *http.Client
	name string // of the socket or the peer, for errors
	base string
}

// NewClient returns a client of the engine that serves the unix socket.
func NewClient(socket string) *Client {
	dialer := net.Dialer{Timeout: dialTimeout}
	return NewClientOver(socket, "http://engine", &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     30 * time.Second,
	})
}

// NewClientOver returns a client over another transport (the peer channel); name stands in its errors, base is the scheme and
// host of its addresses.
func NewClientOver(name, base string, transport http.RoundTripper) *Client {
	return &Client{http: &http.Client{Transport: transport}, name: name, base: base}
}

// Status asks for the status; node "" is the engine's own node, another one is asked through the peer channel.
func (c *Client) Status(ctx context.Context, node string) (Status, error) {
	path := "/v1/status"
	if node != "" {
		path += "?node=" + url.QueryEscape(node)
	}
	return ask[Status](ctx, c, http.MethodGet, path, nil, askTimeout)
}

// StreamStatus calls each with every status that the engine sends, until ctx ends or the stream breaks.
func (c *Client) StreamStatus(ctx context.Context, each func(Status)) error {
	return stream(ctx, c, "/v1/status/stream", each)
}

// Events asks for the events that filter selects.
func (c *Client) Events(ctx context.Context, filter EventFilter) ([]Event, error) {
	return ask[[]Event](ctx, c, http.MethodGet, "/v1/events?"+filter.Query().Encode(), nil, askTimeout)
}

// StreamEvents calls each with every event of this node that filter selects, until ctx ends or the stream breaks.
func (c *Client) StreamEvents(ctx context.Context, filter EventFilter, each func(Event)) error {
	return stream(ctx, c, "/v1/events/stream?"+filter.Query().Encode(), func(e Event) {
		if e.ID != 0 { // an empty event is the stream's sign of life
			each(e)
		}
	})
}

// Explain asks why the node is what it is.
func (c *Client) Explain(ctx context.Context) (Explanation, error) {
	return ask[Explanation](ctx, c, http.MethodGet, "/v1/explain", nil, askTimeout)
}

// Catalogue lists the services that may be placed.
func (c *Client) Catalogue(ctx context.Context) ([]CatalogueEntry, error) {
	return ask[[]CatalogueEntry](ctx, c, http.MethodGet, "/v1/catalogue", nil, askTimeout)
}

// Takeover makes the engine's node the running master (A50), or says what would happen.
func (c *Client) Takeover(ctx context.Context, o Order) (Outcome, error) {
	return ask[Outcome](ctx, c, http.MethodPost, "/v1/takeover", o, orderTimeout)
}

// Release makes the engine's node the running slave (A51), or says what would happen.
func (c *Client) Release(ctx context.Context, o Order) (Outcome, error) {
	return ask[Outcome](ctx, c, http.MethodPost, "/v1/release", o, orderTimeout)
}

// Standby switches standby on or off.
func (c *Client) Standby(ctx context.Context, s Switch) (Outcome, error) {
	return ask[Outcome](ctx, c, http.MethodPost, "/v1/standby", s, orderTimeout)
}

// Armed arms or disarms.
func (c *Client) Armed(ctx context.Context, s Switch) (Outcome, error) {
	return ask[Outcome](ctx, c, http.MethodPost, "/v1/armed", s, orderTimeout)
}

// Volume sends a verb to one volume: continue resolve connect disconnect detach pause resume.
func (c *Client) Volume(ctx context.Context, name, verb string, o VolumeOrder) (Outcome, error) {
	path := "/v1/volumes/" + url.PathEscape(name) + "/" + url.PathEscape(verb)
	return ask[Outcome](ctx, c, http.MethodPost, path, o, orderTimeout)
}

// Settings tells the engine that a revision is stored; it answers when the revision is in force or refused.
func (c *Client) Settings(ctx context.Context, r Revision) error {
	_, err := ask[Outcome](ctx, c, http.MethodPost, "/v1/settings", r, 30*time.Second)
	return err
}

// Leave stops the node in order; it answers when the node has left.
func (c *Client) Leave(ctx context.Context) error {
	_, err := ask[Outcome](ctx, c, http.MethodPost, "/v1/leave", struct{}{}, orderTimeout)
	return err
}

// Query writes the filter as the query of an address.
func (f EventFilter) Query() url.Values {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" && value != "0" {
			q.Set(name, value)
		}
	}
	set("after", strconv.FormatInt(f.After, 10))
	set("limit", strconv.Itoa(f.Limit))
	set("log", f.Log)
	set("severity", f.Severity)
	set("node", f.Node)
	set("text", f.Text)
	return q
}

// ParseEventFilter reads what Query wrote; the error names the field that is not a number.
func ParseEventFilter(q url.Values) (EventFilter, error) {
	f := EventFilter{Log: q.Get("log"), Severity: q.Get("severity"), Node: q.Get("node"), Text: q.Get("text")}
	var err error
	if v := q.Get("after"); v != "" {
		if f.After, err = strconv.ParseInt(v, 10, 64); err != nil || f.After < 0 {
			return f, fmt.Errorf("after=%s is not an event's number", v)
		}
	}
	if v := q.Get("limit"); v != "" {
		if f.Limit, err = strconv.Atoi(v); err != nil || f.Limit < 0 {
			return f, fmt.Errorf("limit=%s is not a number of events", v)
		}
	}
	if f.Severity != "" && f.Severity != string(ha.Info) && f.Severity != string(ha.Warning) && f.Severity != string(ha.Critical) {
		return f, fmt.Errorf("severity=%s is none of info, warning, critical", f.Severity)
	}
	return f, nil
}

// ask sends one request and decodes one answer.
func ask[T any](ctx context.Context, c *Client, method, path string, body any, limit time.Duration) (T, error) {
	var answer T
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	response, err := c.send(ctx, method, path, body)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return answer, c.silent(err)
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return answer, &Error{Exit: ExitFailed, Code: "bad_answer", Text: fmt.Sprintf("the engine at %s answered what is not understood (%v): are both of one version?", c.name, err)}
	}
	return answer, nil
}

// send does the exchange up to the answer's head; an answer that is an error becomes an *Error.
func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request to %s: %w", path, err)
		}
		reader = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return nil, fmt.Errorf("make the request to %s: %w", path, err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.silent(err)
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	return nil, readError(response)
}

func readError(response *http.Response) *Error {
	var e Error
	data, _ := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if json.Unmarshal(data, &e) == nil && e.Text != "" {
		return &e
	}
	return &Error{Exit: ExitFailed, Code: "bad_answer", Text: fmt.Sprintf("the engine answered %q without a reason: see its log", response.Status)}
}

// silent is the error when nobody answered.
func (c *Client) silent(err error) *Error {
	var net net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &net) && net.Timeout() {
		return &Error{Exit: ExitFailed, Code: "no_answer", Text: fmt.Sprintf("the engine at %s did not answer in time: see its log, or try again", c.name)}
	}
	if errors.Is(err, context.Canceled) {
		return &Error{Exit: ExitFailed, Code: "cancelled", Text: "the request was cancelled before it was answered"}
	}
	return &Error{Exit: ExitNotRunning, Code: "not_running", Text: fmt.Sprintf("Evenkeel is not running here (%s: %v): start it, or name the right --config", c.name, rootCause(err))}
}

// rootCause is the innermost error, so that the sentence does not repeat the address.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// stream decodes JSON lines until the stream breaks, ctx ends, or nothing came for silenceLimit.
func stream[T any](ctx context.Context, c *Client, path string, each func(T)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(silenceLimit, func() { cancel(context.DeadlineExceeded) })
	defer watch.Stop()
	response, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := json.NewDecoder(response.Body)
	for {
		var value T
		if err := lines.Decode(&value); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			} else if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return c.silent(err)
		}
		watch.Reset(silenceLimit)
		each(value)
	}
}

// Write sends the error with the HTTP status of its exit code.
func (e *Error) Write(w http.ResponseWriter) {
	status := map[int]int{ExitFailed: http.StatusInternalServerError, ExitUsage: http.StatusBadRequest,
		ExitRefused: http.StatusConflict, ExitNotRunning: http.StatusServiceUnavailable}[e.Exit]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	said := *e
	said.Text = ha.Sentence(e.Text)
	_ = json.NewEncoder(w).Encode(said) // the other side gone is its own matter
}
