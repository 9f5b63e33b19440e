package e2e

import (
	"strings"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// TestCuts pulls every cable of the lab's list and waits for how it ends (60-lab, "What cuts end in"): no role change, each cut named by its
// conditions on both nodes, and everything as before when it is joined. A client inside a, whom no cut reaches, writes through all of it.
func TestCuts(t *testing.T) {
	l := upLab(t)
	l.calm(t, "a")
	w := l.startWriter(t, "a", "http://127.0.0.1:8080/entries")
	const serial, lan, wan, sync = "ttyS0", "lan", "wan", "sync"
	for _, c := range []struct {
		cut   []string // cables, or one with its flags
		quiet []string // links that both nodes name as quiet
	}{
		{[]string{"serial"}, []string{serial}},
		{[]string{"lan"}, []string{lan}},
		{[]string{"a:lan"}, []string{lan}},
		{[]string{"wan"}, []string{wan}},
		{[]string{"serial", "lan"}, []string{serial, lan}},
		{[]string{"sync"}, []string{sync}},
		{[]string{"sync --silent"}, []string{sync}},
		{[]string{"serial", "sync"}, []string{serial, sync}},
		{[]string{"lan", "sync"}, []string{lan, sync}},
		{[]string{"lan", "wan", "sync"}, []string{lan, wan, sync}}, // the serial line alone carries the request and its answer
	} {
		ok := t.Run(strings.Join(c.cut, "+"), func(t *testing.T) {
			before, _ := l.status("a")
			cut := time.Now()
			for _, what := range c.cut {
				l.do(t, append([]string{"cut"}, strings.Fields(what)...)...)
			}
			for _, node := range []string{"a", "b"} {
				l.is(t, 20*time.Second, node, "names the cut", func(s control.Status) bool { return namesQuiet(s, c.quiet) })
			}
			if strings.Contains(strings.Join(c.cut, " "), "sync") {
				l.goneAlone(t)
			}
			l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
			t.Logf("named, and writes go on, %.2f s after the cut; longest pause of the writes %v", time.Since(cut).Seconds(), longestGap(w.acks(t), cut))
			a, _ := l.status("a")
			if b, _ := l.status("b"); a.State != "master" || b.State != "slave" || a.Epoch != before.Epoch {
				t.Errorf("the roles changed: a %s, b %s, epoch %v to %v", a.State, b.State, before.Epoch, a.Epoch)
			}
			for _, what := range c.cut {
				l.do(t, "join", strings.Fields(what)[0])
			}
			l.calm(t, "a")
		})
		if !ok {
			return // the next cut would be judged from where this one got stuck
		}
	}
	acked := w.stop(t)
	mustHold(t, l.entries(t), acked)
}

// TestStrandedMaster cuts the master's secure LAN and its replication cable at once, as a dying card does. The other links live, so it could have
// the slave Outdated and stay master where no client reaches it. It hands over instead (safety.md 14).
func TestStrandedMaster(t *testing.T) {
	l := upLab(t)
	l.calm(t, "a")
	w := l.startWriter(t, "client", guestbook)
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	cut := time.Now()
	l.do(t, "cut", "a:lan")
	l.do(t, "cut", "a:sync")
	l.is(t, 20*time.Second, "b", "serves", serving)
	l.await(t, 20*time.Second, "entries are acknowledged again", growing(t, w))
	t.Logf("b serves %.2f s after the cut; longest pause of the writes %v", time.Since(cut).Seconds(), longestGap(w.acks(t), cut))
	l.is(t, 10*time.Second, "a", "is the slave", isSlave)
	if !anyEvent(l, "a", "the secure lan is lost on this node") {
		t.Error("a does not say why")
	}
	l.do(t, "join", "a:lan")
	l.do(t, "join", "a:sync")
	l.calm(t, "b")
	acked := w.stop(t)
	mustHold(t, l.entries(t), acked)
	l.checkData(t, "b")
}

// namesQuiet says whether a node names exactly these links as quiet, and the last one left as single.
func namesQuiet(s control.Status, quiet []string) bool {
	for _, link := range s.Links {
		want := false
		for _, q := range quiet {
			want = want || strings.HasSuffix(link.Name, q)
		}
		if anyText(s, "link.quiet", link.Name) != want || (link.State == "quiet") != want {
			return false
		}
	}
	return (condition(s, "link.single") != nil) == (len(s.Links)-len(quiet) == 1) && s.Peer.Alive
}

// goneAlone: a goes on alone on b's stored Outdated, b refuses to take over and says why, and both name it.
func (l *lab) goneAlone(t *testing.T) {
	t.Helper()
	l.is(t, 20*time.Second, "a", "goes on alone on b's answer", func(s control.Status) bool {
		v := s.Volumes[0]
		return isMaster(s) && v.Permission != nil && *v.Permission == "peer_outdated" && condition(s, "replication.disconnected") != nil && condition(s, "volume.alone") != nil
	})
	l.is(t, 20*time.Second, "b", "is Outdated", func(s control.Status) bool {
		return isSlave(s) && s.Volumes[0].Disk == "Outdated" && condition(s, "volume.outdated") != nil && condition(s, "replication.disconnected") != nil &&
			hasBlocker(s, "disk_outdated")
	})
	l.refusesPromotion(t, "b", "outdated")
}

// hasBlocker says whether a node could not become master, for a reason.
func hasBlocker(s control.Status, code string) bool {
	for _, b := range s.Takeover.Blockers {
		if b.Code == code {
			return !s.Takeover.Possible
		}
	}
	return false
}

// refusesPromotion asks a node to take over: it refuses and says why.
func (l *lab) refusesPromotion(t *testing.T, node, why string) {
	t.Helper()
	code, out := l.exitCode(t, "--node", node, "takeover")
	if code != control.ExitRefused || !strings.Contains(strings.ToLower(out), why) {
		t.Errorf("takeover on %s: exit %d (want %d) and a sentence with %q: %s", node, code, control.ExitRefused, why, out)
	}
}

func anyText(s control.Status, code, text string) bool {
	for _, c := range s.Conditions {
		if c.Code == code && strings.Contains(c.Text, text) {
			return true
		}
	}
	return false
}

// calm is settle, and no node has anything left to complain of in links, peer, replication, volumes or reference points.
func (l *lab) calm(t *testing.T, master string) {
	t.Helper()
	l.settle(t, master)
	for _, node := range []string{"a", "b"} {
		l.is(t, 20*time.Second, node, "has no complaint", func(s control.Status) bool {
			for _, c := range s.Conditions {
				switch kind, _, _ := strings.Cut(c.Code, "."); kind {
				case "link", "peer", "replication", "volume", "reference":
					return false
				}
			}
			return inSync(s) && (node == master || s.Takeover.Possible) // a slave that has just met its master may not have heard that yet
		})
	}
}

// TestOneWay: frames to a vanish; b still hears a, and the link's condition says one way. No role changes.
func TestOneWay(t *testing.T) {
	l := upLab(t, "--no-volume")
	l.await(t, 30*time.Second, "a serves", func() bool { s, ok := l.status("a"); return ok && serving(s) && s.Peer.Alive })
	before, _ := l.status("a")
	l.do(t, "cut", "lan", "--to", "a")
	l.is(t, 20*time.Second, "b", "names the one-way link", func(s control.Status) bool { return anyText(s, "link.one_way", "lan") })
	l.is(t, 20*time.Second, "a", "names the quiet link", func(s control.Status) bool { return anyText(s, "link.quiet", "lan") })
	if a, _ := l.status("a"); a.State != "master" || a.Epoch != before.Epoch {
		t.Errorf("the roles changed: a %s, epoch %v to %v", a.State, before.Epoch, a.Epoch)
	}
	l.do(t, "join", "lan")
	for _, node := range []string{"a", "b"} {
		l.is(t, 20*time.Second, node, "has no complaint", func(s control.Status) bool {
			return condition(s, "link.one_way") == nil && condition(s, "link.quiet") == nil
		})
	}
}
