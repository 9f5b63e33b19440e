package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"evenkeel/templates"
)

// Door is what signing in needs.
type Door interface {
	// Authenticate returns the user's name as it is stored, or an error for which Wrong is true.
	Authenticate(ctx context.Context, name, password string) (string, error)
	Wrong(err error) bool
	// Wait is how long this address and account must wait before the next try; 0 = not at all. Tried notes the outcome.
	Wait(address, account string) time.Duration
	Tried(address, account string, good bool)
	// Begin starts a session under a new token, End ends the one of the request.
	Begin(w http.ResponseWriter, r *http.Request, user string) error
	End(w http.ResponseWriter, r *http.Request) error
}

// SignIn serves the sign-in page and opens a session.
func (p *Pages) SignIn(door Door) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodPost {
			return p.askName(w, r, http.StatusOK, "", r.URL.Query().Get("next"), "")
		}
		name, next := strings.TrimSpace(r.PostFormValue("name")), r.PostFormValue("next")
		address := VisitorOf(r.Context()).Address
		if wait := door.Wait(address, name); wait > 0 {
			w.Header().Set("Retry-After", fmt.Sprint(int(wait.Seconds())+1))
			return p.askName(w, r, http.StatusTooManyRequests, name, next, fmt.Sprintf("Too many tries: wait %s, then try again.", spanText((wait.Truncate(time.Second)+time.Second).Milliseconds())))
		}
		user, err := door.Authenticate(r.Context(), name, r.PostFormValue("password"))
		if err != nil && !door.Wrong(err) {
			return err
		}
		door.Tried(address, name, err == nil)
		if err != nil {
			p.auditAs(r, name, address, "sign-in refused")
			return p.askName(w, r, http.StatusUnauthorized, name, next, "Name or password is wrong.")
		}
		if err := door.Begin(w, r, user); err != nil {
			return err
		}
		p.auditAs(r, user, address, "sign-in")
		http.Redirect(w, r, safeNext(next), http.StatusSeeOther)
		return nil
	}
}

// SignOut ends the session.
func (p *Pages) SignOut(door Door) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		v := VisitorOf(r.Context())
		if err := door.End(w, r); err != nil && !errors.Is(err, http.ErrNoCookie) {
			return err
		}
		p.auditAs(r, v.User, v.Address, "sign-out")
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
		return nil
	}
}

func (p *Pages) askName(w http.ResponseWriter, r *http.Request, status int, name, next, problem string) error {
	frame := p.frame(r, "Sign in", "/signin")
	frame.User, frame.Live = "", ""
	host := r.Host
	if frame.Bar.Host != "" {
		host = frame.Bar.Host
	}
	return p.render(w, r, status, templates.SignIn(templates.SignInPage{Frame: frame, Host: host, Name: name, Next: next, Error: problem}))
}

// safeNext is where to go after signing in: a page of this console, nothing else.
func safeNext(next string) string {
	for _, g := range templates.Navigation {
		for _, l := range g.Links {
			if next == l.Path || strings.HasPrefix(next, l.Path+"?") || strings.HasPrefix(next, l.Path+"/") {
				return next
			}
		}
	}
	return "/ha/status"
}

// auditAs notes something about a user who has no session, or none any more.
func (p *Pages) auditAs(r *http.Request, user, address, action string) {
	if err := p.Audit.Audit(context.WithoutCancel(r.Context()), user, address, action, "", ""); err != nil {
		p.Logger.Error("the audit log could not be written", "action", action, "user", user, "error", err)
	}
}
