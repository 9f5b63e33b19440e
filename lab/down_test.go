package lab_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// leftovers are what a lab in dir has left on this machine: processes that name it or live in its namespaces, mounts, loop devices, files.
func leftovers(dir string, spaces []string) []string {
	var left []string
	for _, pid := range processes() {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		space, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		own := strings.Contains(string(command), dir)
		for _, s := range spaces {
			own = own || space == s
		}
		if own && pid != os.Getpid() {
			left = append(left, fmt.Sprintf("process %d %q in %s", pid, command, space))
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), dir) {
		left = append(left, "a mount")
	}
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), dir) {
			left = append(left, "loop device "+f)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		left = append(left, "the folder")
	}
	return left
}

// processes are the pids of this machine.
func processes() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// spaces are the names of a lab's network namespaces. They are held until the test ends: the kernel would give the number of one that is gone to the next
// lab's, and that one's processes would pass for left behind.
func (w *world) spaces() (list []string) {
	w.t.Helper()
	var record struct {
		ClientNet string `json:"client_net"`
	}
	b, err := os.ReadFile(filepath.Join(w.dir, "lab.json"))
	if err == nil {
		err = json.Unmarshal(b, &record)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	paths := []string{record.ClientNet}
	for _, n := range w.status().Nodes {
		if n.PID != nil {
			paths = append(paths, fmt.Sprintf("/proc/%d/ns/net", *n.PID))
		}
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { f.Close() })
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		if err != nil || !strings.HasPrefix(name, "net:") {
			w.t.Fatalf("%s is %q, no network namespace: %v", path, name, err)
		}
		list = append(list, name)
	}
	return list
}

func TestDownLeavesNothing(t *testing.T) {
	for name, trouble := range map[string]func(w *world){
		"in order":                  func(*world) {},
		"with a frozen node":        func(w *world) { w.ok("freeze", "a") },
		"with a node that is off":   func(w *world) { w.ok("kill", "b") },
		"after a crash of the lab":  func(w *world) { killDaemon(w) },
		"after a crash with frozen": func(w *world) { w.ok("freeze", "b"); killDaemon(w) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			spaces := w.spaces()
			inside := exec.Command("/proc/self/exe", "lab", "--dir", w.dir, "exec", "client", "--", "sleep", "600")
			if err := inside.Start(); err != nil {
				t.Fatal(err)
			}
			gone := make(chan error, 1)
			go func() { gone <- inside.Wait() }()
			trouble(w)
			w.ok("down")
			select {
			case <-gone:
			case <-time.After(5 * time.Second):
				t.Error("a command inside the client outlived the lab")
			}
			if left := leftovers(w.dir, spaces); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// killDaemon is a crash of the lab itself.
func killDaemon(w *world) {
	w.t.Helper()
	p, err := os.FindProcess(w.status().Daemon)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		w.t.Fatal(err)
	}
	within(w.t, 5*time.Second, "the daemon is gone", func() bool {
		complaint := ""
		_, complaint, _ = w.run("status")
		return strings.Contains(complaint, "has crashed")
	})
}

func TestUpAfterACrashAndUpTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if c := w.fails(1, "up", "--bare", "--detach", "--console-port", "0"); !strings.Contains(c, "already") {
		t.Errorf("a second up says %q", c)
	}
	killDaemon(w)
	old := w.dir
	w.ok("up", "--bare", "--detach", "--console-port", "0")
	if w.dir != old || !w.reaches("client", "10.88.1.1") {
		t.Error("the lab that was started over its own ruins does not work")
	}
}

func TestForegroundEndsWithCtrlC(t *testing.T) {
	t.Parallel()
	w := &world{t, filepath.Join(t.TempDir(), "lab")}
	t.Cleanup(func() { w.ok("down") })
	cmd := exec.Command("/proc/self/exe", "lab", "--dir", w.dir, "up", "--bare", "--console-port", "0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if greeting, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(greeting, w.dir) {
		t.Fatalf("up says %q (%v)", greeting, err)
	}
	spaces := w.spaces()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("up ends with %v", err)
	}
	if left := leftovers(w.dir, spaces); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestDownSparesAnInodeUsedAgain: a namespace of another lab that got the inode of one that is gone is not taken for this lab's.
func TestDownSparesAnInodeUsedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stranger := exec.Command("sleep", "600")
	stranger.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stranger.Wait() }()
	defer func() { _ = stranger.Process.Kill() }()
	killDaemon(w)
	var st syscall.Stat_t
	if err := syscall.Stat(fmt.Sprintf("/proc/%d/ns/net", stranger.Process.Pid), &st); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(w.dir, "lab.json")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	again := regexp.MustCompile(`"inode": \d+`).ReplaceAll(b, fmt.Appendf(nil, `"inode": %d`, st.Ino))
	if bytes.Equal(again, b) {
		t.Fatalf("no inode in %s", b)
	}
	if err := os.WriteFile(file, again, 0o600); err != nil {
		t.Fatal(err)
	}
	w.ok("down")
	select {
	case err := <-ended:
		t.Errorf("down ended a process of somebody else: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
}

func TestForeignFilesStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mine := filepath.Join(w.dir, "mine")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.ok("down")
	if left, _ := os.ReadDir(w.dir); len(left) != 1 || left[0].Name() != "mine" {
		t.Errorf("down leaves %v of its folder with a file of somebody else", left)
	}
	long := &world{t, "/tmp/" + strings.Repeat("x", 80)}
	long.fails(2, "up", "--bare", "--detach")
}

