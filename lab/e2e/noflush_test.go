package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNoFlushLoses shows that the twenty kills can fail: in a build whose flushes do nothing, power cuts lose acknowledged entries or break the
// database. It kills alternately until something is gone.
func TestNoFlushLoses(t *testing.T) {
	proper := bin
	broken := filepath.Join(t.TempDir(), "evenkeel")
	cmd := exec.Command("go", "build", "-tags", "sqlite_omit_load_extension,osusergo,netgo,evenkeel_noflush", "-o", broken, "../..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build: %v\n%s", err, out)
	}
	bin = broken
	t.Cleanup(func() { bin = proper })
	l := upLab(t)
	l.settle(t, "a")
	var acked []ack
	for n := range 6 {
		w := l.startWriter(t, "client", guestbook)
		if !l.within(20*time.Second, growing(t, w)) {
			t.Logf("after %d kills nothing is acknowledged any more: the data are broken", n)
			return
		}
		acked = append(acked, w.stop(t)...)
		l.do(t, "kill", "a")
		l.do(t, "kill", "b")
		l.do(t, "start", "a")
		l.do(t, "start", "b")
		if why := l.damage(acked); why != "" {
			t.Logf("after %d power cuts of both: %s", n+1, why)
			return
		}
	}
	t.Errorf("without flushes nothing was lost in six power cuts of both nodes (%d entries): the proof of durability proves nothing", len(acked))
}

// within waits for a condition without failing.
func (l *lab) within(d time.Duration, ok func() bool) bool {
	for began := time.Now(); time.Since(began) < d; time.Sleep(pollEvery) {
		if ok() {
			return true
		}
	}
	return false
}

// damage waits for the pair to serve again and says what is gone or broken; empty = nothing.
func (l *lab) damage(acked []ack) string {
	master := ""
	if !l.within(40*time.Second, func() bool {
		for _, n := range []string{"a", "b"} {
			if s, ok := l.status(n); ok && serving(s) {
				master = n
			}
		}
		return master != ""
	}) {
		return "nobody can serve any more"
	}
	out, err := l.try(30*time.Second, "lab", "exec", master, "--", "sqlite3", "/srv/data/guestbook.db", "PRAGMA integrity_check")
	if err != nil || strings.TrimSpace(out) != "ok" {
		return "integrity_check says " + strings.TrimSpace(out)
	}
	out, err = l.try(30*time.Second, "lab", "exec", "client", "--", "curl", "-sS", "--fail", "--max-time", "20", guestbook)
	if err != nil {
		return "the guestbook answers no more"
	}
	missing := 0
	for _, a := range acked {
		if !strings.Contains(out, a.Text) {
			missing++
		}
	}
	if missing > 0 {
		return "acknowledged entries are gone"
	}
	return ""
}
