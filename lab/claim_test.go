package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCrashOfUpIsCleanedAway: what `lab up` made before its daemon wrote anything is the lab's already, for `lab down` and for the next `lab up`.
func TestCrashOfUpIsCleanedAway(t *testing.T) {
	l := layout{filepath.Join(t.TempDir(), "lab")}
	crash := func() {
		t.Helper()
		lock, err := prepare(l, Options{})
		if err != nil {
			t.Fatal(err)
		}
		_ = lock.Close()
		if err := os.WriteFile(l.log(), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	crash()
	crash()
	if was, err := down(l); !was || err != nil {
		t.Errorf("down finds a lab: %t, %v", was, err)
	}
	if _, err := os.Lstat(l.dir); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
}

func TestClaim(t *testing.T) {
	l := layout{filepath.Join(t.TempDir(), "lab")}
	lock, err := prepare(l, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := prepare(l, Options{}); !errors.Is(err, errClaimed) {
		t.Errorf("a folder that is claimed is claimed again: %v", err)
	}
	if err := os.RemoveAll(l.dir); err != nil {
		t.Fatal(err)
	}
	again, err := prepare(l, Options{})
	if err != nil {
		t.Fatalf("the lock of a folder that is gone counts: %v", err)
	}
	_, _ = lock.Close(), again.Close()
}

// TestVacant: names that the lab would take for its own are refused and stay, others do not matter.
func TestVacant(t *testing.T) {
	for _, name := range []string{"a", "b", "lab.log", "pair.json"} {
		l := layout{t.TempDir()}
		mine := filepath.Join(l.dir, name)
		if err := os.WriteFile(mine, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := prepare(l, Options{}); err == nil || !strings.Contains(err.Error(), mine) {
			t.Errorf("a folder with %s is taken: %v", name, err)
		}
		if was, err := down(l); was || err != nil {
			t.Errorf("down finds a lab in a folder with %s: %t, %v", name, was, err)
		}
		if left, _ := os.ReadDir(l.dir); len(left) != 1 {
			t.Errorf("of a folder with %s is left: %v", name, left)
		}
	}
}
