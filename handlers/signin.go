package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
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
	// Full returns the folder that has no room for what should be stored, if that is what the error means; else nothing.
	Full(err error) (folder string)
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
			return p.askName(w, r, http.StatusOK, templates.SignInPage{Next: r.URL.Query().Get("next")})
		}
		view := templates.SignInPage{Name: clipName(strings.TrimSpace(r.PostFormValue("name"))), Next: r.PostFormValue("next"), Kept: r.PostFormValue("kept")}
		visitor := Visitor{Address: VisitorOf(r.Context()).Address}
		user, wait, err := door.Authenticate(r.Context(), visitor.Address, view.Name, r.PostFormValue("password"))
		if wait > 0 || err != nil {
			return p.refuse(w, r, door, view, wait, err)
		}
		if err := door.Begin(w, r, user); err != nil {
			return p.noSession(w, r, door, view, err)
		}
		visitor.User = user
		p.audit(r, visitor, "sign-in", "", "")
		return p.goOn(w, r.WithContext(WithVisitor(r.Context(), visitor)), view)
	}
}

// refuse shows the sign-in page again and says why.
func (p *Pages) refuse(w http.ResponseWriter, r *http.Request, door Door, view templates.SignInPage, wait time.Duration, err error) error {
	status := http.StatusUnauthorized
	switch {
	case wait > 0:
		status, view.Error = http.StatusTooManyRequests, fmt.Sprintf("Too many tries: wait %s, then try again.", spanText((wait.Truncate(time.Second)+time.Second).Milliseconds()))
		retryAfter(w, wait)
	case door.Wrong(err):
		view.Error = "Name or password is wrong."
		p.audit(r, Visitor{User: view.Name, Address: VisitorOf(r.Context()).Address}, "sign-in refused", "", "")
	case door.Crowded(err):
		status, view.Error = http.StatusServiceUnavailable, "Too many sign in at this moment, so the password was not looked at: try again in a few seconds."
		retryAfter(w, crowdPause)
	default:
		return err
	}
	return p.askName(w, r, status, view)
}

// noSession says why somebody whose name and password are right is not let in: a session that is not stored could not be ended either.
func (p *Pages) noSession(w http.ResponseWriter, r *http.Request, door Door, view templates.SignInPage, err error) error {
	folder := door.Full(err)
	if folder == "" {
		return err
	}
	p.Logger.Error("a session could not be stored", "user", view.Name, "error", err)
	view.Error = fmt.Sprintf("Name and password are right, but this node's state folder %s is full and the session cannot be stored: make room there, then sign in again; until then use the other node's console.", folder)
	return p.askName(w, r, http.StatusInsufficientStorage, view)
}

// goOn leads to where somebody wanted to go before the sign-in. A form of settings that was posted then is shown again with all that was
// entered: nothing of it is done before it is posted once more.
func (p *Pages) goOn(w http.ResponseWriter, r *http.Request, view templates.SignInPage) error {
	page, known := p.settingsPages()[view.Next]
	values, err := url.ParseQuery(view.Kept)
	if view.Kept == "" || !known || err != nil {
		http.Redirect(w, r, safeNext(view.Next), http.StatusSeeOther)
		return nil
	}
	latest, err := p.latest(r.Context())
	if err != nil {
		return err
	}
	f := &form{values: values}
	base, _ := strconv.ParseUint(f.text("base"), 10, 64) // without one it counts as old, which the next post says
	return p.show(w, r, page, f, look{base: base, latest: latest, status: http.StatusOK, unsaved: true})
}

// keptMost bounds what of a form is carried through the sign-in, in bytes: so that it fits into a form again. None of ours is as long.
const keptMost = 64 << 10

// Stranger answers a post without a session, which does nothing. A session may have ended while somebody filled in a form of settings: what
// was entered then goes with the sign-in page.
func (p *Pages) Stranger(w http.ResponseWriter, r *http.Request) error {
	_, known := p.settingsPages()[r.URL.Path]
	kept := r.PostForm.Encode()
	if !known || len(kept) > keptMost {
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
		return nil
	}
	return p.askName(w, r, http.StatusUnauthorized, templates.SignInPage{Next: r.URL.Path, Kept: kept})
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

func (p *Pages) askName(w http.ResponseWriter, r *http.Request, status int, view templates.SignInPage) error {
	view.Frame, view.Host = p.frame(r, "Sign in", "/signin"), r.Host
	view.Frame.User, view.Frame.Live = "", ""
	if view.Frame.Bar.Host != "" {
		view.Host = view.Frame.Bar.Host
	}
	return p.render(w, r, status, templates.SignIn(view))
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
