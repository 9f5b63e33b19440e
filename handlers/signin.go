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
	// Authenticate returns the user's name as it is stored; or how long this address and this account must wait before the next try; or
	// an error, for which Wrong is true if name and password do not belong together, and Crowded if too many sign in at once.
	Authenticate(ctx context.Context, address, name, password string) (user string, wait time.Duration, err error)
	Wrong(err error) bool
	Crowded(err error) bool
	// Begin starts a session under a new token, End ends the one of the request.
	Begin(w http.ResponseWriter, r *http.Request, user string) error
	End(w http.ResponseWriter, r *http.Request) error
}

const (
	nameMost   = 64          // characters of a user's name
	crowdPause = time.Second // until the next try, when too many sign in at once
)

// SignIn serves the sign-in page and opens a session.
func (p *Pages) SignIn(door Door) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodPost {
			return p.askName(w, r, http.StatusOK, "", r.URL.Query().Get("next"), "")
		}
		name, next := clipName(strings.TrimSpace(r.PostFormValue("name"))), r.PostFormValue("next")
		address := VisitorOf(r.Context()).Address
		user, wait, err := door.Authenticate(r.Context(), address, name, r.PostFormValue("password"))
		switch {
		case wait > 0:
			retryAfter(w, wait)
			return p.askName(w, r, http.StatusTooManyRequests, name, next, fmt.Sprintf("Too many tries: wait %s, then try again.", spanText((wait.Truncate(time.Second)+time.Second).Milliseconds())))
		case err != nil && door.Wrong(err):
			p.audit(r, Visitor{User: name, Address: address}, "sign-in refused", "", "")
			return p.askName(w, r, http.StatusUnauthorized, name, next, "Name or password is wrong.")
		case err != nil && door.Crowded(err):
			retryAfter(w, crowdPause)
			return p.askName(w, r, http.StatusServiceUnavailable, name, next, "Too many sign in at this moment, so the password was not looked at: try again in a few seconds.")
		case err != nil:
			return err
		}
		if err := door.Begin(w, r, user); err != nil {
			return err
		}
		p.audit(r, Visitor{User: user, Address: address}, "sign-in", "", "")
		http.Redirect(w, r, safeNext(next), http.StatusSeeOther)
		return nil
	}
}

// retryAfter says when to come again, in whole seconds.
func retryAfter(w http.ResponseWriter, d time.Duration) {
	w.Header().Set("Retry-After", fmt.Sprint(int(d.Seconds())+1))
}

// clipName cuts what is too long for a name and then is none: neither the audit log nor the limit of tries shall keep all of it.
func clipName(name string) string {
	n := 0
	for i := range name {
		if n == nameMost {
			return name[:i] + "..."
		}
		n++
	}
	return name
}

// SignOut ends the session.
func (p *Pages) SignOut(door Door) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		v := VisitorOf(r.Context())
		if err := door.End(w, r); err != nil && !errors.Is(err, http.ErrNoCookie) {
			return err
		}
		p.audit(r, v, "sign-out", "", "")
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
