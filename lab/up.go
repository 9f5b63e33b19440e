package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// upLimit is how long the daemon may take until both machines are on.
const upLimit = 60 * time.Second

// maxDir is how long the name of the lab's folder may be: the kernel takes 107 bytes for the name of a socket, and volume-NAME.sock with a NAME
// of 16 bytes stands in a/run below it.
const maxDir = 75

// up starts a lab: the leftovers of one that crashed are cleaned away, the daemon starts in a session and mount namespace of its own.
func up(l layout, o Options) error {
	if os.Geteuid() != 0 {
		return errors.New("the lab needs root, for its namespaces: run it with sudo")
	}
	if len(l.dir) > maxDir {
		return usage("the folder's name %s is longer than %d bytes, too long for the sockets in it: choose another --dir", l.dir, maxDir)
	}
	if info, err := os.Stat(l.dir); err == nil && !info.IsDir() {
		return usage("%s is not a folder: choose another --dir", l.dir)
	}
	r, made, err := readRecord(l)
	if err != nil {
		return err
	}
	if made && r.Daemon.alive() {
		return fmt.Errorf("a lab runs in %s already (process %d): end it with `evenkeel lab down`, or choose another --dir", l.dir, r.Daemon.PID)
	}
	lock, err := prepare(l, o)
	if err != nil {
		return err
	}
	defer lock.Close() // the daemon has it too
	if err := startDaemon(l, o, lock); err != nil {
		return errors.Join(err, clean(l), l.remove())
	}
	return nil
}

// startDaemon starts `lab daemon`, hands the lock of the folder on to it, and waits until it says that the machines are on. A daemon that does not is
// ended.
func startDaemon(l layout, o Options, lock *os.File) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	options, err := json.Marshal(o)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(l.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	ready, readyOut, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command(self, "lab", "daemon", "--dir", l.dir, "--options", string(options))
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = "/", log, log, []*os.File{readyOut, lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: unix.CLONE_NEWNS} // Go makes the new namespace's mounts private
	err = cmd.Start()
	_ = readyOut.Close()
	if err != nil {
		return fmt.Errorf("the lab's daemon does not start: %w", err)
	}
	daemon := identify(cmd.Process.Pid)
	go func() { _ = cmd.Wait() }() // reaps it while this process lives
	if err := awaitReady(l, ready); err != nil {
		return errors.Join(err, daemon.end(endLimit))
	}
	return nil
}

// awaitReady waits until the daemon says that the machines are on, or why not.
func awaitReady(l layout, ready *os.File) error {
	_ = ready.SetReadDeadline(time.Now().Add(upLimit))
	said, err := io.ReadAll(io.LimitReader(ready, 1<<16))
	switch {
	case string(said) == readyWord:
		return nil
	case len(said) > 0:
		return errors.New(strings.ReplaceAll(strings.TrimSpace(string(said)), "\n", "; "))
	case err != nil:
		return fmt.Errorf("the lab was not up within %s: see %s", upLimit, l.log())
	}
	return errors.New("the lab's daemon died before the lab was up")
}
