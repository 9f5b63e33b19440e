package store_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"evenkeel/ha"
	"evenkeel/store"
)

// sample is a valid revision with something in every table.
func sample() ha.Settings {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	return ha.Settings{
		General: ha.General{Active: true, MasterNode: "a", SlaveNode: "b", MasterAddress: addr("10.88.1.1"), SlaveAddress: addr("10.88.1.2"),
			Mode: ha.Evidence, References: []ha.Reference{{Name: "gateway", Address: addr("10.88.1.254")}}},
		Heartbeat: ha.Heartbeat{ClusterID: 7, Profile: ha.ProfileStandard, Interval: 200 * time.Millisecond, DeadTime: 3 * time.Second, BootWait: 30 * time.Second,
			Serial: true, MasterSerial: "/dev/ttyS0", SlaveSerial: "/dev/ttyS0", Baud: 115200,
			Devices: []ha.BeatDevice{{Device: "lan", Send: true}, {Device: "wan", Send: false}, {Device: "sync", Send: true}}, SyncDevice: "sync", Port: 999},
		Replication: ha.ReplicationSettings{Rate: 50_000_000, MasterAddress: addr("10.88.3.1"), SlaveAddress: addr("10.88.3.2"),
			Volumes: []ha.VolumeSetting{{Name: "data", Index: 0, MasterBacking: "/var/lib/evenkeel/disks/data.img", SlaveBacking: "/var/lib/evenkeel/disks/data.img", Filesystem: "ext4", MountPoint: "/srv/data"}}},
		Addresses: []ha.VirtualAddress{
			{Enabled: true, Device: "lan", Address: prefix("10.88.1.100/24"), Aliases: []netip.Prefix{prefix("10.88.1.101/24"), prefix("10.88.1.102/24")}, MasterAddress: addr("10.88.1.1"), SlaveAddress: addr("10.88.1.2")},
			{Enabled: true, Device: "wan", Address: prefix("10.88.2.100/24"), MasterAddress: addr("10.88.2.1"), SlaveAddress: addr("10.88.2.2")}},
		Services: []ha.ServiceSetting{{Name: "guestbook", Placement: ha.MasterSide}, {Name: "echo", Placement: ha.Both}},
	}
}

var stamp = cmpopts.IgnoreFields(ha.Settings{}, "Revision", "SavedAt", "SavedBy")
var plain = cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}

