package engine

import (
	"os"
	"path/filepath"
	"testing"

	"evenkeel/ha/control"
)

// A record that is damaged or gone is taken from its copy: a node that was disarmed and in standby stays so, whoever restarts its engine.
func TestDamagedRecordIsTakenFromItsCopy(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"damaged": func(path string) error { return os.WriteFile(path, []byte("x\n"), 0o600) },
		"gone":    os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, false)
			b.start()
			b.await("answering", func(s control.Status) bool { return s.ConfiguredRole != "" })
			if _, err := b.client.Standby(t.Context(), control.Switch{On: true}); err != nil {
				t.Fatal(err)
			}
			if _, err := b.client.Armed(t.Context(), control.Switch{On: false}); err != nil {
				t.Fatal(err)
			}
			b.end()
			if err := harm(filepath.Join(b.options.Config.StateDir, "engine", durableFile)); err != nil {
				t.Fatal(err)
			}
			b.start()
			s := b.await("names the file", func(s control.Status) bool { return saysCondition(s, "state.unreadable", "its copy is used") })
			if s.Armed || s.State != "standby" {
				t.Errorf("armed %v, %s: it was disarmed and in standby", s.Armed, s.State)
			}
		})
	}
}
