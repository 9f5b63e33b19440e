package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// dataSize asks the binary how long the data area of a stopped node's backing file is.
func (l *lab) dataSize(t *testing.T, node string) int64 {
	t.Helper()
	out := l.run(t, "volume", "inspect", l.dataFile(node))
	m := regexp.MustCompile(`(?i)data[^0-9]*([0-9]+) bytes`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("volume inspect does not name the size of the data area: %s", out)
	}
	n, _ := strconv.ParseInt(m[1], 10, 64)
	return n
}

// compareAreas proves, with both nodes stopped in order and in sync, that the data areas are equal to the byte and that each holds a clean
// filesystem (checked on a copy).
func (l *lab) compareAreas(t *testing.T) {
	t.Helper()
	sums := map[string]string{}
	for _, node := range []string{"a", "b"} {
		copied := filepath.Join(t.TempDir(), node+".img")
		sums[node] = l.copyArea(t, node, copied)
		fsck(t, copied)
	}
	if sums["a"] != sums["b"] {
		t.Errorf("the data areas differ after an orderly stop in sync")
	}
}

// copyArea copies a stopped node's data area and returns its digest.
func (l *lab) copyArea(t *testing.T, node, to string) string {
	t.Helper()
	in, err := os.Open(l.dataFile(node))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(out, h), io.LimitReader(in, l.dataSize(t, node))); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// fsck mounts and unmounts a copy (which replays the journal, 70-traps) in a mount namespace of its own and checks it.
func fsck(t *testing.T, image string) {
	t.Helper()
	point := t.TempDir()
	if out, err := exec.Command("unshare", "-m", "sh", "-c", "mount -o loop "+image+" "+point+" && umount "+point).CombinedOutput(); err != nil {
		t.Errorf("cannot mount a copy of %s: %v\n%s", filepath.Base(image), err, out)
		return
	}
	if out, err := exec.Command("e2fsck", "-fn", image).CombinedOutput(); err != nil {
		t.Errorf("e2fsck %s: %v\n%s", filepath.Base(image), err, out)
	}
}

// moved is how many bytes went over a node's device in both directions since it appeared.
func (l *lab) moved(t *testing.T, node, device string) (sum int64) {
	t.Helper()
	for _, way := range []string{"rx_bytes", "tx_bytes"} {
		out := l.in(t, node, "cat", "/sys/class/net/"+device+"/statistics/"+way)
		n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}
