package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"evenkeel/ha/control"
)

// nodeA are the dependencies on node a; mux answers for its engine.
func nodeA(t *testing.T, mux *http.ServeMux) Deps {
	t.Helper()
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, control.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(listener) }() // ends with the test
	t.Cleanup(func() { _ = server.Close() })
	return Deps{RunDir: func(string) (string, string, error) { return dir, "a", nil }}
}

// execute runs a command line and returns what it printed.
func execute(ctx context.Context, d Deps, args ...string) (string, error) {
	var out bytes.Buffer
	a := &app{Deps: d, out: &out}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return out.String(), err
}

// TestFollow: the stream is asked for what the list was asked for, from the newest that was listed on; Ctrl-C ends it well.
func TestFollow(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	asked := make(chan control.EventFilter, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode([]control.Event{{ID: 6, Text: "old"}, {ID: 7, Text: "newest"}})
	})
	mux.HandleFunc("GET /v1/events/stream", func(w http.ResponseWriter, r *http.Request) {
		f, _ := control.ParseEventFilter(r.URL.Query())
		asked <- f
		_ = json.NewEncoder(w).Encode(control.Event{ID: 8, Text: "new"})
		_ = http.NewResponseController(w).Flush()
		interrupt()
		<-r.Context().Done()
	})
	args := []string{"events", "--follow", "--limit", "2", "--log", "failover", "--severity", "warning", "--text", "role"}
	if _, err := execute(ctx, nodeA(t, mux), args...); err != nil {
		t.Errorf("Ctrl-C ends it with %v", err)
	}
	want := control.EventFilter{After: 7, Limit: 2, Log: "failover", Severity: "warning", Text: "role"}
	if f := <-asked; f != want {
		t.Errorf("the stream is asked for %+v, not %+v", f, want)
	}
}

// TestFollowOfTheOtherNode: there is no stream of the other node's events; it is refused before anything is shown.
func TestFollowOfTheOtherNode(t *testing.T) {
	out, err := execute(t.Context(), nodeA(t, http.NewServeMux()), "--node", "b", "events", "--follow")
	if usage := (usageError{}); !errors.As(err, &usage) || !strings.Contains(err.Error(), "run it on node b") || out != "" {
		t.Errorf("%v; printed %q", err, out)
	}
}
