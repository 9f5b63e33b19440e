package store_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/store"
)

func TestUsers(t *testing.T) {
	ctx := context.Background()
	db := open(t, t.TempDir(), store.Options{})
	if err := db.AddUser(ctx, "admin", "correct horse"); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"second admin":   db.AddUser(ctx, "Admin", "another password"),
		"short password": db.AddUser(ctx, "eve", "short"),
		"empty name":     db.AddUser(ctx, "", "long enough password"),
		"name of spaces": db.AddUser(ctx, "a b", "long enough password"),
		"unknown user":   db.SetPassword(ctx, "nobody", "long enough password"),
	} {
		if !errors.Is(err, store.ErrUser) {
			t.Errorf("%s: %v, want ErrUser", what, err)
		}
	}
	if name, err := db.Authenticate(ctx, "ADMIN", "correct horse"); err != nil || name != "admin" {
		t.Errorf("right password: %q, %v", name, err)
	}
	long := strings.Repeat("x", 250<<10)
	for _, try := range [][2]string{{"admin", "wrong"}, {"admin", ""}, {"nobody", "correct horse"}, {"nobody", ""}, {long, "correct horse"}, {"admin", long}} {
		if _, err := db.Authenticate(ctx, try[0], try[1]); !errors.Is(err, store.ErrSignIn) {
			t.Errorf("%.30q: %v, want ErrSignIn", try, err)
		}
	}
	if err := db.SetPassword(ctx, "admin", "a new password"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Authenticate(ctx, "admin", "correct horse"); !errors.Is(err, store.ErrSignIn) {
		t.Errorf("the old password still works: %v", err)
	}
	if users, err := db.Users(ctx); err != nil || len(users) != 1 || users[0].Name != "admin" {
		t.Errorf("Users: %v, %v", users, err)
	}
}

func TestSessions(t *testing.T) {
	ctx, dir, clock := context.Background(), t.TempDir(), time.Now()
	db := open(t, dir, store.Options{Now: func() time.Time { return clock }})
	if err := db.AddUser(ctx, "admin", "correct horse"); err != nil {
		t.Fatal(err)
	}
	start := func(token string) {
		t.Helper()
		if err := db.StartSession(ctx, token, "admin", "127.0.0.1", "test"); err != nil {
			t.Fatal(err)
		}
	}
	alive := func(token string, touch bool) bool {
		user, due, err := db.Session(ctx, token)
		if err != nil && !errors.Is(err, store.ErrNoSession) {
			t.Fatal(err)
		}
		if touch && due {
			if err := db.TouchSession(ctx, token); err != nil {
				t.Fatal(err)
			}
		}
		return user == "admin"
	}
	start("token-1")
	if !alive("token-1", true) || alive("token-2", true) {
		t.Error("the session that was started is not the one that lives")
	}
	for range 3 { // used every 20 minutes it lives on, in steps that touch it
		clock = clock.Add(20 * time.Minute)
		if !alive("token-1", true) {
			t.Fatal("a used session ended")
		}
	}
	clock = clock.Add(20 * time.Minute)
	alive("token-1", false) // a live stream does not keep it alive
	clock = clock.Add(10 * time.Minute)
	if alive("token-1", true) {
		t.Error("a session lived through 30 idle minutes")
	}
	start("token-3")
	for range 36 {
		clock = clock.Add(20 * time.Minute)
		alive("token-3", true)
	}
	if alive("token-3", true) {
		t.Error("a session lived longer than 12 hours")
	}
	start("token-4")
	if err := db.EndSession(ctx, "token-4"); err != nil || alive("token-4", true) {
		t.Errorf("a session lives after its end: %v", err)
	}
	start("token-5")
	if err := db.SetPassword(ctx, "admin", "a new password"); err != nil || alive("token-5", true) {
		t.Errorf("a session outlived its password: %v", err)
	}
	start("token-6")
	for _, name := range []string{store.SettingsFile, store.SettingsFile + "-wal"} {
		if data, _ := os.ReadFile(filepath.Join(dir, name)); bytes.Contains(data, []byte("token-6")) {
			t.Errorf("%s holds a token in the clear", name)
		}
	}
}

func TestAudit(t *testing.T) {
	ctx := context.Background()
	db := open(t, t.TempDir(), store.Options{})
	if err := db.Audit(ctx, "admin", "10.0.0.9", "settings.save", "1", "2"); err != nil {
		t.Fatal(err)
	}
	list, err := db.Audits(ctx, 10)
	if err != nil || len(list) != 1 || list[0].User != "admin" || list[0].Address != "10.0.0.9" || list[0].Old != "1" || list[0].New != "2" {
		t.Errorf("Audits: %+v, %v", list, err)
	}
	long := strings.Repeat("ä", 125<<10)
	if err := db.Audit(ctx, long, long, long, long, long); err != nil {
		t.Fatal(err)
	}
	list, err = db.Audits(ctx, 1)
	if err != nil || len(list) != 1 {
		t.Fatalf("Audits: %+v, %v", list, err)
	}
	for most, texts := range map[int][]string{256: {list[0].User, list[0].Address, list[0].Action}, 8 << 10: {list[0].Old, list[0].New}} {
		for _, text := range texts {
			if len(text) > most || len(text) < most-4 || !strings.HasSuffix(text, "ä...") || !utf8.ValidString(text) {
				t.Errorf("a text of 250 KiB is kept as %d bytes, want at most %d: %.20q", len(text), most, text)
			}
		}
	}
}

