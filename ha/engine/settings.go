package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// A revision that ends the engine this often, each time within crashWindow of being taken, is refused and the one before it is used.
const (
	crashLimit  = 3
	crashWindow = time.Minute
)

// settingsState is what belongs to the settings in force.
type settingsState struct {
	keys   [][]byte // of the beats, from root's key file
	digest uint32   // of the settings in force
	note   string   // why the newest revision is not in force; empty = it is
	remedy string   // against that
}

// taken is taken.json: how often an engine began with a revision within crashWindow of its taking.
type taken struct {
	Digest uint32
	At     time.Time
	Starts int
}

// firstSettings returns what the engine starts with: the newest revision, or what was in force before if that one is not readable, not valid, or
// ended the engine three times. If there is none at all it waits until one is saved.
func (e *engine) firstSettings(ctx context.Context) (ha.Settings, error) {
	keys, err := readKeys(e.o.Config.KeyFile)
	if err != nil {
		return ha.Settings{}, err
	}
	e.taken.keys = keys
	for {
		s, err := e.newestSettings(ctx)
		if err == nil && e.crashed(s) {
			e.refused.Store(s.Digest())
			err = fmt.Errorf("revision %d %w %d times within a minute of being taken", s.Revision, errEndsEngine, crashLimit)
		}
		if err == nil {
			return e.notOlder(ctx, s), nil
		}
		for _, name := range []string{settingsFile, previousFile} {
			last, lastErr := e.copyOfSettings(name)
			if lastErr == nil && errors.Is(err, ErrNoSettings) && e.refill(ctx, last, "held no settings", "Its users are gone with it: see evenkeel user list.") {
				return last, nil
			}
			if lastErr == nil && !e.crashed(last) {
				e.taken.note = fmt.Sprintf("The newest settings are not used (%v); revision %d stays in force.", err, last.Revision)
				e.taken.remedy = remedyFor(err)
				e.log.Error("settings not used", "error", err, "in_force", last.Revision)
				return last, nil
			}
		}
		e.log.Warn("waiting for settings", "error", err)
		if err := e.awaitSettings(ctx); err != nil {
			return ha.Settings{}, err
		}
	}
}

// errEndsEngine marks a revision under which the engine ended again and again.
var errEndsEngine = errors.New("ended the engine")

// remedyFor says what helps where the newest revision is not used. Only what stands in a database that can be read can be corrected in the console.
func remedyFor(err error) string {
	var fields ha.FieldErrors
	if errors.As(err, &fields) || errors.Is(err, errEndsEngine) {
		return "Correct the settings in the console and save them again."
	}
	return "Mend the settings database of this node as the text says; its console cannot be used before that."
}

// ErrNoSettings is the error of Latest where nothing is stored.
var ErrNoSettings = errors.New("no settings are stored")

// notOlder returns the engine's copy instead of an older newest revision: where the database's -wal is damaged or was lost, what stood in it is
// gone without an error.
func (e *engine) notOlder(ctx context.Context, newest ha.Settings) ha.Settings {
	last, err := e.copyOfSettings(settingsFile)
	if err != nil || last.Revision <= newest.Revision || last.Digest() == e.refused.Load() {
		return newest
	}
	why := fmt.Sprintf("held revision %d as its newest, although a later one was in force", newest.Revision)
	if !e.refill(ctx, last, why, "Users and passwords that were changed lately may be as they were before: see evenkeel user list.") {
		return newest
	}
	return last
}

// refill stores the engine's copy of the settings in a database that holds none or older ones: a part of it was lost, or it is a new one.
func (e *engine) refill(ctx context.Context, last ha.Settings, why, users string) bool {
	ctx, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	if _, err := e.o.Settings.Import(ctx, last); err != nil {
		e.log.Error("settings database not filled again", "error", err)
		return false
	}
	e.note(control.Event{Log: "failover", Code: "settings.refilled", Severity: ha.Warning,
		Text: fmt.Sprintf("The settings database %s: revision %d was stored again from the engine's copy. %s", why, last.Revision, users)})
	return true
}

// awaitSettings waits until somebody says that a revision is stored, and looks by itself every 2 s.
func (e *engine) awaitSettings(ctx context.Context) error {
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case f := <-e.inbox:
		f()
	case <-timer.C:
	}
	return nil
}

func (e *engine) newestSettings(ctx context.Context) (ha.Settings, error) {
	ctx, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	s, err := e.o.Settings.Latest(ctx)
	if err != nil {
		return s, err
	}
	return s, e.validate(s)
}

// validate reads settings as if a stranger had written them.
func (e *engine) validate(s ha.Settings) error {
	limits := ha.Limits{BackingPrefixes: e.o.Config.Allow.Backing, MountPrefixes: e.o.Config.Allow.Mounts, Catalogue: []string{}}
	for _, service := range e.o.Catalogue {
		limits.Catalogue = append(limits.Catalogue, service.Name)
	}
	if problems := s.Validate(limits); len(problems) > 0 {
		return problems
	}
	if e.node != s.General.MasterNode && e.node != s.General.SlaveNode {
		return ha.FieldErrors{{Field: "general.master_node", Text: fmt.Sprintf("This node is %s, the settings are of %s and %s: set node in evenkeel.toml, or pair again.",
			e.node, s.General.MasterNode, s.General.SlaveNode)}}
	}
	return nil
}

