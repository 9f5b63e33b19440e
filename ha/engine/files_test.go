package engine

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"evenkeel/ha"
)

// What is saved is read again; a changed byte, a cut end, another version and garbage are all noticed.
func TestFilesNoticeDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "durable.json")
	want := ha.Durable{Epoch: ha.Epoch{Counter: 7, Node: "b"}, Armed: true, Serving: true, ServingBoot: ha.BootName{1, 2, 3}}
	if err := saveFile(path, want); err != nil {
		t.Fatal(err)
	}
	var got ha.Durable
	if err := loadFile(path, &got); err != nil || got.Epoch != want.Epoch || got.ServingBoot != want.ServingBoot {
		t.Fatalf("read %+v, %v", got, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"changed": strings.Replace(string(good), `"Counter":7`, `"Counter":8`, 1),
		"counter": strings.Replace(string(good), `"counter":7`, `"counter":8`, 1),
		"version": strings.Replace(string(good), `"version":1`, `"version":2`, 1),
		"cut":     string(good[:len(good)/2]),
		"empty":   "",
		"garbage": "\x00\x01\x02",
	} {
		if bad == string(good) {
			continue // this spelling is not the file's
		}
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := loadFile(path, &got); !errors.Is(err, errCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := loadFile(filepath.Join(t.TempDir(), "none.json"), &got); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

// A write that a crash cut short leaves the old content, and its rest is removed at the next start.
func TestCutWriteLeavesTheOld(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "durable.json")
	if err := saveFile(path, ha.Durable{Epoch: ha.Epoch{Counter: 1, Node: "a"}}); err != nil {
		t.Fatal(err)
	}
	rest := path + ".123456"
	if err := os.WriteFile(rest, []byte(`{"version":1,`), 0o600); err != nil {
		t.Fatal(err)
	}
	removeLeftovers(dir)
	if _, err := os.Stat(rest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the rest of a cut write stays: %v", err)
	}
	var d ha.Durable
	if err := loadFile(path, &d); err != nil || d.Epoch.Counter != 1 {
		t.Errorf("%+v, %v", d, err)
	}
}

// The boot name is made once and the same for whoever asks later.
func TestBootName(t *testing.T) {
	dir := t.TempDir()
	first, err := bootName(dir)
	if err != nil || first == (ha.BootName{}) {
		t.Fatalf("%v, %v", first, err)
	}
	if again, err := bootName(dir); err != nil || again != first {
		t.Errorf("%v became %v, %v", first, again, err)
	}
	if err := os.WriteFile(filepath.Join(dir, bootFile), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bootName(dir); err == nil {
		t.Error("nonsense was taken for a boot name")
	}
}

// A boot file that is damaged or lost while heart lives is mended from heart's order: a new name would be proof of a reset.
func TestBootNameFromHeart(t *testing.T) {
	dir := t.TempDir()
	first, err := bootName(dir)
	if err != nil {
		t.Fatal(err)
	}
	order, err := json.Marshal(map[string]any{"setup": map[string]any{"boot": first}, "step_at": now() - 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "heart.json"), order, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, bootFile)
	for name, spoil := range map[string]func() error{
		"empty": func() error { return os.Truncate(path, 0) }, "nonsense": func() error { return os.WriteFile(path, []byte("x"), 0o600) },
		"lost": func() error { return os.Remove(path) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if got, err := bootName(dir); err != nil || got != first {
			t.Errorf("%s: %v, %v, not %v", name, got, err, first)
		}
		if data, _ := os.ReadFile(path); len(data) != 2*len(first)+1 {
			t.Errorf("%s: the file holds %q", name, data)
		}
	}
}

// Keys: one or two lines of 64 hex digits, anything else is refused naming the line.
func TestReadKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "beat.key")
	line := strings.Repeat("0a", 32)
	for text, want := range map[string]int{line: 1, line + "\n": 1, line + "\n" + line + "\n": 2, "": 0, "xyz": 0, line[2:]: 0, line + "\n" + line + "\n" + line: 0} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		keys, err := readKeys(path)
		if len(keys) != want && want > 0 || (err == nil) != (want > 0) {
			t.Errorf("%q: %d keys, %v", text, len(keys), err)
		}
	}
}
