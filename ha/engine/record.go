package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"evenkeel/ha"
)

// loadDurable reads what the engine must not forget. A record that is damaged or gone is taken from its copy. Where both are, the epoch comes from the
// volumes and from the peer's beats, and what this machine is found doing in this boot stands in for the record: armed, and not in standby.
func (e *engine) loadDurable() {
	path := filepath.Join(e.dir, durableFile)
	e.durable = ha.Durable{Armed: true}
	err := loadFile(path, &e.durable)
	if err == nil {
		return
	}
	if errors.Is(err, errCorrupt) {
		setAside(path)
	}
	absent := errors.Is(err, fs.ErrNotExist)
	var d ha.Durable
	copied := loadFile(filepath.Join(e.dir, durableCopy), &d)
	if errors.Is(copied, errCorrupt) {
		setAside(filepath.Join(e.dir, durableCopy))
	}
	switch {
	case copied == nil:
		e.durable = d
		e.stateNote = fmt.Sprintf("%v; its copy is used", err)
		e.noteStore(saveFile(path, d))
	case absent && errors.Is(copied, fs.ErrNotExist):
		e.durable, e.noRecord = ha.Durable{Armed: true}, true
		return
	default:
		e.durable, e.recordLost = ha.Durable{Armed: true}, true
		e.stateNote = fmt.Sprintf("%v; the epoch is taken from the volumes and the peer; this node is armed and not in standby now, whatever it was", err)
	}
	e.log.Error("durable state unreadable", "error", err, "copy", copied)
}

// loadVows reads what was said of volumes that are not in the settings.
func (e *engine) loadVows() {
	path := filepath.Join(e.dir, vowsFile)
	if err := loadFile(path, &e.vows); err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.log.Error("vows unreadable", "error", err)
		e.vowsNote = fmt.Sprintf("%v; what this node promised about volumes that it does not have is not known", err)
		setAside(path)
	}
}

// store makes d durable: its copy first, so that the copy is never older than the record.
func (e *engine) store(d ha.Durable) bool {
	err := saveFile(filepath.Join(e.dir, durableCopy), d)
	if err == nil {
		err = saveFile(filepath.Join(e.dir, durableFile), d)
	}
	e.noteStore(err)
	if err != nil {
		return false
	}
	e.durable = d
	return true
}
