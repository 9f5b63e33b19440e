package web

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/go-chi/chi/v5"

	"evenkeel/ha/control"
	"evenkeel/handlers"
	"evenkeel/static"
	"evenkeel/templates"
)

// server joins pages, sessions and the live hub.
type server struct {
	pages    *handlers.Pages
	sessions *sessionKeeper
	limiter  *limiter
	db       DB
	hub      *hub
	log      *slog.Logger
	stateDir string // the folder that holds db
	boot     string // of this process: a browser that finds another one loads its page anew
}

func newServer(o Options, h *hub) *server {
	random := make([]byte, 8)
	rand.Read(random) // never fails
	s := &server{sessions: newSessionKeeper(o.DB, o.Config.Node, o.Log), limiter: newLimiter(time.Now), db: o.DB, hub: h, log: o.Log, stateDir: o.Config.StateDir,
		boot: o.Config.Node + "-" + hex.EncodeToString(random)}
	s.pages = &handlers.Pages{
		Config: handlers.Config{Node: o.Config.Node, PeerURL: o.Config.Console.PeerURL, NoSettings: o.DB.Unset,
			Assets: templates.Assets{Style: static.Address("style.css"), Script: static.Address("app.js"), Icon: static.Address("icon.svg")}},
		Engine: o.Engine, Settings: o.DB, Log: o.Events, Audit: o.DB, Live: h.snapshot, Now: time.Now, Logger: o.Log,
	}
	return s
}

// router lists every address of the console. Without a session there are the sign-in page and the static files, nothing else.
func (s *server) router() http.Handler {
	r := chi.NewRouter()
	r.Use(s.recoverer, securityHeaders, limitBody, http.NewCrossOriginProtection().Handler, s.visit)
	r.Get(static.Prefix+"*", static.Serve)
	r.Get("/signin", s.page(s.pages.SignIn(s)))
	r.Post("/signin", s.page(s.pages.SignIn(s)))
	r.Group(func(r chi.Router) {
		r.Use(s.signedIn)
		r.Post("/signout", s.page(s.pages.SignOut(s)))
		r.Get("/live", s.live)
		r.Get("/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ha/status", http.StatusSeeOther) })
		r.Get("/ha/status", s.page(s.pages.Status))
		r.Get("/ha/logs", s.page(s.pages.Logs))
		r.Get("/ha/tools", s.page(s.pages.Tools))
		s.both(r, "/ha/general", s.pages.General())
		s.both(r, "/ha/heartbeat", s.pages.Heartbeat())
		s.both(r, "/ha/replication", s.pages.Replication())
		s.both(r, "/ha/addresses", s.pages.Addresses())
		s.both(r, "/ha/services", s.pages.Services())
		s.both(r, "/ha/tools/takeover", s.pages.Takeover)
		s.both(r, "/ha/tools/release", s.pages.Release)
		s.both(r, "/ha/tools/resolve/{volume}", s.pages.Resolve)
		s.both(r, "/ha/tools/continue/{volume}", s.pages.Continue)
		r.Post("/ha/tools/standby", s.page(s.pages.Standby))
		r.Post("/ha/tools/armed", s.page(s.pages.Armed))
		r.NotFound(s.page(func(http.ResponseWriter, *http.Request) error { return handlers.NotFound("such page") }))
	})
	return r
}

// both serves a page that is shown by GET and acts by POST.
func (s *server) both(r chi.Router, path string, handler func(http.ResponseWriter, *http.Request) error) {
	r.Get(path, s.page(handler))
	r.Post(path, s.page(handler))
}

// page reads what was posted, and turns an error into a page, and into a log line if it is not the visitor's doing.
func (s *server) page(handler func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := handlers.ReadForm(r)
		if err == nil {
			err = handler(w, r)
		}
		if err == nil || r.Context().Err() != nil {
			return
		}
		status, text := statusOf(err), err.Error()
		if status >= http.StatusInternalServerError {
			s.log.Error("a page failed", "method", r.Method, "path", r.URL.Path, "error", err)
			if handlers.VisitorOf(r.Context()).User == "" {
				text = troubled
			}
		}
		s.pages.Failure(w, r, status, text)
	}
}

