package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"evenkeel/replication"

	"github.com/google/renameio/v2"
)

// word is the file NAME.said.json in the state folder: the peer was told, under this epoch, that there is no disk here, and may have gone on alone since. It
// cannot be stored with the data, because there were none; it stands until there is a disk again, in whichever process.
type word struct {
	Version int               `json:"version"` // 1
	Epoch   replication.Epoch `json:"epoch"`   // of the peer's request
}

func (l *loop) wordPath() string { return filepath.Join(l.config.StateDir, l.config.Name+".said.json") }

// sayFailed keeps the word before it is given.
func (l *loop) sayFailed(asked replication.Epoch) error {
	if l.saidFailed != nil && *l.saidFailed == asked {
		return nil
	}
	b, err := json.Marshal(word{1, asked})
	if err == nil {
		err = os.MkdirAll(l.config.StateDir, 0o700)
	}
	if err == nil {
		err = renameio.WriteFile(l.wordPath(), append(b, '\n'), 0o600)
	}
	if err == nil { // the new name too must outlive a power cut: the peer acts on the word
		err = syncFolder(l.config.StateDir)
	}
	if err != nil {
		return fmt.Errorf("the answer that there is no disk here cannot be kept, so it is not given: %w", err)
	}
	l.saidFailed = &asked
	return nil
}

// recallWord finds what a process before this one said. A damaged file is a word of an epoch that nobody knows: it costs the licence.
func (l *loop) recallWord() {
	b, err := os.ReadFile(l.wordPath())
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var w word
	if err == nil {
		err = json.Unmarshal(b, &w)
	}
	if err != nil || w.Version != 1 {
		l.log.Error("what the peer was told without a disk cannot be read: the licence ends", "file", l.wordPath(), "why", err)
		w.Epoch = replication.Epoch{}
	}
	l.saidFailed = &w.Epoch
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// keepSaidFailed lets a disk that came back stand by what the peer was told without it: the peer may have gone on alone on that word. A disk that never had a
// peer is not the one of which it was said: a person has begun anew.
func (l *loop) keepSaidFailed() {
	if l.saidFailed == nil {
		return
	}
	next, err := l.state.Outdate(*l.saidFailed)
	switch {
	case l.state.NeverHadPeer():
		next = l.state
	case *l.saidFailed == replication.Epoch{}:
		next = l.state.EndLicence("said_unknown")
	case err != nil:
		l.log.Info("the disk is not Outdated, as the peer was told", "why", err)
		next = l.state
	}
	if err := l.save(next); err != nil {
		l.diskFailed(err)
		return
	}
	l.saidFailed = nil
	if err := os.Remove(l.wordPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		l.log.Warn("the word is kept, and not needed any more", "file", l.wordPath(), "why", err)
	}
}
