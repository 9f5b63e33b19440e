package web_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"evenkeel/store"
	"evenkeel/web"
)

// fullStore is a database whose disk takes no new session.
type fullStore struct{ *store.DB }

func (fullStore) StartSession(context.Context, string, string, string, string) error {
	return store.ErrFull
}

// Who gives the right password on a node whose state folder is full is told that, in one sentence; who gives a wrong one is not.
func TestSignInOnAFullDisk(t *testing.T) {
	c := startWith(t, newEngine(healthy()), func(db *store.DB) web.DB { return fullStore{db} })
	r, page := c.post("/signin", url.Values{"name": {"admin"}, "password": {password}})
	text := page.Find("main").Text()
	if r.StatusCode != http.StatusInsufficientStorage || !strings.Contains(text, c.dir+" is full") || !strings.Contains(text, "make room there") {
		t.Errorf("sign-in answers %d and says %q", r.StatusCode, text)
	}
	if page.Find("input[name=name]").AttrOr("value", "") != "admin" {
		t.Error("the name has to be typed again")
	}
	r, page = c.post("/signin", url.Values{"name": {"admin"}, "password": {"a wrong password"}})
	if r.StatusCode != http.StatusUnauthorized || strings.Contains(page.Text(), c.dir) {
		t.Errorf("a wrong password: %d, %q", r.StatusCode, page.Find("#sign-in").Text())
	}
}
