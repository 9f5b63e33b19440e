package control

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Kill ends the process pid by SIGKILL, if it is the one that serves the socket: for a volume that hangs and answers no order. When it returns, that
// process completes nothing any more: a thread that waits for a disk never comes back to its program. Nobody there, or another process: done.
// pid 0 = whichever serves it.
func (c *Client) Kill(ctx context.Context, pid int) error {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "unix", c.socket)
	switch {
	case errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT):
		return nil // nobody serves it
	case err != nil: // it may live: a stopped one takes no connection once its queue is full
		return fmt.Errorf("cannot tell whether the volume's process still runs: %w", err)
	}
	defer conn.Close()
	serving, err := servedBy(conn.(*net.UnixConn))
	if err != nil || pid != 0 && serving != pid {
		return err
	}
	if err := unix.Kill(serving, unix.SIGKILL); err != nil {
		return fmt.Errorf("cannot end the volume's process %d: %w", serving, err)
	}
	return nil
}

// servedBy asks the kernel which process listens at the other end.
func servedBy(conn *net.UnixConn) (pid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var got error
	if err := raw.Control(func(fd uintptr) { cred, got = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if got != nil {
		return 0, fmt.Errorf("cannot tell who serves the volume's socket: %w", got)
	}
	return int(cred.Pid), nil
}