func open(t *testing.T, dir string, o store.Options) *store.DB {
	t.Helper()
	o.Limits = ha.Limits{BackingPrefixes: []string{"/var/lib/evenkeel/disks"}, MountPrefixes: []string{"/srv"}, Catalogue: []string{"guestbook", "echo"}}
	db, err := store.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestSaveAndLoad(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	db := open(t, dir, store.Options{})
	if _, err := db.Latest(ctx); !errors.Is(err, store.ErrNoSettings) {
		t.Fatalf("Latest of an empty database: %v, want ErrNoSettings", err)
	}
	n, err := db.Save(ctx, sample(), 0, "admin")
	if err != nil || n != 1 {
		t.Fatalf("Save: %d, %v", n, err)
	}
	second := sample()
	second.General.Active = false
	second.Addresses, second.Services = nil, nil
	if n, err = db.Save(ctx, second, 1, "eve"); err != nil || n != 2 {
		t.Fatalf("second Save: %d, %v", n, err)
	}
	db.Close()

	db = open(t, dir, store.Options{}) // what is saved outlives the process
	first, err := db.Load(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample(), first, stamp, plain); d != "" {
		t.Errorf("revision 1 changed on its way (-saved +loaded):\n%s", d)
	}
	latest, err := db.Latest(ctx)
	if err != nil || latest.Revision != 2 || latest.SavedBy != "eve" {
		t.Fatalf("Latest: revision %d by %s, %v", latest.Revision, latest.SavedBy, err)
	}
	if d := cmp.Diff(second, latest, stamp, plain); d != "" {
		t.Errorf("revision 2 changed on its way:\n%s", d)
	}
	history, err := db.History(ctx)
	if err != nil || len(history) != 2 || history[0].Revision != 2 || history[1].SavedBy != "admin" {
		t.Errorf("History: %+v, %v", history, err)
	}
}

func TestSaveRefusesStaleForm(t *testing.T) {
	ctx := context.Background()
	db := open(t, t.TempDir(), store.Options{})
	if _, err := db.Save(ctx, sample(), 0, "admin"); err != nil {
		t.Fatal(err)
	}
	other := sample()
	other.Heartbeat.ClusterID = 9
	if _, err := db.Save(ctx, other, 1, "eve"); err != nil {
		t.Fatal(err)
	}
	_, err := db.Save(ctx, sample(), 1, "admin")
	var stale *store.StaleError
	if !errors.Is(err, store.ErrStale) || !errors.As(err, &stale) {
		t.Fatalf("a form of revision 1 was saved over revision 2: %v", err)
	}
	if stale.Latest().Heartbeat.ClusterID != 9 || stale.Base != 1 {
		t.Errorf("the error does not carry both values: %+v", stale)
	}
	if latest, _ := db.Latest(ctx); latest.Revision != 2 {
		t.Errorf("revision is %d after a refused save", latest.Revision)
	}
}

// Many forms at once: exactly one of each base wins, in two processes' worth of connections.
func TestSaveConcurrently(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	pair := []*store.DB{open(t, dir, store.Options{}), open(t, dir, store.Options{})}
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 8 {
		wg.Go(func() {
			_, err := pair[i%2].Save(ctx, sample(), 0, "admin")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, store.ErrStale) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d of 8 forms of revision 0 were saved, want 1", won)
	}
}

func TestConstraintsHoldInTheDatabase(t *testing.T) {
	ctx := context.Background()
	cases := map[string]func(*ha.Settings){
		"virtual address twice (A36)":      func(s *ha.Settings) { s.Addresses[1].Address = s.Addresses[0].Address },
		"alias twice":                      func(s *ha.Settings) { s.Addresses[0].Aliases[1] = s.Addresses[0].Aliases[0] },
		"service twice (A47)":              func(s *ha.Settings) { s.Services[1].Name = "guestbook" },
		"unknown placement":                func(s *ha.Settings) { s.Services[0].Placement = "moon" },
		"volume number 16":                 func(s *ha.Settings) { s.Replication.Volumes[0].Index = 16 },
		"master is slave":                  func(s *ha.Settings) { s.General.SlaveNode = "a" },
		"same address for both":            func(s *ha.Settings) { s.General.SlaveAddress = s.General.MasterAddress },
		"device twice":                     func(s *ha.Settings) { s.Heartbeat.Devices[1].Device = "lan" },
		"mode that no issue has built yet": func(s *ha.Settings) { s.General.Mode = "lease" },
		"time-out under five intervals":    func(s *ha.Settings) { s.Heartbeat.DeadTime = 900 * time.Millisecond },
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			db := open(t, t.TempDir(), store.Options{})
			s := sample()
			s.Revision, s.SavedBy = 1, "peer"
			spoil(&s)
			if _, err := db.Import(ctx, s); err == nil { // Import does not validate: only the database stands in the way
				t.Error("the database took it")
			}
			if history, err := db.History(ctx); err != nil || len(history) != 0 {
				t.Errorf("a refused revision left rows: %v, %v", history, err)
			}
		})
	}
}

func TestSaveReturnsFieldErrors(t *testing.T) {
	db := open(t, t.TempDir(), store.Options{})
	s := sample()
	s.Heartbeat.ClusterID = 64
	_, err := db.Save(context.Background(), s, 0, "admin")
	var fields ha.FieldErrors
	if !errors.As(err, &fields) || !strings.HasPrefix(fields[0].Field, "heartbeat.cluster_id") {
		t.Errorf("cluster id 64: %v, want a field error at heartbeat.cluster_id", err)
	}
}

// A volume that is in use is not renamed in one step: its nodes would apply that apart from each other.
func TestSaveRefusesARename(t *testing.T) {
	ctx := context.Background()
	db := open(t, t.TempDir(), store.Options{})
	if _, err := db.Save(ctx, sample(), 0, "admin"); err != nil {
		t.Fatal(err)
	}
	renamed := sample()
	renamed.Replication.Volumes[0].Name = "data2"
	var fields ha.FieldErrors
	if _, err := db.Save(ctx, renamed, 1, "admin"); !errors.As(err, &fields) || fields[0].Field != "replication.volumes[0].name" {
		t.Errorf("renamed: %v", err)
	}
	without := sample()
	without.Replication.Volumes = nil
	for i, s := range []ha.Settings{without, renamed} {
		if _, err := db.Save(ctx, s, uint64(i+1), "admin"); err != nil {
			t.Errorf("in two steps, step %d: %v", i+1, err)
		}
	}
}

