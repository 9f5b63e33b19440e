package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// How often the state folder is written to, so that a full or broken one is known before a decision rests on it; and the file for that.
const (
	roomEvery = 3 * time.Second
	roomFile  = "room.json"
)

// watchRoom writes to the state folder until ctx ends.
func (e *engine) watchRoom(ctx context.Context) {
	for ctx.Err() == nil {
		err := saveFile(filepath.Join(e.dir, roomFile), time.Now().UTC())
		e.post(func() { e.noteStore(err) })
		wait(ctx, roomEvery)
	}
}

// noteStore keeps whether the state folder takes what is written, and says so once when that changes.
func (e *engine) noteStore(err error) {
	switch {
	case err != nil && e.storeError == nil:
		e.log.Error("state cannot be stored", "error", err)
		e.note(control.Event{Log: "failover", Code: "state.not_stored", Severity: ha.Critical,
			Text: fmt.Sprintf("The engine's state cannot be stored (%v): nothing that rests on it is done.", err)})
	case err == nil && e.storeError != nil:
		e.note(control.Event{Log: "failover", Code: "state.stored", Severity: ha.Info, Text: "The engine's state can be stored again."})
	}
	e.storeError = err
}
