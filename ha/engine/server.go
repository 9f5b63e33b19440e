package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// The pace of the status stream.
const (
	streamPause  = 100 * time.Millisecond // changes within it are one
	streamAtMost = time.Second
	streamWrite  = 5 * time.Second // a reader that takes nothing for so long is dropped
)

var errStarting = &control.Error{Exit: control.ExitNotRunning, Code: "starting", Text: "The engine is starting: try again in a moment."}

// errNoLog: the log's file could not be opened at start.
var errNoLog = &control.Error{Exit: control.ExitFailed, Code: "no_log",
	Text: "The event log could not be opened when the engine started: the condition events.not_kept says why and what to do; the events are in its own log."}

// callerKey is where a connection's user id stands in a request's context.
type callerKey struct{}

// serveAPI serves engine.sock: mode 0660, for root and the group of web; the kernel says who calls.
func (e *engine) serveAPI() error {
	path := filepath.Join(e.o.Config.RunDir, control.SocketName)
	removeFile(path) // of an engine that was killed; two engines at once the supervisor never starts
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("serve %s: %w: check run_dir in evenkeel.toml", path, err)
	}
	if err := errors.Join(os.Chmod(path, 0o660), os.Chown(path, 0, e.o.Config.Console.GID)); err != nil && os.Getuid() == 0 {
		listener.Close()
		return fmt.Errorf("set who may use %s: %w", path, err)
	}
	server := &http.Server{Handler: e.onlyKnown(e.routes()), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, callerKey{}, callerID(c))
		},
		BaseContext: func(net.Listener) context.Context { return e.ctx },
		ErrorLog:    slog.NewLogLogger(e.log.Handler(), slog.LevelDebug)}
	e.goRun("api", func(ctx context.Context) {
		stop := context.AfterFunc(ctx, func() {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second) // an answer under way is finished
			defer cancel()
			_ = server.Shutdown(last)
			server.Close()
		})
		defer stop()
		_ = server.Serve(listener) // ends with the engine
	})
	return nil
}

// callerID is the user id of the process at the other end; -1 if the kernel does not say.
func callerID(c net.Conn) int {
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return -1
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return -1
	}
	id := -1
	if raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			id = int(cred.Uid)
		}
	}) != nil {
		return -1
	}
	return id
}

