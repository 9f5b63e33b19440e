package lab

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// down ends a lab, whether its daemon lives or not, and leaves nothing behind. A daemon that lives switches its machines off itself; with it go the
// bridges, the namespaces without processes and the file systems of its mount namespace. Then whatever is left is ended from
// outside: machines, frozen ones too, by their first process, their loop devices, and what still runs in the lab's networks. It says whether there was a lab.
func down(l layout) (was bool, err error) {
	lock, err := claimEnded(l)
	if err != nil || lock == nil {
		return false, err
	}
	defer lock.Close()
	if err := clean(l); err != nil {
		return true, err
	}
	return true, l.remove()
}

// clean ends and deletes what a lab without a daemon has left in a claimed folder.
func clean(l layout) error {
	r, made, err := readRecord(l)
	if err != nil || !made {
		return err
	}
	var errs []error
	for _, p := range r.Nodes {
		errs = append(errs, endMachine(p))
	}
	for who, space := range r.Namespaces {
		errs = append(errs, killIn(who, space))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return l.sweep()
}

// endLimit is how long the daemon may take to switch its machines off.
const endLimit = 20 * time.Second

// endMachine is a power cut without the daemon.
func endMachine(init Process) error {
	if !init.alive() {
		return nil
	}
	mounts, err := holdMounts(init.PID)
	if err != nil { // its first thread has ended, the others have not: there is nothing to hold any more
		return init.kill(killLimit)
	}
	loops := loopsOf(init.PID)
	wakeParents(inode(fmt.Sprintf("/proc/%d/ns/pid", init.PID)))
	err = errors.Join(init.kill(killLimit), mounts.Close())
	return errors.Join(err, detach(loops))
}

// killIn ends every process that is left in a network namespace of the lab: a command of `lab exec client`, for one. A namespace that is gone has
// none; its inode may be another lab's by now, so the cookie of each process's namespace is compared too.
func killIn(who string, s space) error {
	for end := time.Now().Add(killLimit); ; {
		var pids []Process
		for _, pid := range inNamespace("net", s.Inode) {
			if p := identify(pid); spaceOfProcess(pid) == s {
				pids = append(pids, p)
			}
		}
		if len(pids) == 0 {
			return nil
		}
		for _, p := range pids {
			if err := p.kill(time.Until(end)); err != nil {
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
