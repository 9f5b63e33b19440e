package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"evenkeel/ha/control"
)

// orderLimit is how long an order to the daemon may take: the longest is an orderly shut-down.
const orderLimit = stopLimit + 20*time.Second

// call asks the lab's daemon; in = nil is a question. A daemon that does not answer is an error that says what to do.
func call(ctx context.Context, l layout, verb string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, orderLimit)
	defer cancel()
	method, body := http.MethodGet, []byte(nil)
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://lab/v1/"+verb, bytes.NewReader(body))
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", l.socket())
	}}
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return noLab(l, err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(out); err != nil {
		return fmt.Errorf("the lab's daemon answered what cannot be read: %w; see %s", err, l.log())
	}
	return nil
}

// noLab says why nobody answers.
func noLab(l layout, err error) error {
	r, made, readErr := readRecord(l)
	switch {
	case readErr != nil:
		return readErr
	case !made:
		return fmt.Errorf("no lab runs in %s: start one with `evenkeel lab up`", l.dir)
	case !r.Daemon.alive():
		return fmt.Errorf("the lab in %s has crashed: clean up with `evenkeel lab down`; its log was %s", l.dir, l.log())
	}
	return fmt.Errorf("the lab's daemon (process %d) does not answer: %w", r.Daemon.PID, err)
}

// order sends an order and returns the daemon's sentence.
func order(ctx context.Context, l layout, verb string, o Order) (string, error) {
	var a Answer
	if err := call(ctx, l, verb, o, &a); err != nil {
		return "", err
	}
	if a.Error == "" {
		return a.Text, nil
	}
	return "", &control.Error{Exit: a.Exit, Code: "lab", Text: a.Error}
}

// askStatus asks for the lab's state.
func askStatus(ctx context.Context, l layout) (Status, error) {
	var s Status
	err := call(ctx, l, "status", nil, &s)
	return s, err
}
