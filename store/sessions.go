package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"strings"
	"time"
)

// How long a session lives (50-console).
const (
	SessionIdle = 30 * time.Minute
	SessionMax  = 12 * time.Hour
	seenEvery   = time.Minute // how exactly the last use is kept: a page must not cost a write
)

// StartSession stores a new session of a user under the hash of its token, and removes those that are over.
func (db *DB) StartSession(ctx context.Context, token, user, address, agent string) error {
	hash, now := sha256.Sum256([]byte(token)), db.now()
	return db.failed(inTransaction(ctx, db.write, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		w.exec("DELETE FROM sessions WHERE seen_at <= ? OR created_at <= ?", now.Add(-SessionIdle).UnixNano(), now.Add(-SessionMax).UnixNano())
		w.exec(`INSERT INTO sessions (token_hash, user_id, created_at, seen_at, address, agent)
			VALUES (?, (SELECT id FROM users WHERE name = ?), ?, ?, ?, ?)`, hash[:], user, now.UnixNano(), now.UnixNano(), address, agent)
		return w.err
	}))
}

// Session returns the user of a living session. due says that its last use was noted a while ago: TouchSession keeps it alive.
func (db *DB) Session(ctx context.Context, token string) (user string, due bool, err error) {
	hash, now := sha256.Sum256([]byte(token)), db.now()
	var created, seen int64
	err = db.read.QueryRowContext(ctx, `SELECT users.name, sessions.created_at, sessions.seen_at
		FROM sessions JOIN users ON users.id = sessions.user_id WHERE token_hash = ?`, hash[:]).Scan(&user, &created, &seen)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, ErrNoSession
	}
	if err != nil {
		return "", false, db.failed(err)
	}
	idle := now.Sub(time.Unix(0, seen))
	if idle >= SessionIdle || now.Sub(time.Unix(0, created)) >= SessionMax {
		return "", false, ErrNoSession
	}
	return user, idle >= seenEvery, nil
}

// TouchSession notes that a session is used now.
func (db *DB) TouchSession(ctx context.Context, token string) error {
	hash := sha256.Sum256([]byte(token))
	_, err := db.write.ExecContext(ctx, "UPDATE sessions SET seen_at = ? WHERE token_hash = ?", db.now().UnixNano(), hash[:])
	return db.failed(err)
}

// EndSession forgets a session; one that is not there is already forgotten.
func (db *DB) EndSession(ctx context.Context, token string) error {
	hash := sha256.Sum256([]byte(token))
	_, err := db.write.ExecContext(ctx, "DELETE FROM sessions WHERE token_hash = ?", hash[:])
	return db.failed(err)
}

// The audit log is bounded in rows, and each row in bytes: a stranger's refused sign-in is noted too.
const (
	auditKept  = 100_000
	auditWord  = 256     // bytes of user, address and action
	auditValue = 8 << 10 // bytes of the old and the new value
)

// Audit notes who changed or did what: user, the address that it came from, the action, and its old and new value. What is too
// long is cut.
func (db *DB) Audit(ctx context.Context, user, address, action, old, new string) error {
	return db.failed(inTransaction(ctx, db.write, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		id := w.exec("INSERT INTO audit (at, user, address, action, old_value, new_value) VALUES (?, ?, ?, ?, ?, ?)",
			db.now().UnixNano(), cut(user, auditWord), cut(address, auditWord), cut(action, auditWord), cut(old, auditValue), cut(new, auditValue))
		w.exec("DELETE FROM audit WHERE id <= ?", id-auditKept)
		return w.err
	}))
}

// cut shortens a text to at most most bytes, and shows that it did.
func cut(s string, most int) string {
	const mark = "..."
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-len(mark)], "") + mark
}

// AuditEntry is one row of the audit log.
type AuditEntry struct {
	At                              time.Time
	User, Address, Action, Old, New string
}

// Audits lists the newest limit entries, newest first.
func (db *DB) Audits(ctx context.Context, limit int) ([]AuditEntry, error) {
	rows, err := db.read.QueryContext(ctx, "SELECT at, user, address, action, old_value, new_value FROM audit ORDER BY id DESC LIMIT ?", limit)
	if err != nil {
		return nil, db.failed(err)
	}
	defer rows.Close()
	var list []AuditEntry
	for rows.Next() {
		var e AuditEntry
		var at int64
		if err := rows.Scan(&at, &e.User, &e.Address, &e.Action, &e.Old, &e.New); err != nil {
			return nil, db.failed(err)
		}
		e.At = time.Unix(0, at).UTC()
		list = append(list, e)
	}
	return list, db.failed(rows.Err())
}
