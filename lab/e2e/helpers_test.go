package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// helper is what this test binary does inside a namespace of the lab: `lab exec client -- env E2E_HELPER=writer e2e.test URL FILE`.
func helper(role string, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	switch role {
	case "writer":
		return write(ctx, args[0], args[1])
	case "inject":
		return inject(ctx)
	case "echoing":
		return echoing(ctx, args[0])
	}
	return 2
}

// ack is one acknowledged entry, as the writer logs it.
type ack struct {
	ID   int64     `json:"id"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
	Took int64     `json:"took_ms"`
}

// write posts entries one after the other, as fast as they are acknowledged, and logs each acknowledgement before the next post. A post that
// fails or takes longer than 15 s is tried again with another text.
func write(ctx context.Context, url, file string) int {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer f.Close()
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: false,
		ResponseHeaderTimeout: 15 * time.Second, IdleConnTimeout: time.Second}}
	for n := 0; ctx.Err() == nil; n++ {
		text := fmt.Sprintf("entry %d of %d at %d", n, os.Getpid(), time.Now().UnixNano())
		began := time.Now()
		id, err := post(ctx, client, url, text)
		if err != nil {
			client.CloseIdleConnections()
			fmt.Fprintf(os.Stderr, "%s %v\n", time.Now().Format("15:04:05.000"), err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		b, _ := json.Marshal(ack{id, text, time.Now(), time.Since(began).Milliseconds()})
		fmt.Fprintf(f, "%s\n", b)
	}
	return 0
}

func post(ctx context.Context, c *http.Client, url, text string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(text))
	if err != nil {
		return 0, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusCreated {
		return 0, fmt.Errorf("%s: %s", resp.Status, b)
	}
	var answer struct{ ID int64 }
	return answer.ID, json.Unmarshal(b, &answer)
}

// writer is a client that writes guestbook entries until stopped.
type writer struct {
	file string
	cmd  *exec.Cmd
	once sync.Once
}

const guestbook = "http://10.88.1.100:8080/entries"

// startWriter begins to write from inside where ("client", "a").
func (l *lab) startWriter(t *testing.T, where, url string) *writer {
	t.Helper()
	w := &writer{file: filepath.Join(t.TempDir(), "acks")}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w.cmd = exec.Command(bin, "lab", "exec", where, "--", "env", "E2E_HELPER=writer", self, url, w.file)
	w.cmd.Env = append(os.Environ(), "EVENKEEL_LAB="+l.dir)
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.stop(t) })
	return w
}

// stop ends the writer and returns what was acknowledged.
func (w *writer) stop(t *testing.T) []ack {
	t.Helper()
	w.once.Do(func() {
		_ = syscall.Kill(-w.cmd.Process.Pid, syscall.SIGTERM)
		done := make(chan struct{})
		go func() { _ = w.cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			_ = syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL)
			t.Error("the writer did not end by itself")
		}
	})
	return w.acks(t)
}

// acks reads what was acknowledged so far.
func (w *writer) acks(t *testing.T) (list []ack) {
	t.Helper()
	f, err := os.Open(w.file)
	if err != nil {
		return nil
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var a ack
		if err := json.Unmarshal(s.Bytes(), &a); err == nil {
			list = append(list, a)
		}
	}
	return list
}

// longestGap is the longest time between two acknowledgements after from.
func longestGap(list []ack, from time.Time) (gap time.Duration) {
	last := time.Time{}
	for _, a := range list {
		if a.At.After(from) && !last.IsZero() {
			gap = max(gap, a.At.Sub(last))
		}
		last = a.At
	}
	return gap
}

// entries asks the guestbook for everything, from the client.
func (l *lab) entries(t *testing.T) map[string]bool {
	t.Helper()
	out := l.in(t, "client", "curl", "-sS", "--fail", "--max-time", "20", guestbook)
	texts := map[string]bool{}
	for _, line := range strings.Split(out, "\n") {
		var e struct{ Text string }
		if json.Unmarshal([]byte(line), &e) == nil {
			texts[e.Text] = true
		}
	}
	return texts
}

// mustHold fails for each acknowledged entry that is not there.
func mustHold(t *testing.T, entries map[string]bool, acked []ack) {
	t.Helper()
	missing := 0
	for _, a := range acked {
		if !entries[a.Text] {
			if missing++; missing <= 5 {
				t.Errorf("acknowledged and gone: %d %q at %s", a.ID, a.Text, a.At.Format(time.RFC3339Nano))
			}
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d acknowledged entries are gone", missing, len(acked))
	}
}
