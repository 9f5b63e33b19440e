package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The ways to be frozen.
const (
	frozenMachine  = "machine"
	frozenUserland = "userland"
)

// freeze pauses a machine: every process is stopped, and unless only userland is meant its kernel falls silent too, with the
// carrier up.
func (d *daemon) freeze(node string, userland bool) error {
	r, err := d.mustBeOn(node)
	if err != nil {
		return err
	}
	if r.frozen != "" {
		return fmt.Errorf("node %s is frozen already", node)
	}
	err = signalAll(r.space, unix.SIGSTOP)
	if err == nil && !userland {
		err = d.change(func(f faults) { f.frozen[node] = true })
	}
	if err != nil { // half frozen is not frozen: `thaw` would refuse what was stopped
		return errors.Join(err, signalAll(r.space, unix.SIGCONT))
	}
	r.frozen = frozenUserland
	if !userland {
		r.frozen = frozenMachine
		d.serial.set(func(f *serialFaults) { f.paused++ })
	}
	return nil
}

// thaw lets a frozen machine go on.
func (d *daemon) thaw(node string) error {
	r, err := d.mustBeOn(node)
	if err != nil {
		return err
	}
	if r.frozen == "" {
		return fmt.Errorf("node %s is not frozen", node)
	}
	if r.frozen == frozenMachine {
		d.release(node)
		err = d.hub.apply(d.faults)
	}
	r.frozen = ""
	return errors.Join(err, signalAll(r.space, unix.SIGCONT))
}

// release lets frames and bytes of a frozen machine through again.
func (d *daemon) release(node string) {
	delete(d.faults.frozen, node)
	d.serial.set(func(f *serialFaults) { f.paused-- })
}

// signalAll signals every process of a PID namespace until no new one appears: one that forks while the others are
// being stopped is found in the next round.
func signalAll(space uint64, signal syscall.Signal) error {
	seen := map[int]bool{}
	for range 50 {
		found := false
		for _, pid := range inNamespace("pid", space) {
			if seen[pid] {
				continue
			}
			seen[pid], found = true, true
			if err := unix.Kill(pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("process %d cannot be signalled: %w", pid, err)
			}
		}
		if !found {
			return nil
		}
	}
	return errors.New("processes appear faster than they can be stopped")
}

// wakeParents lets the parents outside of a machine's processes go on (a `lab exec` that was stopped by Ctrl-Z): a machine does
// not end before each of its processes was waited for.
func wakeParents(space uint64) {
	for _, pid := range inNamespace("pid", space) {
		if parent := parentOf(pid); parent > 1 && parent != os.Getpid() && inode(fmt.Sprintf("/proc/%d/ns/pid", parent)) != space {
			_ = unix.Kill(parent, unix.SIGCONT)
		}
	}
}

// killProcess kills the processes of a node that its supervisor knows under the name: heart, engine, web, volume (all of
// them) or volume/NAME.
func (d *daemon) killProcess(node, name string) (int, error) {
	r, err := d.mustBeOn(node)
	if err != nil {
		return 0, err
	}
	processes, err := readProcesses(d.layout, node, r.space)
	if err != nil {
		return 0, err
	}
	killed := 0
	for _, p := range processes {
		if p.Name != name && !strings.HasPrefix(p.Name, name+"/") || p.HostPID == 0 {
			continue
		}
		if err := unix.Kill(p.HostPID, unix.SIGKILL); err != nil {
			return killed, fmt.Errorf("process %s of node %s cannot be killed: %w", name, node, err)
		}
		killed++
	}
	if killed == 0 {
		return 0, usage("node %s runs no process %q: see `evenkeel lab status`", node, name)
	}
	return killed, nil
}
