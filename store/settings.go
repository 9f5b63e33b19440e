package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"evenkeel/ha"
)

// revisionsKept bounds the history.
const revisionsKept = 1000

// Latest returns the revision in force: the highest number. ErrNoSettings if there is none.
func (db *DB) Latest(ctx context.Context) (ha.Settings, error) {
	return loadWhere(ctx, db.read, "superseded = 0 ORDER BY revision DESC LIMIT 1")
}

// Load returns one revision by its number; ErrNoSettings if there is none.
func (db *DB) Load(ctx context.Context, revision uint64) (ha.Settings, error) {
	return loadWhere(ctx, db.read, "superseded = 0 AND revision = ?", int64(revision))
}

// Overridden returns the newest revision of this number that lost against the other node's of the same number; ErrNoSettings if none did.
func (db *DB) Overridden(ctx context.Context, revision uint64) (ha.Settings, error) {
	return loadWhere(ctx, db.read, "superseded = 1 AND revision = ? ORDER BY id DESC LIMIT 1", int64(revision))
}

// Check says what is wrong with settings, as Save would.
func (db *DB) Check(s ha.Settings) ha.FieldErrors { return s.Validate(db.limits) }

// Save stores s as the next revision and returns its number. base is the revision that the form was rendered from: if another
// one was saved meanwhile, the result is a *StaleError with it. Settings that are not valid end as ha.FieldErrors.
func (db *DB) Save(ctx context.Context, s ha.Settings, base uint64, by string) (uint64, error) {
	if problems := db.Check(s); len(problems) > 0 {
		return 0, problems
	}
	err := inTransaction(ctx, db.write, func(tx *sql.Tx) error {
		latest, err := loadWhere(ctx, tx, "superseded = 0 ORDER BY revision DESC LIMIT 1")
		if err != nil && !errors.Is(err, ErrNoSettings) {
			return err
		}
		if latest.Revision != base {
			return &StaleError{Base: base, Newer: latest}
		}
		if wrong := s.Renamed(latest); len(wrong) > 0 {
			return wrong
		}
		s.Revision, s.SavedAt, s.SavedBy = base+1, db.now().UTC(), by
		return insert(ctx, tx, s)
	})
	var wrong ha.FieldErrors
	switch {
	case errors.As(err, &wrong):
		return 0, wrong
	case err != nil:
		return 0, db.failed(err)
	}
	return s.Revision, nil
}

// Import stores a revision of the peer under its own number. A higher number wins. If this number is stored here with other
// content, both nodes saved apart from each other: the later one is in force on both, the other stays in the history.
// It returns the revision that s took the place of as the newest: of a lower number, or of the same one; zero if s is not the newest.
func (db *DB) Import(ctx context.Context, s ha.Settings) (replaced ha.Settings, err error) {
	if s.Revision == 0 {
		return replaced, fmt.Errorf("the peer's settings carry no revision: they were never saved")
	}
	err = inTransaction(ctx, db.write, func(tx *sql.Tx) error {
		before, err := loadWhere(ctx, tx, "superseded = 0 ORDER BY revision DESC LIMIT 1")
		if err != nil && !errors.Is(err, ErrNoSettings) {
			return err
		}
		stored, err := importInto(ctx, tx, s)
		if stored && before.Revision <= s.Revision {
			replaced = before
		}
		return err
	})
	if err != nil {
		return ha.Settings{}, db.failed(err)
	}
	return replaced, nil
}

// importInto stores a revision of the peer, if it is new here or later than the one of its number.
func importInto(ctx context.Context, tx *sql.Tx, s ha.Settings) (stored bool, err error) {
	mine, err := loadWhere(ctx, tx, "superseded = 0 AND revision = ?", int64(s.Revision))
	switch {
	case errors.Is(err, ErrNoSettings):
		return true, insert(ctx, tx, s)
	case err != nil || sameContent(mine, s):
		return false, err
	case !later(s, mine):
		return false, nil // ours is in force on both; the peer keeps its own in its history
	}
	if _, err := tx.ExecContext(ctx, "UPDATE revisions SET superseded = 1 WHERE revision = ?", int64(s.Revision)); err != nil {
		return false, err
	}
	return true, insert(ctx, tx, s)
}

// Entry is one line of the history.
type Entry struct {
	Revision   uint64
	SavedAt    time.Time
	SavedBy    string
	Superseded bool // another revision of this number is in force
}

// History lists all stored revisions, newest first.
func (db *DB) History(ctx context.Context) ([]Entry, error) {
	rows, err := db.read.QueryContext(ctx, "SELECT revision, saved_at, saved_by, superseded FROM revisions ORDER BY revision DESC, id DESC")
	if err != nil {
		return nil, db.failed(err)
	}
	defer rows.Close()
	var list []Entry
	for rows.Next() {
		var e Entry
		var at int64
		if err := rows.Scan(&e.Revision, &at, &e.SavedBy, &e.Superseded); err != nil {
			return nil, db.failed(err)
		}
		e.SavedAt = time.Unix(0, at).UTC()
		list = append(list, e)
	}
	return list, db.failed(rows.Err())
}

// failed explains an error of this database; what is already a sentence of ours goes through.
func (db *DB) failed(err error) error {
	for _, known := range []error{ErrStale, ErrNoSettings, ErrSignIn, ErrNoSession, ErrUser, context.Canceled, context.DeadlineExceeded} {
		if err == nil || errors.Is(err, known) {
			return err
		}
	}
	return explain(SettingsFile, err)
}

// sameContent compares two revisions without their number, time and author.
func sameContent(a, b ha.Settings) bool {
	return bytes.Equal(content(a), content(b))
}

// later orders two revisions of one number: by time, and for equal times by content, so that both nodes choose the same.
func later(a, b ha.Settings) bool {
	if !a.SavedAt.Equal(b.SavedAt) {
		return a.SavedAt.After(b.SavedAt)
	}
	return bytes.Compare(content(a), content(b)) > 0
}

func content(s ha.Settings) []byte {
	s.Revision, s.SavedAt, s.SavedBy = 0, time.Time{}, ""
	s.General.References = orNil(s.General.References)
	s.Heartbeat.Devices = orNil(s.Heartbeat.Devices)
	s.Replication.Volumes = orNil(s.Replication.Volumes)
	s.Services = orNil(s.Services)
	s.Addresses = append([]ha.VirtualAddress(nil), s.Addresses...)
	for i := range s.Addresses {
		s.Addresses[i].Aliases = orNil(s.Addresses[i].Aliases)
	}
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // plain values: cannot fail
	}
	return data
}

// orNil makes empty and absent lists equal.
func orNil[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}
