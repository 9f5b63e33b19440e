package store

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// Parameters of argon2id: OWASP's minimum. At most hashesAtOnce hashes run together, so that a flood of sign-ins takes neither
// the memory nor both processors of the machine; at most hashesWaiting wait for them, so that nobody stands behind a flood.
const (
	argonMemory = 19456 // KiB
	argonTime   = 2     // passes
	argonLanes  = 1
	argonKey    = 32 // bytes
	argonSalt   = 16 // bytes

	hashesAtOnce  = 2
	hashesWaiting = 4

	passwordMin = 10  // characters
	passwordMax = 256 // bytes
	nameMax     = 64  // characters
)

// User is an administrator.
type User struct {
	Name      string
	CreatedAt time.Time
}

// AddUser stores a new administrator. A name is 1 to 64 characters without spaces, a password at least 10 characters.
func (db *DB) AddUser(ctx context.Context, name, password string) error {
	if name == "" || utf8.RuneCountInString(name) > nameMax || strings.ContainsAny(name, " \t\r\n") {
		return fmt.Errorf("%w: a name is 1 to %d characters without spaces", ErrUser, nameMax)
	}
	hash, err := db.hash(ctx, password)
	if err != nil {
		return err
	}
	return db.failed(inTransaction(ctx, db.write, func(tx *sql.Tx) error {
		var there int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM users WHERE name = ?", name).Scan(&there); err != nil {
			return err
		}
		if there > 0 {
			return fmt.Errorf("%w: there is already a user %s; choose another name, or set that one's password", ErrUser, name)
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO users (name, hash, created_at) VALUES (?, ?, ?)", name, hash, db.now().UnixNano())
		return err
	}))
}

// SetPassword replaces a user's password and ends all sessions of that user.
func (db *DB) SetPassword(ctx context.Context, name, password string) error {
	hash, err := db.hash(ctx, password)
	if err != nil {
		return err
	}
	return db.failed(inTransaction(ctx, db.write, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, "UPDATE users SET hash = ? WHERE name = ?", hash, name)
		if err != nil {
			return err
		}
		if n, _ := result.RowsAffected(); n == 0 {
			return fmt.Errorf("%w: there is no user %s; see the list of users", ErrUser, name)
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM sessions WHERE user_id = (SELECT id FROM users WHERE name = ?)", name)
		return err
	}))
}

// Users lists all users by name.
func (db *DB) Users(ctx context.Context) ([]User, error) {
	rows, err := db.read.QueryContext(ctx, "SELECT name, created_at FROM users ORDER BY name")
	if err != nil {
		return nil, db.failed(err)
	}
	defer rows.Close()
	var list []User
	for rows.Next() {
		var u User
		var at int64
		if err := rows.Scan(&u.Name, &at); err != nil {
			return nil, db.failed(err)
		}
		u.CreatedAt = time.Unix(0, at).UTC()
		list = append(list, u)
	}
	return list, db.failed(rows.Err())
}

// Authenticate returns the user's stored name, or ErrSignIn. An unknown name takes as long as a wrong password, so that
// the answer's time does not tell which names exist; a name or password that nobody can have is wrong at once. ErrCrowded says
// that the password was not looked at.
func (db *DB) Authenticate(ctx context.Context, name, password string) (string, error) {
	if utf8.RuneCountInString(name) > nameMax || len(password) > passwordMax {
		return "", ErrSignIn
	}
	stored, hash := "", missing
	err := db.read.QueryRowContext(ctx, "SELECT name, hash FROM users WHERE name = ?", name).Scan(&stored, &hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", db.failed(err)
	}
	if err := db.enter(ctx); err != nil {
		return "", err
	}
	defer db.leave()
	good, err := verify(hash, password)
	if err != nil {
		return "", fmt.Errorf("the stored password of %s cannot be read (%v): set it anew", name, err)
	}
	if !good || stored == "" {
		return "", ErrSignIn
	}
	return stored, nil
}

// missing is the hash that an unknown name is compared with: well formed, of no password.
const missing = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// hash checks a new password's length and returns its PHC string.
func (db *DB) hash(ctx context.Context, password string) (string, error) {
	if utf8.RuneCountInString(password) < passwordMin || len(password) > passwordMax {
		return "", fmt.Errorf("%w: a password has at least %d characters and at most %d bytes", ErrUser, passwordMin, passwordMax)
	}
	if err := db.enter(ctx); err != nil {
		return "", err
	}
	defer db.leave()
	salt := make([]byte, argonSalt)
	rand.Read(salt) // never fails: crypto/rand ends the program first
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonLanes, argonKey)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonLanes, encode(salt), encode(key)), nil
}

// verify reads a PHC string and compares; the parameters are the stored ones, within bounds.
func verify(phc, password string) (bool, error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, errors.New("it is no argon2id hash")
	}
	var version int
	var memory, passes uint32
	var lanes uint8
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false, errors.New("its version is unknown")
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &lanes); err != nil || memory > 1<<20 || passes == 0 || passes > 100 || lanes == 0 {
		return false, errors.New("its parameters are out of bounds")
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false, errors.New("its salt is not readable")
	}
	key, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(key) == 0 {
		return false, errors.New("its key is not readable")
	}
	got := argon2.IDKey([]byte(password), salt, passes, memory, lanes, uint32(len(key)))
	return subtle.ConstantTimeCompare(got, key) == 1, nil
}

// enter waits for a place among the hashes that may run at once, unless too many wait already.
func (db *DB) enter(ctx context.Context) error {
	select {
	case db.queue <- struct{}{}:
	default:
		return ErrCrowded
	}
	select {
	case db.hashes <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-db.queue
		return ctx.Err()
	}
}

func (db *DB) leave() {
	<-db.hashes
	<-db.queue
}
