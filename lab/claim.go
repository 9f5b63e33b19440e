package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// errClaimed says that somebody else works in the lab's folder.
var errClaimed = errors.New("another `lab up` or `lab down` works in it at this moment: wait for it, or choose another --dir")

// claim locks the lab's folder: whoever starts or ends a lab holds it meanwhile, and a lab's daemon as long as it lives. It is a lock of the folder
// itself, so nothing is left of it. The folder may have been removed while it was being opened; the lock of what is gone is worth nothing.
func (l layout) claim() (*os.File, error) {
	lock, err := os.Open(l.dir)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if mine := inode(fmt.Sprintf("/proc/self/fd/%d", lock.Fd())); err == nil && mine == inode(l.dir) {
		return lock, nil
	}
	_ = lock.Close()
	if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s cannot be locked: %w", l.dir, err)
	}
	return nil, fmt.Errorf("%s: %w", l.dir, errClaimed)
}

// claimEnded ends the lab's daemon and claims its folder; nil if no lab is there. A lab that is just being started or ended is waited for.
func claimEnded(l layout) (*os.File, error) {
	for end := time.Now().Add(endLimit); ; time.Sleep(claimPause) {
		r, made, err := readRecord(l)
		if err != nil || !made {
			return nil, err
		}
		if err := r.Daemon.end(endLimit); err != nil {
			return nil, err
		}
		lock, err := l.claim()
		if err == nil {
			return lock, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && (!errors.Is(err, errClaimed) || time.Now().After(end)) {
			return nil, err
		}
	}
}

// claimPause is the time between two tries to claim the folder.
const claimPause = 20 * time.Millisecond

// prepare claims the folder for a new lab: the leftovers of one that crashed are cleaned away, and lab.json marks what is made from then on as the
// lab's, so that `lab down` finds it whatever happens next.
func prepare(l layout, o Options) (*os.File, error) {
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, fmt.Errorf("the lab's folder %s cannot be made: %w; choose another with --dir", l.dir, err)
	}
	lock, err := l.claim()
	if err != nil {
		return nil, err
	}
	if err := furnish(l, o); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// furnish makes the folders of a lab in a claimed folder.
func furnish(l layout, o Options) error {
	if err := clean(l); err != nil {
		return fmt.Errorf("the lab that crashed in %s cannot be cleaned away: %w", l.dir, err)
	}
	if err := l.vacant(); err != nil {
		return err
	}
	if err := (Record{Options: o}).write(l); err != nil {
		return fmt.Errorf("the lab's folder %s cannot be written to: %w; choose another with --dir", l.dir, err)
	}
	return l.make()
}

// vacant refuses a folder in which something stands that the lab would take for its own and remove.
func (l layout) vacant() error {
	for _, n := range things() {
		if _, err := os.Lstat(filepath.Join(l.dir, n)); !errors.Is(err, fs.ErrNotExist) {
			return usage("%s is there and not the lab's: move it away, or choose another --dir", filepath.Join(l.dir, n))
		}
	}
	return nil
}
