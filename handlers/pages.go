// Package handlers holds the console's pages: one file per page. A handler reads the request, asks or tells what it needs through
// the small interfaces below, makes a view and renders it; what goes wrong it returns as an error, which package web turns into a page.
package handlers

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/a-h/templ"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/templates"
)

// Engine is what the pages ask of and tell the engine; *control.Client fits.
type Engine interface {
	Events(ctx context.Context, f control.EventFilter) ([]control.Event, error)
	Takeover(ctx context.Context, o control.Order) (control.Outcome, error)
	Release(ctx context.Context, o control.Order) (control.Outcome, error)
	Standby(ctx context.Context, s control.Switch) (control.Outcome, error)
	Armed(ctx context.Context, s control.Switch) (control.Outcome, error)
	Volume(ctx context.Context, name, verb string, o control.VolumeOrder) (control.Outcome, error)
	Settings(ctx context.Context, r control.Revision) error
	Catalogue(ctx context.Context) ([]control.CatalogueEntry, error)
}

// Settings is where revisions are stored. An error of Save that has a method Latest() ha.Settings means that another revision
// was saved after base.
type Settings interface {
	Latest(ctx context.Context) (ha.Settings, error)
	Save(ctx context.Context, s ha.Settings, base uint64, by string) (uint64, error)
	// Check says what is wrong with settings, as Save would.
	Check(s ha.Settings) ha.FieldErrors
}

// Log lists this node's events.
type Log interface {
	List(ctx context.Context, f control.EventFilter) ([]control.Event, error)
}

// Auditor notes who did what.
type Auditor interface {
	Audit(ctx context.Context, user, address, action, old, new string) error
}

// Snapshot is the newest that the console knows; nil = nothing yet.
type Snapshot struct {
	Own     *control.Status
	OwnAt   time.Time // when it came in
	Peer    *control.Status
	PeerAt  time.Time
	Explain *control.Explanation
}

// Config is what the pages know of their own place.
type Config struct {
	Node    string // this node's id
	PeerURL string // the other node's console; "" = not known
	Assets  templates.Assets
	// NoSettings says whether an error of Settings.Latest means that nothing was ever saved.
	NoSettings func(error) bool
}

// Pages serves all pages.
type Pages struct {
	Config
	Engine   Engine
	Settings Settings
	Log      Log
	Audit    Auditor
	Live     func() Snapshot
	Now      func() time.Time
	Logger   *slog.Logger
	notices  notices
}

// StaleAfter is how old a status may be before everything that rests on it turns grey: three of the engine's intervals of one second.
const StaleAfter = 3 * time.Second

// askLimit is how long a page waits for an answer of the engine: what it can say without one it says then.
const askLimit = 5 * time.Second

// awake says whether the engine can be ordered anything: one that hangs would let the browser wait for the order's whole time.
func (p *Pages) awake() error {
	if live := p.Live(); live.Own == nil || p.stale(live.OwnAt) {
		return &Fail{Status: http.StatusServiceUnavailable, Text: "This node's engine does not answer, so nothing was ordered: try again when it does."}
	}
	return nil
}

// Visitor is who asks.
type Visitor struct {
	User    string
	Address string // where from
	Session string // a name for the session, not its token
}

type visitorKey struct{}

// WithVisitor returns a context that carries the visitor.
func WithVisitor(ctx context.Context, v Visitor) context.Context {
	return context.WithValue(ctx, visitorKey{}, v)
}

// VisitorOf returns the visitor of a request; zero if nobody is signed in.
func VisitorOf(ctx context.Context) Visitor {
	v, _ := ctx.Value(visitorKey{}).(Visitor)
	return v
}

// frame makes the frame of a page.
func (p *Pages) frame(r *http.Request, title, path string) templates.Frame {
	v := VisitorOf(r.Context())
	f := templates.Frame{Title: title, Path: path, Assets: p.Assets, User: v.User, Bar: p.bar(), Notice: p.notices.take(v.Session)}
	if v.User != "" {
		f.Live = "/live?page=none" // the top bar, on every page
	}
	return f
}

// render writes a page. It goes through a buffer: after the first byte an error could not become an error page.
func (p *Pages) render(w http.ResponseWriter, r *http.Request, status int, page templ.Component) error {
	var buffer bytes.Buffer
	if err := page.Render(r.Context(), &buffer); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(buffer.Bytes()) // the browser gone is its own matter
	return nil
}

// done ends an action: the notice is shown on the page that the browser is sent to.
func (p *Pages) done(w http.ResponseWriter, r *http.Request, to string, kind, text string) error {
	p.notices.put(VisitorOf(r.Context()).Session, templates.Notice{State: templates.State{Kind: kind}, Text: text})
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// audit notes what somebody did, who may have no session, or none any more. That it could not be noted is said in the log, the action
// stands.
func (p *Pages) audit(r *http.Request, v Visitor, action, old, new string) {
	if err := p.Audit.Audit(context.WithoutCancel(r.Context()), v.User, v.Address, action, old, new); err != nil {
		p.Logger.Error("the audit log could not be written", "action", action, "user", v.User, "error", err)
	}
}

// Failure renders an error page.
func (p *Pages) Failure(w http.ResponseWriter, r *http.Request, status int, text string) {
	view := templates.ErrorPage{Frame: p.frame(r, http.StatusText(status), ""), Status: status, Text: text}
	if err := p.render(w, r, status, templates.Failure(view)); err != nil {
		p.Logger.Error("an error page could not be rendered", "error", err)
		http.Error(w, text, status)
	}
}

// Fail is an error with the HTTP status that it shall have.
type Fail struct {
	Status int
	Text   string
}

// Error returns the text.
func (f *Fail) Error() string { return f.Text }

// NotFound says that there is no such thing.
func NotFound(what string) error {
	return &Fail{Status: http.StatusNotFound, Text: "There is no " + what + ": it may have been removed meanwhile."}
}