func TestEvents(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	r, err := store.OpenEvents(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.List(ctx, control.EventFilter{}); err == nil {
		t.Error("events.db could be read before it was there")
	}
	w, err := store.OpenEvents(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	at := time.Date(2026, 11, 21, 12, 0, 0, 5, time.UTC)
	events := []control.Event{
		{At: at, Node: "a", Log: "heartbeat", Code: "link.quiet", Severity: ha.Warning, Text: "Link lan is quiet.", Epoch: "1/a"},
		{At: at, Node: "a", Log: "failover", Code: "peer.dead", Severity: ha.Critical, Text: "The peer is dead.", Epoch: "1/a", Cause: 1},
		{At: at, Node: "b", Log: "failover", Code: "role", Severity: ha.Info, Text: "Slave to Master", Epoch: "2/b"},
	}
	if err := w.Append(ctx, events); err != nil {
		t.Fatal(err)
	}
	if err := r.Append(ctx, events[:1]); err == nil {
		t.Error("the reader could write")
	}
	for _, c := range []struct {
		name   string
		filter control.EventFilter
		want   []string
	}{
		{"all", control.EventFilter{}, []string{"link.quiet", "peer.dead", "role"}},
		{"newest of a limit", control.EventFilter{Limit: 2}, []string{"peer.dead", "role"}},
		{"after", control.EventFilter{After: events[0].ID}, []string{"peer.dead", "role"}},
		{"log", control.EventFilter{Log: "heartbeat"}, []string{"link.quiet"}},
		{"severity or worse", control.EventFilter{Severity: "warning"}, []string{"link.quiet", "peer.dead"}},
		{"node", control.EventFilter{Node: "b"}, []string{"role"}},
		{"text of any case", control.EventFilter{Text: "SLAVE"}, []string{"role"}},
		{"a text that looks like SQL", control.EventFilter{Text: "' OR 1=1 --"}, nil},
	} {
		list, err := r.List(ctx, c.filter)
		if err != nil {
			t.Fatal(err)
		}
		var codes []string
		for _, e := range list {
			codes = append(codes, e.Code)
		}
		if len(codes) != len(c.want) {
			t.Errorf("%s: %v, want %v", c.name, codes, c.want)
			continue
		}
		for i := range codes {
			if codes[i] != c.want[i] {
				t.Errorf("%s: %v, want %v", c.name, codes, c.want)
			}
		}
	}
	if list, _ := r.List(ctx, control.EventFilter{}); len(list) > 0 && !list[1].At.Equal(at) {
		t.Errorf("an event's time changed from %v to %v", at, list[1].At)
	}
}

// The disk is a real one, of 512 KiB.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("mounting a small tmpfs takes root")
	}
	ctx, dir := context.Background(), t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatalf("no tmpfs can be mounted here: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	db := open(t, dir, store.Options{})
	var err error
	if err := errors.Join(db.AddUser(ctx, "admin", "correct horse"), db.StartSession(ctx, "token", "admin", "127.0.0.1", "test")); err != nil {
		t.Fatal(err)
	}
	revision := uint64(0)
	for range 500 {
		if revision, err = db.Save(ctx, sample(), revision, "admin"); err != nil {
			break
		}
	}
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("a full disk shows itself as %v, want ErrFull", err)
	}
	if latest, err := db.Latest(ctx); err != nil || latest.Revision == 0 {
		t.Errorf("what was saved before cannot be read: %v", err)
	}
	if user, _, err := db.Session(ctx, "token"); err != nil || user != "admin" {
		t.Errorf("a session on a full disk: %q, %v", user, err)
	}
	db.Close()
}

// What root opens, the console's user can write, and cannot replace (70-traps).
func TestRootSharesWithGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("giving files to a group takes root")
	}
	const group = 4321
	dir := filepath.Join(t.TempDir(), "state")
	db := open(t, dir, store.Options{GID: group})
	if _, err := db.Save(context.Background(), sample(), 0, "admin"); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"": os.ModeDir | os.ModeSticky | 0o770, store.SettingsFile: 0o660, store.SettingsFile + "-wal": 0o660, store.SettingsFile + "-shm": 0o660} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		if info.Mode() != mode || stat.Uid != 0 || stat.Gid != group {
			t.Errorf("%q is %v of %d:%d, want %v of 0:%d", name, info.Mode(), stat.Uid, stat.Gid, mode, group)
		}
	}
}
