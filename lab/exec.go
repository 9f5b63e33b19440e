package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// execute replaces this process by a command inside a node or the client; it returns only with an error.
func execute(ctx context.Context, l layout, where string, command []string) error {
	if where == "client" {
		return executeInClient(l, command)
	}
	if !isNode(where) {
		return usage("%q is no place in the lab: use a, b or client", where)
	}
	s, err := askStatus(ctx, l)
	if err != nil {
		return err
	}
	for _, n := range s.Nodes {
		if n.Node == where && n.On {
			return enter(*n.PID, command)
		}
	}
	return fmt.Errorf("node %s is off: switch it on with `evenkeel lab start %s`", where, where)
}

// executeInClient has the client's network; everything else is the machine's own.
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
