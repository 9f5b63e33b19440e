package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"net/http"
	"time"

	"github.com/gorilla/sessions"
)

// SessionStore keeps sessions by the hash of their token; *store.DB fits.
type SessionStore interface {
	StartSession(ctx context.Context, token, user, address, agent string) error
	// Session returns the user of a living session; due says that TouchSession should note that it is used.
	Session(ctx context.Context, token string) (user string, due bool, err error)
	TouchSession(ctx context.Context, token string) error
	EndSession(ctx context.Context, token string) error
	// SessionOver says whether an error of Session means that there is no such living session.
	SessionOver(err error) bool
}

const (
	tokenBytes = 32
	userKey    = "user"
	cookieLife = 12 * time.Hour // the session's own limits are shorter or equal
)

// sessionKeeper is a sessions.Store on SQLite. The cookie holds a random token and nothing else: a session can be revoked, and its
// token is new at each sign-in.
type sessionKeeper struct {
	store SessionStore
	name  string
	log   *slog.Logger
}

// newSessionKeeper names the cookie after the node: cookies ignore ports, and two nodes may answer under one address.
func newSessionKeeper(store SessionStore, node string, log *slog.Logger) *sessionKeeper {
	return &sessionKeeper{store: store, name: "__Host-evenkeel-" + node, log: log}
}

// Get returns the request's session, made once per request.
func (k *sessionKeeper) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(k, name)
}

// New reads the session that the cookie names; without a living one it is empty.
func (k *sessionKeeper) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(k, name)
	session.IsNew = true
	session.Options = &sessions.Options{Path: "/", MaxAge: int(cookieLife.Seconds()), Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	cookie, err := r.Cookie(name)
	if err != nil || len(cookie.Value) != base64.RawURLEncoding.EncodedLen(tokenBytes) {
		return session, nil // no cookie, or none of ours
	}
	user, due, err := k.store.Session(r.Context(), cookie.Value)
	if k.store.SessionOver(err) {
		return session, nil
	}
	if err != nil {
		return session, err
	}
	if due && r.URL.Path != "/live" { // an open page does not keep a session alive by itself
		k.touch(r.Context(), cookie.Value)
	}
	session.ID, session.IsNew = cookie.Value, false
	session.Values[userKey] = user
	return session, nil
}

// touch notes that the session is used. Where that cannot be stored, as on a full disk, the session lives all the same: the console is
// needed most when something is wrong.
func (k *sessionKeeper) touch(ctx context.Context, token string) {
	if err := k.store.TouchSession(ctx, token); err != nil {
		k.log.Warn("the use of a session could not be noted: it may end early", "error", err)
	}
}

// Save stores a session that has a user under a new token, or forgets one whose MaxAge is negative, and sets the cookie.
func (k *sessionKeeper) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	if session.Options.MaxAge < 0 {
		if err := k.store.EndSession(r.Context(), session.ID); err != nil {
			return err
		}
		http.SetCookie(w, sessions.NewCookie(session.Name(), "", session.Options))
		return nil
	}
	token := make([]byte, tokenBytes)
	rand.Read(token) // never fails: crypto/rand ends the program first
	session.ID = base64.RawURLEncoding.EncodeToString(token)
	if err := k.store.StartSession(r.Context(), session.ID, userOf(session), r.RemoteAddr, r.UserAgent()); err != nil {
		return err
	}
	http.SetCookie(w, sessions.NewCookie(session.Name(), session.ID, session.Options))
	return nil
}

func (k *sessionKeeper) get(r *http.Request) (*sessions.Session, error) { return k.Get(r, k.name) }

// begin ends the session that there is, so that no token from before the sign-in lives on, and starts a new one.
func (k *sessionKeeper) begin(w http.ResponseWriter, r *http.Request, user string) error {
	session, err := k.get(r)
	if err != nil {
		return err
	}
	if session.ID != "" {
		if err := k.store.EndSession(r.Context(), session.ID); err != nil {
			return err
		}
	}
	session.Values[userKey] = user
	return session.Save(r, w)
}

// end forgets the request's session.
func (k *sessionKeeper) end(w http.ResponseWriter, r *http.Request) error {
	session, err := k.get(r)
	if err != nil {
		return err
	}
	session.Options.MaxAge = -1
	return session.Save(r, w)
}

// alive says whether the session still lives, without keeping it alive.
func (k *sessionKeeper) alive(ctx context.Context, r *http.Request) bool {
	cookie, err := r.Cookie(k.name)
	if err != nil {
		return false
	}
	_, _, err = k.store.Session(ctx, cookie.Value)
	return !k.store.SessionOver(err) // a database that is held for a moment ends no stream
}

func userOf(s *sessions.Session) string {
	user, _ := s.Values[userKey].(string)
	return user
}

// nameOf names a session without telling its token.
func nameOf(s *sessions.Session) string {
	if s.ID == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(s.ID))
	return hex.EncodeToString(sum[:8])
}