func (e *engine) copyOfSettings(name string) (ha.Settings, error) {
	var s ha.Settings
	path := filepath.Join(e.dir, name)
	err := loadFile(path, &s)
	if errors.Is(err, errCorrupt) {
		setAside(path)
	}
	if err != nil {
		return s, err
	}
	return s, e.validate(s)
}

// crashed counts this start against the revision, if it is within crashWindow of its taking, and says whether it began too often. A revision
// without a predecessor is never refused: there is nothing to go back to.
func (e *engine) crashed(s ha.Settings) bool {
	var t taken
	path := filepath.Join(e.dir, takenFile)
	if loadFile(path, &t) != nil || t.Digest != s.Digest() || time.Since(t.At) > crashWindow {
		return false
	}
	t.Starts++
	if err := saveFile(path, t); err != nil {
		e.log.Warn("start not counted", "error", err)
	}
	if t.Starts <= crashLimit {
		return false
	}
	previous, err := e.copyOfSettings(previousFile)
	return err == nil && previous.Digest() != s.Digest()
}

// take puts settings in force: volumes, references, links; addresses and services follow in the next step.
func (e *engine) take(s ha.Settings) {
	previous := e.settings
	e.settings, e.taken.digest = s, s.Digest()
	e.applyVolumes(s)
	e.shells.checks.SetReferences(s.General.References)
	if previous.Revision == s.Revision && previous.Digest() == s.Digest() {
		return
	}
	if previous.Revision != 0 {
		e.note(control.Event{Log: "failover", Code: "settings.applied", Severity: ha.Info, Text: fmt.Sprintf("Settings revision %d is in force.", s.Revision)})
	}
	e.goRun("keep settings", func(context.Context) {
		if err := e.keepSettings(s); err != nil {
			e.log.Warn("copy of the settings not kept", "error", err)
		}
	})
}

// keepSettings copies the revision that is in force, and the one before it, beside the engine's own state.
func (e *engine) keepSettings(s ha.Settings) error {
	path := filepath.Join(e.dir, settingsFile)
	var old ha.Settings
	if loadFile(path, &old) == nil {
		if old.Revision == s.Revision && old.Digest() == s.Digest() {
			return nil
		}
		if err := saveFile(filepath.Join(e.dir, previousFile), old); err != nil {
			return err
		}
	}
	if err := saveFile(filepath.Join(e.dir, takenFile), taken{Digest: s.Digest(), At: time.Now()}); err != nil {
		return err
	}
	return saveFile(path, s)
}

// loadRevision is "revision N is there": it is read, checked, put in force and sent to the peer.
func (e *engine) loadRevision(ctx context.Context, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := e.o.Settings.Load(ctx, revision)
	if err != nil {
		return &control.Error{Exit: control.ExitFailed, Code: "settings_unreadable", Text: fmt.Sprintf("Revision %d cannot be read: %v.", revision, err)}
	}
	if err := e.useSettings(ctx, s); err != nil {
		return err
	}
	e.sendSettings(s)
	return nil
}

// importSettings takes a revision of the peer's: checked before it is stored, stored before it is in force.
func (e *engine) importSettings(ctx context.Context, s ha.Settings) error {
	if err := e.validate(s); err != nil {
		return invalid(s, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	replaced, err := e.o.Settings.Import(ctx, s)
	if err != nil {
		return &control.Error{Exit: control.ExitFailed, Code: "settings_not_stored", Text: fmt.Sprintf("Revision %d of the other node cannot be stored: %v.", s.Revision, err)}
	}
	newest, err := e.newestSettings(ctx) // the database decides which of two is newer
	if err != nil {
		return &control.Error{Exit: control.ExitFailed, Code: "settings_unreadable", Text: fmt.Sprintf("The settings cannot be read again: %v.", err)}
	}
	if err := e.useSettings(ctx, newest); err != nil {
		return err
	}
	e.noteOverridden(ctx, replaced, s)
	return nil
}

// useSettings checks a revision and puts it in force, unless a newer one is.
func (e *engine) useSettings(ctx context.Context, s ha.Settings) error {
	if err := e.validate(s); err != nil {
		return invalid(s, err)
	}
	if s.Digest() == e.refused.Load() {
		return invalid(s, errors.New("it ended the engine several times within a minute"))
	}
	return e.ask(ctx, 10*time.Second, func() {
		if s.Revision >= e.settings.Revision {
			e.taken.note = ""
			e.take(s)
		}
	})
}

func invalid(s ha.Settings, err error) error {
	refusal := &control.Error{Exit: control.ExitRefused, Code: "settings_invalid", Text: fmt.Sprintf("Revision %d is not taken: %v.", s.Revision, err)}
	var fields ha.FieldErrors
	if errors.As(err, &fields) {
		refusal.Fields = fields
	}
	return refusal
}

// readKeys reads root's key file: one or two lines of 64 hex digits, the first signs.
func readKeys(path string) ([][]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the key of the beats: %w: pair the nodes, or name the right key_file", err)
	}
	var keys [][]byte
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			continue
		}
		key, err := hex.DecodeString(text)
		if err != nil || len(key) != 32 {
			return nil, fmt.Errorf("%s: line %d is not 64 hex digits: write the key again on both nodes", path, len(keys)+1)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 || len(keys) > 2 {
		return nil, fmt.Errorf("%s holds %d keys: it must hold one, or two while one is replaced", path, len(keys))
	}
	return keys, nil
}
