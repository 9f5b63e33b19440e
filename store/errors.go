package store

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/mattn/go-sqlite3"

	"evenkeel/ha"
)

// What can go wrong; ask with errors.Is.
var (
	// ErrCorrupt: the file is no database or damaged.
	ErrCorrupt = errors.New("the database is damaged")
	// ErrFull: the disk or folder is full.
	ErrFull = errors.New("the disk is full")
	// ErrBusy: another process held the database for longer than 5 s.
	ErrBusy = errors.New("the database is held by another process")
	// ErrNewer: a newer version of the program made the file.
	ErrNewer = errors.New("the database was made by a newer version")
	// ErrNoSettings: no revision is stored, or not that one.
	ErrNoSettings = errors.New("no such settings are stored")
	// ErrStale: somebody saved after the form was opened; the error is a *StaleError.
	ErrStale = errors.New("the settings were changed by somebody else meanwhile")
	// ErrSignIn: name and password do not belong together.
	ErrSignIn = errors.New("name or password is wrong")
	// ErrCrowded: more passwords wait to be checked than may wait.
	ErrCrowded = errors.New("too many passwords are checked at this moment")
	// ErrNoSession: the session is unknown, ended, or too old.
	ErrNoSession = errors.New("the session has ended")
	// ErrUser: a user's name or password cannot be accepted; the text says why.
	ErrUser = errors.New("the user cannot be stored")
)

// StaleError tells a form that was rendered from an older revision what stands now, so that both values can be shown.
type StaleError struct {
	Base  uint64      // the revision that the form was rendered from
	Newer ha.Settings // what is stored now
}

// Error says who was faster.
func (e *StaleError) Error() string {
	return fmt.Sprintf("%s saved revision %d after this form was opened at revision %d: compare both values and save again", e.Newer.SavedBy, e.Newer.Revision, e.Base)
}

// Is makes errors.Is(err, ErrStale) true.
func (e *StaleError) Is(target error) bool { return target == ErrStale }

// Latest is what is stored now.
func (e *StaleError) Latest() ha.Settings { return e.Newer }

// explain turns an error of SQLite into one sentence that names the file and what to do.
func explain(path string, err error) error {
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewer) {
		return unusable(path, err)
	}
	var sqlite sqlite3.Error
	if !errors.As(err, &sqlite) {
		return fmt.Errorf("%s: %w", path, err)
	}
	switch sqlite.Code {
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
		return unusable(path, fmt.Errorf("%w (%v)", ErrCorrupt, err))
	case sqlite3.ErrFull:
		return fmt.Errorf("%s was not changed: %w (%v); make room below its folder and try again", path, ErrFull, err)
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		return fmt.Errorf("%s was not changed: %w (%v); try again, and end the process if it stays", path, ErrBusy, err)
	case sqlite3.ErrIoErr:
		// A full disk can show itself as a failed write of the log file; the system's own word decides.
		if sqlite.SystemErrno != 0 && sqlite.SystemErrno.Error() == "no space left on device" {
			return fmt.Errorf("%s was not changed: %w (%v); make room below its folder and try again", path, ErrFull, err)
		}
		return fmt.Errorf("%s was not changed: its disk answers with an error (%v); look at the disk", path, err)
	case sqlite3.ErrCantOpen, sqlite3.ErrReadonly, sqlite3.ErrPerm:
		return fmt.Errorf("%s cannot be opened for writing (%v): check the owner and the mode of its folder", path, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// unusable says what to do about a file that cannot be used at all, and what that costs.
func unusable(path string, err error) error {
	first, cost := "", "the settings in force are stored again, users have to be added again"
	if errors.Is(err, ErrNewer) {
		first = "install that version again, or "
	}
	if filepath.Base(path) == EventsFile {
		cost = "a new log is begun, and the old one stays in what was moved away"
	}
	return fmt.Errorf("%s cannot be used: %w; %smove it away, with its -wal and -shm, and restart Evenkeel on this node: %s", path, err, first, cost)
}

// The questions below spare who only holds an interface the names of this package.

// Unset says whether an error of Latest means that nothing was ever saved.
func (db *DB) Unset(err error) bool { return errors.Is(err, ErrNoSettings) }

// WrongSignIn says whether an error of Authenticate means that name and password do not belong together.
func (db *DB) WrongSignIn(err error) bool { return errors.Is(err, ErrSignIn) }

// Crowded says whether an error of Authenticate means that the password was not looked at, because too many others are.
func (db *DB) Crowded(err error) bool { return errors.Is(err, ErrCrowded) }

// Full says whether an error means that nothing can be stored because the disk or folder is full.
func (db *DB) Full(err error) bool { return errors.Is(err, ErrFull) }

// SessionOver says whether an error of Session means that there is no such living session.
func (db *DB) SessionOver(err error) bool { return errors.Is(err, ErrNoSession) }
