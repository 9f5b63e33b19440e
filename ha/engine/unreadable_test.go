package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"evenkeel/ha"
)

// A damaged helper is set aside and named once, with what is lost; one that is whole, or not there, is not.
func TestUnreadableHelpers(t *testing.T) {
	b := newPair(t)
	b.start()
	b.await("whole", whole)
	dir := filepath.Join(b.options.Config.StateDir, "engine")
	for _, name := range []string{settingsFile, takenFile, roomFile} {
		awaitFile(t, filepath.Join(dir, name))
	}
	b.end()
	if text := b.events.text("state.unreadable"); text != "" {
		t.Errorf("files that are whole: %s", text)
	}
	damaged := []string{previousFile, takenFile, roomFile}
	for _, name := range damaged {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(`{"version":1,"crc":"00000000","body":{}}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.start()
	b.await("master again", isState(ha.Master))
	b.end()
	for _, name := range damaged {
		if _, err := os.Stat(filepath.Join(dir, name+".corrupt")); err != nil {
			t.Errorf("the damaged file is gone: %v", err)
		}
		told := 0
		for _, e := range b.events.all {
			if e.Code == "state.unreadable" && strings.Contains(e.Text, filepath.Join(dir, name)+" was not readable") {
				told++
			}
		}
		if told != 1 {
			t.Errorf("%s is named %d times, want once", name, told)
		}
	}
}
