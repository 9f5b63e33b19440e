// Package guestbook is one of the lab's two services: a small web service that keeps its entries on the replicated volume. An entry is
// answered only after it is committed, so a test can count what was promised.
//
// It opens SQLite itself although `store` is the only SQL in the house: it stands for somebody else's program, which
// knows nothing of Evenkeel, and store is about settings.
package guestbook

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"

	"evenkeel/lab/probe"
)

// Bounds of the service.
const (
	maxText   = 4096 // bytes of an entry
	pageSize  = 100  // entries on the page
	stopLimit = 3 * time.Second
)

// Entry is one line of GET /entries.
type Entry struct {
	ID   int64     `json:"id"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

type book struct {
	db   *sql.DB
	node string
}

// Run serves the guestbook in dir/guestbook.db on listen (address:port) until ctx ends.
func Run(ctx context.Context, node, dir, listen string) error {
	b, err := open(ctx, node, filepath.Join(dir, "guestbook.db"))
	if err != nil {
		return err
	}
	defer b.db.Close()
	l, err := net.Listen("tcp4", listen)
	if err != nil {
		return fmt.Errorf("guestbook cannot listen on %s: %w", listen, err)
	}
	s := &http.Server{Handler: b.routes(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, IdleTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		if s.Shutdown(limit) != nil {
			_ = s.Close()
		}
	})
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// open opens or makes the database. synchronous FULL: a committed entry is on the disk.
func open(ctx context.Context, node, path string) (*book, error) {
	address := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: url.Values{
		"_journal_mode": {"WAL"}, "_synchronous": {"FULL"}, "_busy_timeout": {"5000"}, "_txlock": {"immediate"},
	}.Encode()}
	db, err := sql.Open("sqlite3", address.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	_, err = db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL, at TEXT NOT NULL)`)
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("the guestbook %s cannot be opened: %w; is the volume mounted?", path, err)
	}
	return &book{db, node}, nil
}

// routes are the service's three answers.
func (b *book) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /entries", b.add)
	mux.HandleFunc("GET /entries", b.list)
	mux.HandleFunc("GET /{$}", b.show)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(probe.NodeHeader, b.node)
		mux.ServeHTTP(w, r)
	})
}

// add commits an entry, then answers.
func (b *book) add(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxText))
	if err != nil || len(text) == 0 {
		http.Error(w, fmt.Sprintf("An entry is 1 to %d bytes of text.", maxText), http.StatusBadRequest)
		return
	}
	now := time.Now().UTC().Format(time.RFC3339Nano)
	result, err := b.db.ExecContext(r.Context(), `INSERT INTO entries (text, at) VALUES (?, ?)`, string(text), now)
	var id int64
	if err == nil {
		id, err = result.LastInsertId()
	}
	if err != nil {
		http.Error(w, "The entry was not stored: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]int64{"id": id})
}

// list sends every entry as JSON lines, oldest first. An error breaks the answer off, so that half of it is not taken for all.
func (b *book) list(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/jsonl")
	out := json.NewEncoder(w)
	if err := b.each(r.Context(), `SELECT id, text, at FROM entries ORDER BY id`, func(e Entry) error { return out.Encode(e) }); err != nil {
		slog.Error("the entries cannot be read", "why", err)
		panic(http.ErrAbortHandler)
	}
}

// each calls f with every entry that a query finds.
func (b *book) each(ctx context.Context, query string, f func(Entry) error) error {
	rows, err := b.db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var e Entry
		var at string
		if err := rows.Scan(&e.ID, &e.Text, &at); err != nil {
			return err
		}
		if e.At, err = time.Parse(time.RFC3339Nano, at); err != nil {
			return err
		}
		if err := f(e); err != nil {
			return err
		}
	}
	return rows.Err()
}

// show is the page with the newest entries.
func (b *book) show(w http.ResponseWriter, r *http.Request) {
	view := struct {
		Node    string
		Entries []Entry
	}{Node: b.node}
	err := b.each(r.Context(), fmt.Sprintf(`SELECT id, text, at FROM entries ORDER BY id DESC LIMIT %d`, pageSize), func(e Entry) error {
		view.Entries = append(view.Entries, e)
		return nil
	})
	if err != nil {
		http.Error(w, "The guestbook cannot be read: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, view)
}