func TestImport(t *testing.T) {
	ctx, clock := context.Background(), time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	db := open(t, t.TempDir(), store.Options{Now: func() time.Time { return clock }})
	if _, err := db.Save(ctx, sample(), 0, "here"); err != nil {
		t.Fatal(err)
	}
	theirs := func(revision uint64, at time.Time, cluster uint8) ha.Settings {
		s := sample()
		s.Revision, s.SavedAt, s.SavedBy, s.Heartbeat.ClusterID = revision, at, "there", cluster
		return s
	}
	expect := func(what string, revision uint64, by string, cluster uint8) {
		t.Helper()
		s, err := db.Latest(ctx)
		if err != nil || s.Revision != revision || s.SavedBy != by || s.Heartbeat.ClusterID != cluster {
			t.Errorf("%s: in force is %d by %s with cluster %d (%v), want %d by %s with cluster %d", what, s.Revision, s.SavedBy, s.Heartbeat.ClusterID, err, revision, by, cluster)
		}
	}
	for _, step := range []struct {
		what     string
		s        ha.Settings
		revision uint64
		by       string
		cluster  uint8
		replaced uint8 // cluster of the revision whose place it took; 0 = of none
	}{
		{"same number, same content", theirs(1, clock.Add(time.Hour), 7), 1, "here", 7, 0},
		{"same number, saved earlier", theirs(1, clock.Add(-time.Hour), 8), 1, "here", 7, 0},
		{"same number, saved later", theirs(1, clock.Add(time.Hour), 9), 1, "there", 9, 7},
		{"higher number", theirs(5, clock.Add(-time.Hour), 10), 5, "there", 10, 9},
		{"lower number", theirs(3, clock.Add(2*time.Hour), 11), 5, "there", 10, 0},
	} {
		replaced, err := db.Import(ctx, step.s)
		if err != nil || replaced.Heartbeat.ClusterID != step.replaced {
			t.Errorf("%s: took the place of cluster %d (%v), want %d", step.what, replaced.Heartbeat.ClusterID, err, step.replaced)
		}
		expect(step.what, step.revision, step.by, step.cluster)
	}
	history, err := db.History(ctx)
	if err != nil {
		t.Fatal(err)
	}
	superseded := 0
	for _, e := range history {
		if e.Superseded {
			superseded++
		}
	}
	if superseded != 1 {
		t.Errorf("the history shows %d superseded revisions, want our first one: %+v", superseded, history)
	}
	if s, err := db.Overridden(ctx, 1); err != nil || s.SavedBy != "here" || s.Heartbeat.ClusterID != 7 {
		t.Errorf("the overridden revision 1 is %+v, %v", s, err)
	}
	if _, err := db.Overridden(ctx, 5); !errors.Is(err, store.ErrNoSettings) {
		t.Errorf("revision 5 was overridden by none, got %v", err)
	}
}

func TestOpenDamaged(t *testing.T) {
	for name, content := range map[string][]byte{
		"no database": []byte(strings.Repeat("this is no database. ", 300)),
		"cut off":     nil,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, store.SettingsFile)
			if content == nil {
				db := open(t, dir, store.Options{})
				if _, err := db.Save(context.Background(), sample(), 0, "admin"); err != nil {
					t.Fatal(err)
				}
				db.Close()
				whole, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				content = whole[:len(whole)/2]
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := store.Open(dir, store.Options{})
			if !errors.Is(err, store.ErrCorrupt) {
				t.Fatalf("Open: %v, want ErrCorrupt", err)
			}
			if text := err.Error(); !strings.Contains(text, "users have to be added again") || strings.Contains(text, "backup") {
				t.Errorf("the remedy is wrong: there is no backup command, and the users are lost: %q", text)
			}
			if text := err.Error(); !strings.Contains(text, path) || strings.Contains(text, "\n") {
				t.Errorf("not one sentence that names the file: %q", text)
			}
		})
	}
}

func TestOpenRefusesPlantedLink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(t.TempDir(), "shadow")
	if err := os.WriteFile(victim, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(dir, store.SettingsFile+"-wal")); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(dir, store.Options{}); err == nil || !strings.Contains(err.Error(), "planted") {
		t.Errorf("Open followed a link: %v", err)
	}
	if kept, _ := os.ReadFile(victim); string(kept) != "keep" {
		t.Errorf("the link's target was overwritten: %q", kept)
	}
}

// What helps against a damaged event log is not what helps against damaged settings.
func TestOpenDamagedEvents(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, store.EventsFile), []byte(strings.Repeat("this is no database. ", 300)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := store.OpenEvents(dir, false)
	if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "a new log is begun") || strings.Contains(err.Error(), "settings") {
		t.Fatalf("OpenEvents: %v", err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} { // as it says
		if err := os.Rename(filepath.Join(dir, store.EventsFile+suffix), filepath.Join(dir, "away"+suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	events, err := store.OpenEvents(dir, false)
	if err != nil {
		t.Fatalf("after the remedy: %v", err)
	}
	events.Close()
}
