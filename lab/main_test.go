package lab_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"evenkeel/ha/control"
	"evenkeel/lab"
)

// TestMain lets the test's own program stand in for evenkeel: the lab starts itself as daemon and as first process of its machines.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "lab" {
		root := &cobra.Command{Use: "evenkeel", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(lab.Commands())
		os.Exit(exitCode(root.Execute()))
	}
	os.Exit(m.Run())
}

// exitCode is what the real program does with an error.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "evenkeel:", err)
	if e := new(control.Error); errors.As(err, &e) {
		return e.Exit
	}
	return 1
}

// world is one lab in a test.
type world struct {
	t   *testing.T
	dir string
}

// newWorld starts a bare lab that ends with the test.
func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the lab needs root")
	}
	w := &world{t, filepath.Join(t.TempDir(), "lab")}
	t.Cleanup(func() { w.ok("down") })
	w.ok("up", "--bare", "--detach", "--console-port", "0")
	return w
}

// run runs one lab command.
func (w *world) run(args ...string) (stdout, stderr string, code int) {
	w.t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{"lab", "--dir", w.dir}, args...)...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("lab %v: %v", args, err)
	}
	return out.String(), complaint.String(), cmd.ProcessState.ExitCode()
}

// ok runs a command that must succeed.
func (w *world) ok(args ...string) string {
	w.t.Helper()
	out, complaint, code := w.run(args...)
	if code != 0 {
		w.t.Fatalf("lab %v ended with %d: %s%s", args, code, complaint, w.log())
	}
	return strings.TrimSpace(out)
}

// fails runs a command that must end with a code, and returns its one line of complaint.
func (w *world) fails(want int, args ...string) string {
	w.t.Helper()
	_, complaint, code := w.run(args...)
	if code != want {
		w.t.Fatalf("lab %v ended with %d, not %d: %s", args, code, want, complaint)
	}
	if strings.Count(complaint, "\n") != 1 {
		w.t.Fatalf("lab %v complains in more or less than one line: %q", args, complaint)
	}
	return complaint
}

func (w *world) log() string {
	b, _ := os.ReadFile(filepath.Join(w.dir, "lab.log"))
	return "\nlab.log:\n" + string(b)
}

// status is `lab status --json`.
func (w *world) status() lab.Status {
	w.t.Helper()
	var s lab.Status
	if err := json.Unmarshal([]byte(w.ok("status", "--json")), &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// reaches waits until a machine pings an address: the first frames after a change may be lost on a busy machine.
func (w *world) reaches(where, address string) bool {
	w.t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if w.pings(where, address) {
			return true
		}
	}
	return false
}

// pings says whether one ping from where is answered within a second.
func (w *world) pings(where, address string) bool {
	w.t.Helper()
	_, _, code := w.run("exec", where, "--", "ping", "-n", "-c", "1", "-W", "1", address)
	return code == 0
}
