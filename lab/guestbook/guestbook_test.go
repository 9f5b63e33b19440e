package guestbook

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"evenkeel/lab/probe"
)

// serve opens a guestbook in a file.
func serve(t *testing.T, path string) *httptest.Server {
	t.Helper()
	b, err := open(context.Background(), "a", path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(b.routes())
	t.Cleanup(func() { s.Close(); b.db.Close() })
	return s
}

// post adds an entry.
func post(t *testing.T, s *httptest.Server, text string) (code int, id int64) {
	t.Helper()
	r, err := http.Post(s.URL+"/entries", "text/plain", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var answer struct{ ID int64 }
	if r.StatusCode == http.StatusCreated {
		if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
	}
	return r.StatusCode, answer.ID
}

func TestEntriesStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guestbook.db")
	s := serve(t, path)
	texts := []string{"hello", "<b>bold</b>", "zeile\nzwei"}
	for i, text := range texts {
		if code, id := post(t, s, text); code != http.StatusCreated || id != int64(i+1) {
			t.Fatalf("entry %d is answered %d with id %d", i, code, id)
		}
	}
	for _, wrong := range []string{"", strings.Repeat("x", maxText+1)} {
		if code, _ := post(t, s, wrong); code != http.StatusBadRequest {
			t.Errorf("an entry of %d bytes is answered %d", len(wrong), code)
		}
	}
	r, err := http.Get(serve(t, path).URL + "/entries") // a second program on the same file
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.Header.Get(probe.NodeHeader) != "a" {
		t.Errorf("the answer names node %q", r.Header.Get(probe.NodeHeader))
	}
	var got []string
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		var e Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.At.IsZero() {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		got = append(got, e.Text)
	}
	if strings.Join(got, "|") != strings.Join(texts, "|") {
		t.Errorf("the entries are %q", got)
	}
}

func TestPageEscapes(t *testing.T) {
	s := serve(t, filepath.Join(t.TempDir(), "guestbook.db"))
	post(t, s, "<script>alert(1)</script>")
	r, err := http.Get(s.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	page, err := io.ReadAll(r.Body)
	if err != nil || strings.Contains(string(page), "<script>") || !strings.Contains(string(page), "&lt;script&gt;") {
		t.Errorf("the page shows a stranger's text raw (%v):\n%s", err, page)
	}
}

func TestMissingFolder(t *testing.T) {
	if _, err := open(context.Background(), "a", "/nonexistent/guestbook.db"); err == nil || !strings.Contains(err.Error(), "mounted") {
		t.Errorf("without its folder the guestbook says %v", err)
	}
}
