package e2e

import (
	"strings"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// testCorruptDatabase spoils a's settings.db and restarts what reads it: the revision in force stays, the sentence names the file, and the
// repair that it proposes works.
func (l *lab) testCorruptDatabase(t *testing.T) {
	before := l.standing(t)
	l.in(t, "a", "sh", "-c", "cd /var/lib/evenkeel && mkdir keep && cp -a settings.db* keep/ && rm settings.db-wal settings.db-shm && head -c 65536 /dev/urandom > settings.db")
	l.do(t, "kill", "a", "engine")
	l.is(t, 20*time.Second, "a", "says that the newest settings are not used", func(s control.Status) bool {
		return isMaster(s) && anyText(s, "settings.refused", "settings.db")
	})
	l.complains(t, control.ExitFailed, "settings.db cannot be used", "", onNode("a", "config", "export")...)
	l.complains(t, control.ExitFailed, "settings.db cannot be used", "", onNode("a", "user", "list")...)
	l.do(t, "kill", "a", "web")
	page := func(words string) {
		t.Helper()
		l.await(t, 20*time.Second, "a's console says: "+words, func() bool {
			out, _ := l.try(10*time.Second, "lab", "exec", "client", "--", "curl", "-skL", "--max-time", "5", "https://10.88.1.1:8443/")
			return strings.Contains(out, words)
		})
	}
	page("cannot use its settings database")
	l.unmoved(t, before, "a engine", "a web")
	l.in(t, "a", "sh", "-c", "cd /var/lib/evenkeel && rm settings.db* && cp -a keep/settings.db* . && rm -r keep")
	l.do(t, "kill", "a", "engine")
	page("/signin")
	l.is(t, 20*time.Second, "a", "reads its settings again", func(s control.Status) bool {
		return isMaster(s) && condition(s, "settings.refused") == nil
	})
	if out := l.run(t, onNode("a", "user", "list")...); !strings.Contains(out, "admin") {
		t.Errorf("the users are gone: %s", out)
	}
	l.in(t, "b", "sh", "-c", "cd /var/lib/evenkeel && rm settings.db-wal settings.db-shm && : > settings.db && rm events.db-wal events.db-shm && echo x > events.db")
	l.do(t, "kill", "b", "web") // it holds the lost file
	l.do(t, "kill", "b", "engine")
	l.is(t, 20*time.Second, "b", "says that events are not kept", func(s control.Status) bool { return isSlave(s) && anyText(s, "events.not_kept", "events.db") })
	if out := l.run(t, onNode("b", "config", "history")...); !strings.HasPrefix(out, "1 ") {
		t.Errorf("b did not store its settings again: %s", out)
	}
	l.in(t, "b", "sh", "-c", "rm /var/lib/evenkeel/events.db*")
	l.do(t, "kill", "b", "engine")
	l.is(t, 20*time.Second, "b", "keeps events again", func(s control.Status) bool { return isSlave(s) && condition(s, "events.not_kept") == nil })
}

// testCorruptState spoils the engine's record on both nodes, one after the other: the role stays, the file is kept aside.
func (l *lab) testCorruptState(t *testing.T) {
	for _, node := range []string{"b", "a"} {
		before := l.standing(t)
		l.in(t, node, "sh", "-c", "echo '{\"version\":1,\"crc\":\"00000000\",\"body\":{}}' > /var/lib/evenkeel/engine/durable.json")
		l.do(t, "kill", node, "engine")
		l.is(t, 20*time.Second, node, "names the unreadable file", func(s control.Status) bool {
			return anyText(s, "state.unreadable", "durable.json")
		})
		l.settle(t, "a")
		l.unmoved(t, before, node+" engine")
		l.in(t, node, "test", "-s", "/var/lib/evenkeel/engine/durable.json.corrupt")
	}
}

// testStateFull fills a's state folder: a goes on serving, says so, saves nothing, gives nothing away; with room again everything works.
func (l *lab) testStateFull(t *testing.T) {
	before := l.standing(t)
	history := l.run(t, onNode("a", "config", "history")...)
	l.do(t, "state-disk", "a", "full")
	l.is(t, 20*time.Second, "a", "says that its state cannot be stored", func(s control.Status) bool {
		return isMaster(s) && anyText(s, "state.not_stored", "no space left")
	})
	s := l.settings(t, "a")
	setAt(s, "heartbeat.cluster_id", 7)
	l.complains(t, control.ExitFailed, "disk is full", text(t, s), onNode("a", "config", "import", "-")...)
	l.complains(t, control.ExitFailed, "disk is full", "secret-enough-1\n", onNode("a", "user", "add", "eve")...)
	l.complains(t, control.ExitRefused, "cannot be stored", "", onNode("a", "release")...)
	l.in(t, "client", "curl", "-sS", "--fail", "--max-time", "20", "-d", "written while the state folder is full", guestbook)
	l.unmoved(t, before)
	l.do(t, "state-disk", "a", "ok")
	l.is(t, 20*time.Second, "a", "stores its state again", func(s control.Status) bool { return isMaster(s) && condition(s, "state.not_stored") == nil })
	if after := l.run(t, onNode("a", "config", "history")...); after != history {
		t.Errorf("something was saved:\n%s", after)
	}
	l.unmoved(t, before)
	l.run(t, "--node", "a", "disarm")
	l.run(t, "--node", "a", "arm")
	l.run(t, onNode("a", "config", "revert", "1")...)
}
