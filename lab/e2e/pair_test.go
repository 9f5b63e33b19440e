package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// armDeath makes a node's engine kill itself once at a step (only where evenkeel.toml turns faults on); the file it returns is gone once it did.
func (l *lab) armDeath(t *testing.T, node, at string) (file string) {
	t.Helper()
	file = filepath.Join(l.dir, node, "run", "die-at")
	if err := os.WriteFile(file, []byte(at), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// contract lists the fields of status --json that programs may rely on (60-lab), by object.
var contract = map[string][]string{
	"": {"node", "configured_role", "running_role", "state", "state_reason", "epoch", "armed", "attention", "peer", "links", "volumes", "addresses",
		"services", "conditions", "takeover"},
	"epoch":       {"counter", "node"},
	"peer":        {"alive", "verdict", "running_role", "last_heard_ms"},
	"links[]":     {"name", "kind", "state", "last_heard_ms", "lost", "heard_by_peer"},
	"volumes[]":   {"name", "role", "disk", "peer_disk", "connection", "out_of_sync_bytes", "resync", "generation", "split_brain", "permission", "holding", "licence", "device", "mount"},
	"addresses[]": {"address", "device", "held"},
	"services[]":  {"name", "placement", "state"},
	"takeover":    {"possible", "blockers"},
}

// TestPair goes once through a healthy pair: the contract, a switch-over and back under load, an address deleted by hand, settings that change both.
func TestPair(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	t.Run("contract", func(t *testing.T) { l.testContract(t) })
	t.Run("switch-over", func(t *testing.T) { l.testSwitchOver(t) })
	t.Run("address deleted by hand", func(t *testing.T) { l.testAddressBack(t) })
	t.Run("settings", func(t *testing.T) { l.testSettings(t) })
	t.Run("orderly stop leaves equal areas", func(t *testing.T) { l.checkData(t, "a") })
}

func (l *lab) testContract(t *testing.T) {
	for _, node := range []string{"a", "b"} {
		for _, how := range [][]string{{"--node", node, "status", "--json"}, {"lab", "exec", node, "--", "evenkeel", "status", "--json"},
			{"lab", "exec", other(node), "--", "evenkeel", "--node", node, "status", "--json"}} {
			how = slices.Clone(how)
			if i := slices.Index(how, "evenkeel"); i >= 0 {
				how[i] = bin
			}
			var s map[string]any
			if err := json.Unmarshal([]byte(l.run(t, how...)), &s); err != nil {
				t.Fatalf("%v: %v", how, err)
			}
			checkContract(t, s)
			if s["node"] != node {
				t.Errorf("%v: node %v", how, s["node"])
			}
		}
	}
	a, _ := l.status("a")
	b, _ := l.status("b")
	if a.RunningRole != "master" || b.RunningRole != "slave" || a.Takeover.Blockers[0].Code != "already_master" || !b.Takeover.Possible {
		t.Errorf("a %+v, b %+v", a.Takeover, b.Takeover)
	}
}

func checkContract(t *testing.T, s map[string]any) {
	t.Helper()
	for path, fields := range contract {
		for _, object := range objects(s, path) {
			for _, f := range fields {
				if _, ok := object[f]; !ok {
					t.Errorf("status --json: %s has no field %s", path, f)
				}
			}
		}
	}
}

func objects(s map[string]any, path string) (list []map[string]any) {
	if path == "" {
		return []map[string]any{s}
	}
	if name, ok := strings.CutSuffix(path, "[]"); ok {
		items, _ := s[name].([]any)
		for _, i := range items {
			list = append(list, i.(map[string]any))
		}
		return list
	}
	object, _ := s[path].(map[string]any)
	return []map[string]any{object}
}

// testSwitchOver moves the role to b and back while a client writes; a client that retries for 2 s sees no failed write.
func (l *lab) testSwitchOver(t *testing.T) {
	w := l.startWriter(t, "client", guestbook)
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	for _, to := range []string{"b", "a"} {
		echo := l.probe(t, 8*time.Second, "10.88.1.100:7007")
		time.Sleep(time.Second) // a healthy second before the move, no wait for a state
		began := time.Now()
		l.run(t, "--node", to, "takeover")
		t.Logf("takeover on %s answered after %v", to, time.Since(began))
		l.settle(t, to)
		p := echo()
		l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
		gap := longestGap(w.acks(t), began)
		t.Logf("switch-over to %s: the address was silent for %d ms, %d of %d probes lost, writes paused %v", to, p.SilenceMS, p.Lost, p.Sent, gap)
		if gap > 2*time.Second*slack {
			t.Errorf("writes paused for %v", gap)
		}
	}
	acked := w.stop(t)
	mustHold(t, l.entries(t), acked)
}

func (l *lab) testAddressBack(t *testing.T) {
	l.in(t, "a", "ip", "address", "del", "10.88.1.100/24", "dev", "lan")
	took := l.is(t, 5*time.Second, "a", "holds the address again, with an event", func(s control.Status) bool {
		for _, a := range s.Addresses {
			if strings.HasPrefix(a.Address, "10.88.1.100/") {
				return a.Held && anyEvent(l, "a", "10.88.1.100")
			}
		}
		return false
	})
	t.Logf("back (and in the log) after %v", took)
}

// testSettings saves an interval and a time-out and sees them on both nodes, in the measured spacing of beats, with the same processes.
func (l *lab) testSettings(t *testing.T) {
	before := map[string]control.Status{}
	for _, n := range []string{"a", "b"} {
		before[n], _ = l.status(n)
	}
	var s map[string]any
	if err := json.Unmarshal([]byte(l.in(t, "a", bin, "config", "export")), &s); err != nil {
		t.Fatal(err)
	}
	beat := s["heartbeat"].(map[string]any)
	beat["profile"], beat["interval"], beat["dead_time"] = "custom", float64(100*time.Millisecond), float64(2*time.Second)
	file := filepath.Join(l.dir, "settings.json")
	b, _ := json.Marshal(s)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	l.in(t, "a", bin, "config", "import", file)
	for _, n := range []string{"a", "b"} {
		l.is(t, 10*time.Second, n, "uses the new times", func(s control.Status) bool {
			return s.Heartbeat.IntervalMS == 100 && s.Heartbeat.DeadTimeMS == 2000
		})
		after, _ := l.status(n)
		for _, p := range after.Processes {
			if p.PID != process(before[n], p.Name).PID {
				t.Errorf("%s: %s was restarted", n, p.Name)
			}
		}
	}
	began := time.Now()
	l.in(t, "client", "timeout", "20", "tcpdump", "-i", "lan", "-nn", "-c", "21", "-Z", "root", "udp port 999 and src 10.88.1.1")
	spacing := time.Since(began) / 20
	t.Logf("twenty beats of a on lan: one in %v (100 ms saved)", spacing)
	if spacing > 180*time.Millisecond {
		t.Errorf("beats come every %v, saved were 100 ms (before: 200 ms)", spacing)
	}
	beat["profile"] = "standard"
	beat["interval"], beat["dead_time"] = float64(200*time.Millisecond), float64(3*time.Second)
	b, _ = json.Marshal(s)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	l.in(t, "a", bin, "config", "import", file)
	l.is(t, 10*time.Second, "b", "uses Standard again", func(s control.Status) bool { return s.Heartbeat.DeadTimeMS == 3000 })
}