// onlyKnown lets root, the web process and the engine's own user in.
func (e *engine) onlyKnown(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := r.Context().Value(callerKey{}).(int)
		if id != 0 && id != e.o.Config.Console.UID && id != os.Getuid() {
			(&control.Error{Exit: control.ExitRefused, Code: "not_allowed", Text: "Only root and the console may ask the engine: use sudo."}).Write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (e *engine) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", e.getStatus)
	mux.HandleFunc("GET /v1/status/stream", e.streamStatus)
	mux.HandleFunc("GET /v1/events", e.getEvents)
	mux.HandleFunc("GET /v1/events/stream", e.streamEvents)
	mux.HandleFunc("GET /v1/explain", e.getExplanation)
	mux.HandleFunc("GET /v1/catalogue", e.getCatalogue)
	mux.HandleFunc("POST /v1/takeover", posted(func(ctx context.Context, o control.Order) (control.Outcome, error) {
		return e.move(ctx, ha.WishTakeover, o)
	}))
	mux.HandleFunc("POST /v1/release", posted(func(ctx context.Context, o control.Order) (control.Outcome, error) {
		return e.move(ctx, ha.WishRelease, o)
	}))
	mux.HandleFunc("POST /v1/standby", posted(func(ctx context.Context, s control.Switch) (control.Outcome, error) {
		return e.wish(ctx, ha.AdminRequest{Kind: either(s.On, ha.WishStandby, ha.WishActive), By: s.By})
	}))
	mux.HandleFunc("POST /v1/armed", posted(func(ctx context.Context, s control.Switch) (control.Outcome, error) {
		return e.wish(ctx, ha.AdminRequest{Kind: either(s.On, ha.WishArm, ha.WishDisarm), By: s.By})
	}))
	mux.HandleFunc("POST /v1/volumes/{name}/{verb}", func(w http.ResponseWriter, r *http.Request) {
		posted(func(ctx context.Context, o control.VolumeOrder) (control.Outcome, error) {
			if e.view.Load() == nil {
				return control.Outcome{}, errStarting
			}
			return e.volumeVerb(ctx, r.PathValue("name"), r.PathValue("verb"), o)
		})(w, r)
	})
	mux.HandleFunc("POST /v1/settings", posted(func(ctx context.Context, r control.Revision) (control.Outcome, error) {
		return control.Outcome{Done: true, Code: "done", Text: fmt.Sprintf("Revision %d is in force.", r.Revision)}, e.loadRevision(ctx, r.Revision)
	}))
	mux.HandleFunc("POST /v1/leave", posted(func(ctx context.Context, _ struct{}) (control.Outcome, error) {
		return e.wish(ctx, ha.AdminRequest{Kind: ha.WishLeave})
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		(&control.Error{Exit: control.ExitUsage, Code: "no_such_path", Text: fmt.Sprintf("The engine knows no %s %s: are both of one version?", r.Method, r.URL.Path)}).Write(w)
	})
	return mux
}

func either[T any](on bool, a, b T) T {
	if on {
		return a
	}
	return b
}

// posted reads a body, calls f and answers.
func posted[T any](f func(ctx context.Context, body T) (control.Outcome, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body T
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&body); err != nil {
			(&control.Error{Exit: control.ExitUsage, Code: "malformed", Text: fmt.Sprintf("The order is not readable: %v.", err)}).Write(w)
			return
		}
		out, err := f(r.Context(), body)
		answer(w, out, err)
	}
}

func answer(w http.ResponseWriter, out control.Outcome, err error) {
	if err != nil {
		writeError(w, err)
		return
	}
	if out.Steps == nil {
		out.Steps = []control.Step{}
	}
	if out.Blockers == nil {
		out.Blockers = []ha.Blocker{}
	}
	answerJSON(w, out)
}

func writeError(w http.ResponseWriter, err error) {
	var known *control.Error
	if !errors.As(err, &known) {
		known = &control.Error{Exit: control.ExitFailed, Code: "failed", Text: err.Error()}
	}
	known.Write(w)
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the other side gone is its own matter
}

// getStatus answers from the newest view, or asks the peer's engine for its own.
func (e *engine) getStatus(w http.ResponseWriter, r *http.Request) {
	node := r.URL.Query().Get("node")
	v := e.view.Load()
	if node == "" || node == string(e.node) {
		e.getOwnStatus(w, r)
		return
	}
	api := e.peerAPI()
	if v == nil || node != string(v.peer) || api == nil {
		(&control.Error{Exit: control.ExitUsage, Code: "no_such_node", Text: fmt.Sprintf("Node %q is neither this one nor its peer.", node)}).Write(w)
		return
	}
	status, err := api.Status(r.Context(), "")
	if err != nil {
		errNoPeer.Write(w)
		return
	}
	answerJSON(w, status)
}

func (e *engine) getOwnStatus(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, e.status(e.view.Load()))
}

// streamStatus sends a status at each change, at most ten and at least one a second.
func (e *engine) streamStatus(w http.ResponseWriter, r *http.Request) {
	send := lineWriter[control.Status](w)
	var last []byte
	sent := time.Time{}
	for r.Context().Err() == nil {
		changed := e.changed.wait()
		status := e.status(e.view.Load())
		if now, key := time.Now(), statusKey(status); string(key) != string(last) || now.Sub(sent) >= streamAtMost {
			if send(status) != nil {
				return
			}
			last, sent = key, now
		}
		wait(r.Context(), streamPause)
		atMost := time.NewTimer(streamAtMost)
		select {
		case <-changed:
		case <-atMost.C:
		case <-r.Context().Done():
		}
		atMost.Stop()
	}
}

