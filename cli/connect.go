package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"

	"github.com/spf13/cobra"

	"evenkeel/ha/control"
)

// dial finds the engine that --node means.
//
// Inside a node it is this node's engine, and other names the peer if --node does. Outside, where no evenkeel.toml is, the node must be one of
// the lab's.
func (a *app) dial() (c *control.Client, other string, err error) {
	run, self, err := a.RunDir(a.config)
	if err == nil && a.lab == "" {
		if a.node == self {
			return control.NewClient(filepath.Join(run, control.SocketName)), "", nil
		}
		return control.NewClient(filepath.Join(run, control.SocketName)), a.node, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, "", err
	}
	dir := cmp.Or(a.lab, os.Getenv("EVENKEEL_LAB"), defaultLab)
	if a.node == "" {
		return nil, "", &control.Error{Exit: control.ExitNotRunning, Code: "not_running",
			Text: fmt.Sprintf("no node is configured on this machine (%s is missing): run this inside a node, or add --node a or --node b to ask the lab's", a.config)}
	}
	if len(a.node) != 1 || a.node[0] < 'a' || a.node[0] > 'z' {
		return nil, "", usageError{fmt.Errorf("--node %q is not a node: enter a or b", a.node)}
	}
	if _, err := os.Stat(filepath.Join(dir, a.node)); err != nil {
		return nil, "", &control.Error{Exit: control.ExitNotRunning, Code: "no_lab",
			Text: fmt.Sprintf("no lab with a node %s is in %s: start one with `evenkeel lab up`, or name its folder with --lab", a.node, dir)}
	}
	return control.NewClient(filepath.Join(dir, a.node, "run", control.SocketName)), "", nil
}

// dialHere is dial for commands that act: they must be given to the node itself.
func (a *app) dialHere() (*control.Client, error) {
	c, other, err := a.dial()
	if err == nil && other != "" {
		return nil, usageError{fmt.Errorf("this command acts on the node it is given to: run it on node %s", other)}
	}
	return c, err
}

// noOtherNode refuses --node for commands that open a disk of the machine on which they run: it would not be the disk that was meant.
func (a *app) noOtherNode() error {
	if a.node == "" {
		return nil
	}
	if _, self, err := a.RunDir(a.config); err == nil && a.node == self {
		return nil
	}
	return usageError{fmt.Errorf("this command opens a disk of the machine that it runs on: run it on node %s, without --node", a.node)}
}

// refuseLab refuses --lab before a command that opens what is on the machine it runs on (settings, users, backing disks): on a machine that is itself
// a node called a, the real one would be changed. EVENKEEL_LAB is no such wish: it only says where the lab is once one is meant, and is
// set inside the lab's nodes as well.
func (a *app) refuseLab(c *cobra.Command, _ []string) error {
	if a.lab == "" {
		return nil
	}
	return usageError{fmt.Errorf("this command works on the machine that it runs on, not on a node of the lab in %s: run it inside with its arguments: evenkeel lab --dir %s exec %s -- %s",
		a.lab, a.lab, cmp.Or(a.node, "a"), c.CommandPath())}
}

// by names the person for the log.
func by() string {
	if u := os.Getenv("SUDO_USER"); u != "" {
		return u + " (command line)"
	}
	if u, err := user.Current(); err == nil {
		return u.Username + " (command line)"
	}
	return "command line"
}
