package disk

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFileUnderALoop: a file that a loop device shows is in use, also by another name of it; without the loop it is not.
func TestFileUnderALoop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	link := path + ".link"
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	detach := func() { _ = exec.Command("losetup", "-d", device).Run() }
	t.Cleanup(detach)
	for _, name := range []string{path, link} {
		f, err := Open(name, Options{})
		if err == nil {
			f.Close()
		}
		if err == nil || !strings.Contains(err.Error(), device) {
			t.Errorf("%s under %s: %v", name, device, err)
		}
	}
	if f, err := Open(path, Options{ReadOnly: true}); err != nil {
		t.Errorf("it can be looked at: %v", err)
	} else {
		f.Close()
	}
	detach()
	f, err := Open(path, Options{})
	if err != nil {
		t.Fatalf("after losetup -d: %v", err)
	}
	f.Close()
}
