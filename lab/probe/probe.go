// Package probe is the lab's client: it asks an address at a steady pace and tells how long nobody answered, and who did.
package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Late is how long an answer may take; what comes later counts as lost.
const Late = 200 * time.Millisecond

// Options say what to ask. Exactly one of Address and URL is set.
type Options struct {
	Address string        // UDP echo, ADDRESS:PORT
	URL     string        // HTTP GET
	For     time.Duration // how long
	Every   time.Duration // one question per interval
}

// Check says what is wrong with the question itself.
func (o Options) Check() error {
	if o.Every <= 0 || o.For < o.Every {
		return fmt.Errorf("the time %s and the interval %s make no question: use for example --for 10s --every 5ms", o.For, o.Every)
	}
	if o.URL != "" {
		if u, err := url.Parse(o.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("%q is no URL of a page: use for example http://10.88.1.100:8080/", o.URL)
		}
		return nil
	}
	if a, err := netip.ParseAddrPort(o.Address); err != nil || !a.Addr().Is4() || a.Port() == 0 {
		return fmt.Errorf("%q is no ADDRESS:PORT: use for example 10.88.1.100:7007", o.Address)
	}
	return nil
}

// Result is what was seen. The longest silence is the longest time between two answers, or between an answer and the beginning or
// the end.
type Result struct {
	Sent           int    `json:"sent"`
	Lost           int    `json:"lost"`
	LongestSilence int64  `json:"longest_silence_ms"`
	AnsweredBy     []Span `json:"answered_by"`
}

// Span is a time in which one node answered, from its first answer to its last, in ms since the beginning.
type Span struct {
	Node string `json:"node"`
	From int64  `json:"from_ms"`
	To   int64  `json:"to_ms"`
}

// answer is one answer in time.
type answer struct {
	at   time.Duration // since the beginning
	node string
}

// asker sends questions; answers arrive by the callback, from any goroutine.
type asker interface {
	ask(number int)
	close()
}

// Run asks until the time is over or ctx ends, and waits for the last answers.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := o.Check(); err != nil {
		return Result{}, err
	}
	r := &recorder{sent: map[int]time.Time{}, start: time.Now()}
	a, err := newAsker(o, r.answered)
	if err != nil {
		return Result{}, err
	}
	defer a.close()
	end := r.start.Add(o.For)
	for n := 0; ; n++ {
		at := r.start.Add(time.Duration(n) * o.Every)
		if !at.Before(end) || !sleepUntil(ctx, at) {
			break
		}
		r.asked(n)
		a.ask(n)
	}
	length := min(o.For, time.Since(r.start))
	sleepUntil(ctx, time.Now().Add(Late))
	return r.result(length), nil
}

// newAsker is the one that asks what checked options say.
func newAsker(o Options, answered func(int, string)) (asker, error) {
	if o.URL != "" {
		return newHTTP(o.URL, answered), nil
	}
	return newUDP(o.Address, answered)
}

// sleepUntil waits; false if ctx ended.
func sleepUntil(ctx context.Context, at time.Time) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// recorder notes questions and answers.
type recorder struct {
	start time.Time

	mu      sync.Mutex
	total   int
	sent    map[int]time.Time // not answered yet
	answers []answer
}

func (r *recorder) asked(number int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	r.sent[number] = time.Now()
}

// answered notes an answer if it is in time and the first to its question.
func (r *recorder) answered(number int, node string) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.sent[number]; ok && now.Sub(at) <= Late {
		delete(r.sent, number)
		r.answers = append(r.answers, answer{now.Sub(r.start), node})
	}
}

func (r *recorder) result(length time.Duration) Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return summarise(r.total, r.answers, length)
}

// summarise makes the figures of the answers to sent questions asked over a time.
func summarise(sent int, answers []answer, length time.Duration) Result {
	r := Result{Sent: sent, Lost: sent - len(answers), AnsweredBy: []Span{}}
	slices.SortStableFunc(answers, func(a, b answer) int { return cmp.Compare(a.at, b.at) })
	last, longest := time.Duration(0), time.Duration(0)
	for _, a := range answers {
		longest, last = max(longest, a.at-last), a.at
		ms := a.at.Milliseconds()
		if n := len(r.AnsweredBy); n > 0 && r.AnsweredBy[n-1].Node == a.node {
			r.AnsweredBy[n-1].To = ms
		} else {
			r.AnsweredBy = append(r.AnsweredBy, Span{a.node, ms, ms})
		}
	}
	r.LongestSilence = max(longest, length-last).Milliseconds()
	return r
}

// udp asks the echo service.
type udp struct{ conn net.Conn }

func newUDP(address string, answered func(int, string)) (asker, error) {
	conn, err := net.Dial("udp4", address)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be asked: %w", address, err)
	}
	go func() { // ends when the socket is closed
		buf := make([]byte, 1500)
		for {
			n, err := conn.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err != nil {
				continue // refused: the kernel is there, the service is not
			}
			node, text, _ := strings.Cut(string(buf[:n]), " ")
			if number, err := strconv.Atoi(text); err == nil {
				answered(number, node)
			}
		}
	}()
	return &udp{conn}, nil
}

// ask sends one datagram. A failed send is a lost question.
func (u *udp) ask(number int) { _, _ = fmt.Fprintf(u.conn, "%d", number) }

func (u *udp) close() { _ = u.conn.Close() }

// NodeHeader is the header in which the guestbook says which node answers.
const NodeHeader = "Evenkeel-Node"

// inFlight bounds the HTTP requests that wait at one time.
const inFlight = 256

// web asks a page, each time over a connection of its own: an old one would only show that the old server still lives.
type web struct {
	client   *http.Client
	url      string
	answered func(int, string)
	room     chan struct{}
	done     sync.WaitGroup
}

func newHTTP(page string, answered func(int, string)) *web {
	return &web{
		client: &http.Client{Timeout: Late, Transport: &http.Transport{DisableKeepAlives: true}},
		url:    page, answered: answered, room: make(chan struct{}, inFlight),
	}
}

// ask begins one request; if too many wait already the question is lost.
func (w *web) ask(number int) {
	select {
	case w.room <- struct{}{}:
	default:
		return
	}
	w.done.Go(func() {
		defer func() { <-w.room }()
		r, err := w.client.Get(w.url)
		if err != nil {
			return
		}
		defer r.Body.Close()
		if _, err := io.Copy(io.Discard, r.Body); err == nil && r.StatusCode < 400 {
			w.answered(number, r.Header.Get(NodeHeader))
		}
	})
}

func (w *web) close() { w.done.Wait() }
