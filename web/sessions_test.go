package web

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"evenkeel/handlers"
)

// brokenStore knows one session of admin; what is set of its errors, it fails with.
type brokenStore struct {
	SessionStore
	session, touch error
}

func (b brokenStore) Session(context.Context, string) (string, bool, error) {
	return "admin", true, b.session
}

func (b brokenStore) TouchSession(context.Context, string) error { return b.touch }

func (b brokenStore) SessionOver(error) bool { return false }

// visited asks for a page with a session cookie: what the page says, and what the log does.
func visited(store SessionStore) (answer *httptest.ResponseRecorder, log string) {
	var lines bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&lines, nil))
	s := &server{sessions: newSessionKeeper(store, "a", logger), log: logger}
	r := httptest.NewRequest(http.MethodGet, "/ha/status", nil)
	r.AddCookie(&http.Cookie{Name: s.sessions.name, Value: strings.Repeat("x", base64.RawURLEncoding.EncodedLen(tokenBytes))})
	answer = httptest.NewRecorder()
	s.visit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("user " + handlers.VisitorOf(r.Context()).User))
	})).ServeHTTP(answer, r)
	return answer, lines.String()
}

// A full disk, on which the last use of a session cannot be noted, takes the console from nobody.
func TestSessionLivesWithoutItsTouch(t *testing.T) {
	answer, log := visited(brokenStore{touch: errors.New("the disk is full")})
	if answer.Code != http.StatusOK || answer.Body.String() != "user admin" || !strings.Contains(log, "the disk is full") {
		t.Errorf("the page answers %d %q, the log says %q", answer.Code, answer.Body, log)
	}
}

// Who has no proven session is told nothing of the machine.
func TestUnreadableSessionsTellNothing(t *testing.T) {
	answer, log := visited(brokenStore{session: errors.New("/var/lib/secret is damaged")})
	if answer.Code != http.StatusServiceUnavailable || strings.Contains(answer.Body.String(), "secret") || !strings.Contains(log, "/var/lib/secret is damaged") {
		t.Errorf("the page answers %d %q, the log says %q", answer.Code, answer.Body, log)
	}
}