// TestFoldersOfOthersStay: a folder a that stood there before the lab is neither used nor removed.
func TestFoldersOfOthersStay(t *testing.T) {
	t.Parallel()
	w := &world{t, t.TempDir()}
	t.Cleanup(func() { w.ok("down") })
	mine := filepath.Join(w.dir, "a", "run", "mine")
	if err := os.MkdirAll(mine, 0o700); err != nil {
		t.Fatal(err)
	}
	if c := w.fails(2, "up", "--bare", "--detach", "--console-port", "0"); !strings.Contains(c, "not the lab's") {
		t.Errorf("a folder of somebody else is refused with %q", c)
	}
	if out := w.ok("down"); !strings.Contains(out, "no lab runs") {
		t.Errorf("down says %q", out)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

// TestTwoUpsAtOnce: of labs that start in one folder at the same moment one comes up, and the others leave it alone. Its daemon holds the folder.
func TestTwoUpsAtOnce(t *testing.T) {
	t.Parallel()
	w := &world{t, filepath.Join(t.TempDir(), "lab")}
	t.Cleanup(func() { w.ok("down") })
	codes := make(chan int)
	for range 3 {
		go func() {
			cmd := exec.Command("/proc/self/exe", "lab", "--dir", w.dir, "up", "--bare", "--detach", "--console-port", "0")
			out, _ := cmd.CombinedOutput()
			t.Logf("%s", out)
			codes <- cmd.ProcessState.ExitCode()
		}()
	}
	if sum := <-codes + <-codes + <-codes; sum != 2 {
		t.Errorf("the exit codes of three labs in one folder make %d, not 0 + 1 + 1", sum)
	}
	if !w.reaches("a", "10.88.1.2") {
		t.Error("the lab that came up was ended by the others")
	}
	dir, err := os.Open(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != syscall.EWOULDBLOCK {
		t.Errorf("a running lab does not hold its folder: %v", err)
	}
}

func TestTwoLabsSideBySide(t *testing.T) {
	t.Parallel()
	one, two := newWorld(t), newWorld(t)
	one.ok("cut", "lan")
	if one.pings("a", "10.88.1.2") {
		t.Error("the cut lan still carries")
	}
	if !two.reaches("a", "10.88.1.2") {
		t.Error("a cut in one lab cuts the other")
	}
	one.ok("down")
	if !two.reaches("client", "10.88.1.254") {
		t.Error("the end of one lab hurts the other")
	}
}