// statusKey is the status without what moves all the time.
func statusKey(s control.Status) []byte {
	s.At, s.StateSince = time.Time{}, time.Time{}
	s.Peer.LastHeardMS, s.Heartbeat.ConfirmedMS, s.Processes = nil, nil, nil
	links := make([]control.Link, len(s.Links))
	for i, l := range s.Links {
		l.LastHeardMS = nil
		links[i] = l
	}
	references := make([]control.Reference, len(s.References))
	for i, r := range s.References {
		r.AgeMS = nil
		references[i] = r
	}
	s.Links, s.References = links, references
	key, _ := json.Marshal(s) // plain values
	return key
}

// lineWriter sends values as JSON lines, each with a deadline.
func lineWriter[T any](w http.ResponseWriter) func(T) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := http.NewResponseController(w)
	lines := json.NewEncoder(w)
	return func(v T) error {
		if err := out.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
			return err
		}
		if err := lines.Encode(v); err != nil {
			return err
		}
		return out.Flush()
	}
}

func (e *engine) getEvents(w http.ResponseWriter, r *http.Request) {
	filter, err := control.ParseEventFilter(r.URL.Query())
	if err != nil {
		(&control.Error{Exit: control.ExitUsage, Code: "bad_filter", Text: err.Error()}).Write(w)
		return
	}
	v, api := e.view.Load(), e.peerAPI()
	if filter.Node != "" && filter.Node != string(e.node) && v != nil && filter.Node == string(v.peer) && api != nil {
		events, err := api.Events(r.Context(), filter)
		if err != nil {
			errNoPeer.Write(w)
			return
		}
		answerJSON(w, events)
		return
	}
	e.getOwnEvents(w, r)
}

func (e *engine) getOwnEvents(w http.ResponseWriter, r *http.Request) {
	filter, err := control.ParseEventFilter(r.URL.Query())
	if err != nil {
		(&control.Error{Exit: control.ExitUsage, Code: "bad_filter", Text: err.Error()}).Write(w)
		return
	}
	if e.o.Events == nil {
		errNoLog.Write(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	events, err := e.o.Events.List(ctx, filter)
	if err != nil {
		writeError(w, fmt.Errorf("the log cannot be read: %w", err))
		return
	}
	answerJSON(w, append([]control.Event{}, events...))
}

// streamEvents sends every event after the given one, and an empty line's worth (ID 0) every second as a sign of life.
func (e *engine) streamEvents(w http.ResponseWriter, r *http.Request) {
	filter, err := control.ParseEventFilter(r.URL.Query())
	if err != nil {
		(&control.Error{Exit: control.ExitUsage, Code: "bad_filter", Text: err.Error()}).Write(w)
		return
	}
	if e.o.Events == nil {
		errNoLog.Write(w)
		return
	}
	send := lineWriter[control.Event](w)
	filter.Limit = 1000
	for r.Context().Err() == nil {
		written := e.events.written.wait()
		events, err := e.o.Events.List(r.Context(), filter)
		if err != nil {
			e.log.Warn("event stream ends", "error", err)
			return
		}
		for _, event := range append(events, control.Event{}) {
			if send(event) != nil {
				return
			}
			filter.After = max(filter.After, event.ID)
		}
		pause := time.NewTimer(time.Second)
		select {
		case <-written:
		case <-pause.C:
		case <-r.Context().Done():
		}
		pause.Stop()
	}
}

func (e *engine) getCatalogue(w http.ResponseWriter, _ *http.Request) {
	list := []control.CatalogueEntry{}
	for _, s := range e.o.Catalogue {
		list = append(list, control.CatalogueEntry{Name: s.Name, Description: s.Description, Kind: s.Kind})
	}
	answerJSON(w, list)
}
