// Package store keeps what must outlive the processes in two SQLite files below the state folder. It is the only SQL in the
// house.
//
//	settings.db  settings by revision, users, sessions, audit: the console writes it, and the engine (outside its loop)
//	             when a revision comes from the peer
//	events.db    the log: the engine writes it, the console reads it
//
// What decides who is master is not here: it stands in root-only files of the engine, because a process without privileges
// that holds a write transaction can make root wait (70-traps).
package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"

	"evenkeel/ha"
	"evenkeel/migrations"
)

// The files' names below the state folder.
const (
	SettingsFile = "settings.db"
	EventsFile   = "events.db"
)

const (
	busyTimeout = 5 * time.Second // how long a statement waits for another process
	readers     = 4               // connections that only read
)

// Options says how to open settings.db.
type Options struct {
	// GID is the group of the console's process. Opened as root, the folder becomes root:GID 1770 and the file 0660, so that
	// the console can write and nobody can plant a link. 0 leaves the folder's group.
	GID int
	// Limits is what Save lets a revision contain.
	Limits ha.Limits
	// Now is the wall clock; nil = time.Now.
	Now func() time.Time
}

// DB is settings.db. It may be used by many goroutines, and by several processes at once.
type DB struct {
	write  *sql.DB // one connection; each transaction takes the write lock at its beginning
	read   *sql.DB
	limits ha.Limits
	now    func() time.Time
	hashes chan struct{} // bounds how many passwords are hashed at once
	queue  chan struct{} // bounds those and who waits for them
}

// Open opens or makes settings.db below stateDir and brings its schema up to date.
func Open(stateDir string, o Options) (*DB, error) {
	path := filepath.Join(stateDir, SettingsFile)
	if err := prepare(stateDir, SettingsFile, o.GID, 0o660); err != nil {
		return nil, err
	}
	write, err := openPool(path, writing, 1)
	if err != nil {
		return nil, err
	}
	if err := migrate(write, migrations.Settings); err != nil {
		write.Close()
		return nil, explain(path, err)
	}
	read, err := openPool(path, reading, readers)
	if err != nil {
		write.Close()
		return nil, err
	}
	now := o.Now
	if now == nil {
		now = time.Now
	}
	return &DB{write: write, read: read, limits: o.Limits, now: now,
		hashes: make(chan struct{}, hashesAtOnce), queue: make(chan struct{}, hashesAtOnce+hashesWaiting)}, nil
}

// Close ends all connections.
func (db *DB) Close() error {
	err := db.read.Close()
	if e := db.write.Close(); err == nil {
		err = e
	}
	return err
}

// The two ways to open a file. The driver's own default for synchronous is NORMAL: with WAL a committed transaction may then
// vanish in a power cut, so FULL is asked for (it is parsed last and wins). The pragmas stand in the address and so hold for each
// connection of a pool.
var (
	writing = url.Values{"_journal_mode": {"WAL"}, "_synchronous": {"FULL"}, "_foreign_keys": {"1"}, "_txlock": {"immediate"}}
	reading = url.Values{"mode": {"ro"}, "_query_only": {"1"}, "_foreign_keys": {"1"}}
)

// openPool opens path with at most size connections, and asks the file whether it is whole.
func openPool(path string, how url.Values, size int) (*sql.DB, error) {
	values := url.Values{"_busy_timeout": {fmt.Sprint(busyTimeout.Milliseconds())}}
	for name, value := range how {
		values[name] = value
	}
	address := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: values.Encode()}
	pool, err := sql.Open("sqlite3", address.String())
	if err != nil {
		return nil, explain(path, err)
	}
	pool.SetMaxOpenConns(size)
	if err := whole(pool); err != nil {
		pool.Close()
		return nil, explain(path, err)
	}
	return pool, nil
}

// whole runs SQLite's quick check: the files are small, and a broken one must be noticed at start and not at three in the morning.
func whole(pool *sql.DB) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*busyTimeout)
	defer cancel()
	var verdict string
	if err := pool.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", ErrCorrupt, strings.ReplaceAll(verdict, "\n", " "))
	}
	return nil
}

// migrate runs what is missing, all in one transaction, so that two processes that start together do not do it twice.
func migrate(pool *sql.DB, database string) error {
	list, err := migrations.Of(database)
	if err != nil {
		return err
	}
	return inTransaction(context.Background(), pool, func(tx *sql.Tx) error {
		var have int
		if err := tx.QueryRow("PRAGMA user_version").Scan(&have); err != nil {
			return err
		}
		if have > len(list) {
			return fmt.Errorf("%w: it has version %d, this program knows %d", ErrNewer, have, len(list))
		}
		for _, m := range list[have:] {
			if _, err := tx.Exec(m.SQL); err != nil {
				return fmt.Errorf("migration %s: %w", m.Name, err)
			}
		}
		if have == len(list) {
			return nil
		}
		_, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", len(list)))
		return err
	})
}

// inTransaction runs do in one transaction: all of it or nothing.
func inTransaction(ctx context.Context, pool *sql.DB, do func(*sql.Tx) error) error {
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}
