package control

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Kill ends the process pid by SIGKILL, if it is the one that serves the socket: for a volume that hangs and answers no order. When it returns, that
// process completes nothing any more: a thread that waits for a disk never comes back to its program. Nobody there, or another process: done.
func (c *Client) Kill(ctx context.Context, pid int) error {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil // nobody serves it
	}
	defer conn.Close()
	serving, err := servedBy(conn.(*net.UnixConn))
	if err != nil || serving != pid {
		return err
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("cannot end the volume's process %d: %w", pid, err)
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
