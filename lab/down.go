package lab

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// down ends a lab, whether its daemon lives or not, and leaves nothing behind: the daemon first (with it go the namespaces without
// processes, the bridges and the file systems of its mount namespace), then the machines, their loop devices and whatever still runs in the lab's
// networks. Machines are killed by their first process, which ends frozen ones too. It says whether there was a lab.
func down(l layout) (was bool, err error) {
	r, was, err := readRecord(l)
	if err != nil || !was {
		return was, err
	}
	var errs []error
	if r.Daemon.alive() { // let it finish the write that it is in: SIGKILL between two machines would be found in lab.json all the same
		errs = append(errs, r.Daemon.kill(killLimit))
		if r, _, err = readRecord(l); err != nil {
			return true, errors.Join(append(errs, err)...)
		}
	}
	var loops []loopDevice
	for _, p := range r.Nodes {
		if p.alive() {
			loops = append(loops, loopsOf(p.PID)...)
			wakeParents(inode(fmt.Sprintf("/proc/%d/ns/pid", p.PID)))
		}
	}
	for _, p := range r.Nodes {
		errs = append(errs, p.kill(killLimit))
	}
	errs = append(errs, detach(loops))
	for who, space := range r.Namespaces {
		errs = append(errs, killIn(who, space))
	}
	if err := errors.Join(errs...); err != nil {
		return true, err
	}
	return true, l.remove()
}

// killIn ends every process that is left in a network namespace of the lab: a command of `lab exec client`, for one. A namespace that is gone has
// none; its inode may be another's by now, so nothing is killed in the caller's own.
func killIn(who string, space uint64) error {
	if space == inode("/proc/self/ns/net") {
		return nil
	}
	for end := time.Now().Add(killLimit); ; {
		pids := inNamespace("net", space)
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if err := identify(pid).kill(time.Until(end)); err != nil {
				return fmt.Errorf("a process is left in the network of %s: %w", who, err)
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("processes %v in the network of %s come back as fast as they are killed", pids, who)
		}
	}
}

// enterClient moves the calling thread into the client's network namespace; what it executes is there.
func enterClient(l layout) error {
	r, made, err := readRecord(l)
	if err != nil {
		return err
	}
	if !made || !r.Daemon.alive() {
		return noLab(l, errors.New("it is not there"))
	}
	f, err := os.Open(r.ClientNet)
	if err != nil {
		return fmt.Errorf("the client's network cannot be entered: %w", err)
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("the client's network cannot be entered: %w", err)
	}
	return nil
}
