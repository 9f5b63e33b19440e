package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// helpers are the files without which the engine begins as well, and what is lost with each.
var helpers = []struct{ name, lost string }{
	{settingsFile, "the engine's own copy of the settings in force is made again from the database"},
	{previousFile, "settings that end the engine again and again cannot give way to the revision before them until the next one is saved"},
	{takenFile, "how often the engine ended under the newest settings is counted from nothing"},
	{timesFile, "a dry run cannot say how long each step took last"},
	{roomFile, "nothing is lost, it only proves that the folder takes what is written"},
}

// setAsideUnreadable moves damaged helpers aside before they are read or written again, and names each once.
func (e *engine) setAsideUnreadable() {
	for _, h := range helpers {
		path := filepath.Join(e.dir, h.name)
		var body json.RawMessage
		err := loadFile(path, &body)
		if !errors.Is(err, errCorrupt) {
			continue
		}
		setAside(path)
		e.log.Warn("a state file was not readable", "file", path, "error", err, "kept_as", path+".corrupt", "lost", h.lost)
		e.note(control.Event{Log: "failover", Code: "state.unreadable", Severity: ha.Warning,
			Text: fmt.Sprintf("The file %s was not readable and is kept as %s.corrupt: %s.", path, h.name, h.lost)})
	}
}
