package supervise

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// claims is the folder below the run folder that holds one lock file for each process of the node.
const claims = "claims"

// Claim makes this process the only one of its name (run, heart, engine, web, volume/NAME) on the node. A second one ends here, before it has
// touched a socket, an address or a disk of the first: two engines would take each other's work down. The kernel gives the claim back when the
// process ends, however it ends; release does so earlier.
func Claim(runDir, name string) (release func(), err error) {
	dir := filepath.Join(runDir, claims)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("cannot make the run folder %s: %w", dir, err)
	}
	path := filepath.Join(dir, strings.ReplaceAll(name, "/", "-")+".lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot claim to be the only %s of this node: %w", name, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("cannot claim to be the only %s of this node: %w", name, err)
		}
		holder, _ := io.ReadAll(io.LimitReader(f, 32)) // only for the sentence
		return nil, fmt.Errorf("%q runs already on this node (process %s): nothing was started; stop that one first if this one is to take its place",
			name, strings.TrimSpace(string(holder)))
	}
	if err := errors.Join(f.Truncate(0), writePID(f)); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot note who is the %s of this node: %w", name, err)
	}
	return func() { f.Close() }, nil
}

func writePID(f *os.File) error {
	_, err := fmt.Fprintln(f, os.Getpid())
	return err
}
