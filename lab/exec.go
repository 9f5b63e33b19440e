package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// execute runs a command inside a node or the client and returns its exit code.
func execute(ctx context.Context, l layout, where string, command []string) (int, error) {
	if where == "client" {
		return 0, executeInClient(l, command)
	}
	if !isNode(where) {
		return 0, usage("%q is no place in the lab: use a, b or client", where)
	}
	s, err := askStatus(ctx, l)
	if err != nil {
		return 0, err
	}
	for _, n := range s.Nodes {
		if n.Node == where && n.On {
			return executeInNode(*n.PID, command)
		}
	}
	return 0, fmt.Errorf("node %s is off: switch it on with `evenkeel lab start %s`", where, where)
}

// executeInClient replaces this process: the client has its own network, everything else is the machine's own.
func executeInClient(l layout, command []string) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return fmt.Errorf("%s cannot be run: %w", command[0], err)
	}
	runtime.LockOSThread() // the thread that executes is the process from then on
	if err := enterClient(l); err != nil {
		return err
	}
	return unix.Exec(path, command, os.Environ())
}

// executeInNode runs a command as a child in all namespaces of a machine and passes signals on. nsenter would do, but it stops
// itself when its child is frozen with the machine, and a machine cannot end before its last process was waited for.
func executeInNode(init int, command []string) (int, error) {
	runtime.LockOSThread() // this thread alone moves; the child is made from it
	if err := enterNode(init); err != nil {
		return 0, fmt.Errorf("the node cannot be entered: %w", err)
	}
	if err := os.Setenv("PATH", filepath.Dir(program)+":"+os.Getenv("PATH")); err != nil {
		return 0, err
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return 0, fmt.Errorf("%s cannot be run in the node: %w", command[0], err)
	}
	cmd := exec.Command(path, command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("%s cannot be run in the node: %w", command[0], err)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	go func() { // ends with the process
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	var ended *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &ended) {
		return 0, err
	}
	if s, ok := ended.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal()), nil // as a shell says it
	}
	return ended.ExitCode(), nil
}

// enterNode moves the calling thread into the namespaces of a machine, the one of files last: /proc changes with it.
func enterNode(init int) error {
	kinds := []string{"net", "uts", "ipc", "pid", "mnt"}
	files := make([]*os.File, len(kinds))
	for i, kind := range kinds {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", init, kind))
		if err != nil {
			return err
		}
		defer f.Close()
		files[i] = f
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // threads that share their root may not change it
		return err
	}
	for _, f := range files {
		if err := unix.Setns(int(f.Fd()), 0); err != nil {
			return err
		}
	}
	return unix.Chdir("/")
}
