package control

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestUnknownIsNull: a status of an engine that has just begun holds no 0 and no "" where nothing is known, and reads back as it was.
func TestUnknownIsNull(t *testing.T) {
	young := Status{Node: "a", State: "starting", Volumes: []Volume{{Name: "data", Role: "Secondary", Disk: "Diskless", Generation: strings.Repeat("0", 32)}},
		Processes: []Process{{Name: "volume/data", Restarts: 3}}}
	var tree struct {
		Status              map[string]any `json:"-"`
		Volumes             []map[string]any
		Settings, Heartbeat map[string]any
		Processes           []map[string]any
	}
	b, err := json.Marshal(young)
	if err != nil || json.Unmarshal(b, &tree) != nil || json.Unmarshal(b, &tree.Status) != nil {
		t.Fatalf("%v: %s", err, b)
	}
	for _, x := range []struct {
		of   map[string]any
		keys string
	}{
		{tree.Status, "configured_role state_since"}, {tree.Volumes[0], "out_of_sync_bytes generation size"}, {tree.Settings, "revision digest"},
		{tree.Heartbeat, "profile interval_ms dead_time_ms promise_ms"}, {tree.Processes[0], "pid rss_bytes"},
	} {
		for _, key := range strings.Fields(x.keys) {
			if v, there := x.of[key]; !there || v != nil {
				t.Errorf("%s is %v, there: %t", key, v, there)
			}
		}
	}
	if tree.Processes[0]["restarts"] != 3.0 || tree.Status["node"] != "a" {
		t.Errorf("what is known is lost: %s", b)
	}
}

// TestKnownStays: 0 bytes out of sync are knowledge while there is a disk; a whole status survives the way there and back.
func TestKnownStays(t *testing.T) {
	s := Status{Node: "b", ConfiguredRole: "slave", StateSince: time.Unix(1_790_000_000, 0).UTC(), Volumes: []Volume{{Disk: "UpToDate", Generation: strings.Repeat("a0", 16), Size: 4096}},
		Settings: SettingsState{Revision: 7, Digest: "aa"}, Heartbeat: HeartbeatState{Profile: "fast", IntervalMS: 100, DeadTimeMS: 600, PromiseMS: 1600},
		Processes: []Process{{Name: "web", PID: 4, RSSBytes: 5}}}
	b, err := json.Marshal(s)
	if err != nil || !strings.Contains(string(b), `"out_of_sync_bytes":0`) {
		t.Fatalf("%v: %s", err, b)
	}
	var back Status
	if err := json.Unmarshal(b, &back); err != nil || back.ConfiguredRole != "slave" || !back.StateSince.Equal(s.StateSince) || back.Volumes[0] != s.Volumes[0] ||
		back.Settings != s.Settings || back.Heartbeat != s.Heartbeat || back.Processes[0] != s.Processes[0] {
		t.Errorf("%v: %+v", err, back)
	}
}
