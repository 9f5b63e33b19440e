package engine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"evenkeel/ha/control"
)

// TestRestartWhileAway: an engine that comes up tells of processes that were started again while it was not there, itself among them; not of
// those that run since long, nor of those that never died.
func TestRestartWhileAway(t *testing.T) {
	young := exec.Command("sleep", "60")
	if err := young.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = young.Process.Kill()
		_ = young.Wait()
	})
	b := newBench(t, false)
	b.heart.peer = peerSlave
	list := fmt.Sprintf(`{"processes":[{"name":"engine","pid":%d,"restarts":1},{"name":"heart","pid":%[1]d,"restarts":0},{"name":"web","pid":0,"restarts":4}]}`, young.Process.Pid)
	if err := os.WriteFile(filepath.Join(b.options.Config.RunDir, processesFile), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	s := b.await("named", func(s control.Status) bool { return restartsNamed(s) != "" })
	if got := restartsNamed(s); got != "Process engine ended and was started again." {
		t.Errorf("named as restarted: %q; want the engine alone", got)
	}
	if !b.events.has("process.restarted") {
		t.Error("no event tells of it")
	}
}

// restartsNamed joins what the conditions say of restarted processes.
func restartsNamed(s control.Status) string {
	told := ""
	for _, c := range s.Conditions {
		if c.Code == "process.restarted" {
			told += c.Text
		}
	}
	return told
}