// troubled is all that who is not signed in is told of what goes wrong: it names no file.
const troubled = "The console cannot do this now; its log says why. The node itself goes on."

// statusOf is the HTTP status of an error.
func statusOf(err error) int {
	var fail *handlers.Fail
	if errors.As(err, &fail) {
		return fail.Status
	}
	var engine *control.Error
	if errors.As(err, &engine) {
		switch engine.Exit {
		case control.ExitUsage:
			return http.StatusBadRequest
		case control.ExitRefused:
			return http.StatusConflict
		case control.ExitNotRunning:
			return http.StatusServiceUnavailable
		}
	}
	return http.StatusInternalServerError
}

// recoverer turns a panic into an error page; the program goes on for everybody else.
func (s *server) recoverer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler {
				panic(cause)
			}
			s.log.Error("a page panicked", "path", r.URL.Path, "panic", cause, "stack", string(debug.Stack()))
			http.Error(w, "The console failed on this page; its log says why.", http.StatusInternalServerError)
		}()
		next.ServeHTTP(w, r)
	})
}

// visit notes who asks: the address always, the user if there is a living session.
func (s *server) visit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			address = r.RemoteAddr
		}
		visitor := handlers.Visitor{Address: address}
		session, err := s.sessions.get(r)
		if err != nil {
			s.log.Error("a session could not be read", "error", err)
			http.Error(w, troubled, http.StatusServiceUnavailable)
			return
		}
		visitor.User, visitor.Session = userOf(session), nameOf(session)
		next.ServeHTTP(w, r.WithContext(handlers.WithVisitor(r.Context(), visitor)))
	})
}

// signedIn sends who has no session to the sign-in page, with the form of settings that was filled in; the live stream gets an error,
// which ends it.
func (s *server) signedIn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case handlers.VisitorOf(r.Context()).User != "":
			next.ServeHTTP(w, r)
		case r.URL.Path == "/live":
			http.Error(w, "sign in first", http.StatusUnauthorized)
		case r.Method == http.MethodPost:
			s.page(s.pages.Stranger)(w, r)
		case r.Method == http.MethodGet && r.URL.Path != "/":
			http.Redirect(w, r, "/signin?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		default:
			http.Redirect(w, r, "/signin", http.StatusSeeOther)
		}
	})
}

// The rest makes the server a handlers.Door.

// Authenticate checks name and password, unless the address or the account must wait. A password that was not looked at is no try.
func (s *server) Authenticate(ctx context.Context, address, name, password string) (string, time.Duration, error) {
	try, wait := s.limiter.begin(address, name)
	if wait > 0 {
		return "", wait, nil
	}
	user, err := s.db.Authenticate(ctx, name, password)
	switch {
	case err == nil:
		s.limiter.good(try)
	case !s.db.WrongSignIn(err):
		s.limiter.undo(try)
	}
	return user, 0, err
}

// Wrong says whether the error means wrong credentials.
func (s *server) Wrong(err error) bool { return s.db.WrongSignIn(err) }

// Crowded says whether the error means that too many sign in at once.
func (s *server) Crowded(err error) bool { return s.db.Crowded(err) }

// Full returns the state folder if the error means that it is full.
func (s *server) Full(err error) string {
	if s.db.Full(err) {
		return s.stateDir
	}
	return ""
}

// Begin starts a session under a new token.
func (s *server) Begin(w http.ResponseWriter, r *http.Request, user string) error {
	return s.sessions.begin(w, r, user)
}

// End ends the session of the request.
func (s *server) End(w http.ResponseWriter, r *http.Request) error { return s.sessions.end(w, r) }
