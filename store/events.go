package store

import (
	"context"
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/migrations"
)

const (
	eventsKept  = 100_000 // rows
	eventsLimit = 200     // rows of one answer unless asked otherwise
	eventsMost  = 10_000  // rows of one answer at most
)

// Events is events.db.
type Events struct {
	path string

	mu   sync.Mutex
	pool *sql.DB // nil: opened for reading, and not there yet
}

// OpenEvents opens events.db below stateDir. The engine opens it for writing and makes it. The console opens it read-only, and
// may do so before it is there: then it is opened when it is first read.
func OpenEvents(stateDir string, readOnly bool) (*Events, error) {
	path := filepath.Join(stateDir, EventsFile)
	if readOnly {
		return &Events{path: path}, nil
	}
	if err := prepare(stateDir, EventsFile, 0, 0o640); err != nil {
		return nil, err
	}
	pool, err := openPool(path, writing, 1)
	if err != nil {
		return nil, err
	}
	if err := migrate(pool, migrations.Events); err != nil {
		pool.Close()
		return nil, explain(path, err)
	}
	return &Events{pool: pool, path: path}, nil
}

// Close ends all connections.
func (e *Events) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pool == nil {
		return nil
	}
	return e.pool.Close()
}

// open returns the connections, made at the first use if the file was not there at start.
func (e *Events) open() (*sql.DB, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pool != nil {
		return e.pool, nil
	}
	pool, err := openPool(e.path, reading, readers)
	if err != nil {
		return nil, err
	}
	e.pool = pool
	return pool, nil
}

// Append stores events in their order and gives them their IDs, in place. The oldest go when there are more than 100,000.
func (e *Events) Append(ctx context.Context, events []control.Event) error {
	pool, err := e.open()
	if err != nil {
		return err
	}
	ids := make([]int64, len(events))
	err = inTransaction(ctx, pool, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		for i, v := range events {
			ids[i] = w.exec("INSERT INTO events (at, node, log, code, severity, text, epoch, cause) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
				v.At.UnixNano(), v.Node, v.Log, v.Code, string(v.Severity), v.Text, v.Epoch, v.Cause)
		}
		if len(events) > 0 {
			w.exec("DELETE FROM events WHERE id <= ?", ids[len(ids)-1]-eventsKept)
		}
		return w.err
	})
	if err != nil {
		return explain(e.path, err)
	}
	for i := range events {
		events[i].ID = ids[i]
	}
	return nil
}

// List returns the newest events that the filter selects, oldest of them first.
func (e *Events) List(ctx context.Context, f control.EventFilter) ([]control.Event, error) {
	where, args := conditions(f)
	limit := f.Limit
	if limit <= 0 {
		limit = eventsLimit
	}
	args = append(args, min(limit, eventsMost))
	pool, err := e.open()
	if err != nil {
		return nil, err
	}
	rows, err := pool.QueryContext(ctx, "SELECT id, at, node, log, code, severity, text, epoch, cause FROM events WHERE "+
		strings.Join(where, " AND ")+" ORDER BY id DESC LIMIT ?", args...)
	if err != nil {
		return nil, explain(e.path, err)
	}
	defer rows.Close()
	var list []control.Event
	for rows.Next() {
		var v control.Event
		var at int64
		if err := rows.Scan(&v.ID, &at, &v.Node, &v.Log, &v.Code, &v.Severity, &v.Text, &v.Epoch, &v.Cause); err != nil {
			return nil, explain(e.path, err)
		}
		v.At = time.Unix(0, at).UTC()
		list = append(list, v)
	}
	if err := rows.Err(); err != nil {
		return nil, explain(e.path, err)
	}
	slices.Reverse(list)
	return list, nil
}

// conditions turns a filter into SQL with its arguments; zero values select all.
func conditions(f control.EventFilter) (where []string, args []any) {
	add := func(condition string, values ...any) {
		where, args = append(where, condition), append(args, values...)
	}
	add("id > ?", f.After)
	if f.Log != "" {
		add("log = ?", f.Log)
	}
	if f.Node != "" {
		add("node = ?", f.Node)
	}
	switch ha.Severity(f.Severity) {
	case ha.Critical:
		add("severity = 'critical'")
	case ha.Warning:
		add("severity IN ('warning', 'critical')")
	}
	if f.Text != "" {
		add("(instr(lower(text), lower(?)) > 0 OR instr(lower(code), lower(?)) > 0)", f.Text, f.Text)
	}
	return where, args
}
