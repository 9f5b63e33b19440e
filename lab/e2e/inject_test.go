package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel/ha/control"
)

// inject hears one beat of a on the client's lan device and sends it again: as it is, with TTL 64, under another cluster id, and with a changed
// signature. Offsets are those of ha/beat's page.
func inject(ctx context.Context) int {
	if err := injectOnce(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func injectOnce(ctx context.Context) error {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 255)
			_ = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lan")
		})
	}}
	pc, err := lc.ListenPacket(ctx, "udp4", ":999")
	if err != nil {
		return err
	}
	c := pc.(*net.UDPConn)
	defer c.Close()
	beat, err := hear(c)
	if err != nil {
		return err
	}
	foreign := append([]byte(nil), beat...)
	foreign[3] ^= 1
	forged := append([]byte(nil), beat...)
	forged[len(forged)-1] ^= 1
	for range 3 {
		for _, b := range [][]byte{beat, foreign, forged} {
			if err := say(c, b, 255); err != nil {
				return err
			}
		}
		if err := say(c, beat, 64); err != nil {
			return err
		}
	}
	return nil
}

// hear waits for a beat of node a.
func hear(c *net.UDPConn) ([]byte, error) {
	buf := make([]byte, 2048)
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	for {
		n, from, err := c.ReadFromUDP(buf)
		if err != nil {
			return nil, fmt.Errorf("no beat heard: %w", err)
		}
		if from.IP.String() == "10.88.1.1" {
			return buf[:n], nil
		}
	}
}

func say(c *net.UDPConn, b []byte, ttl int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, ttl) })
	_, err = c.WriteToUDP(b, &net.UDPAddr{IP: net.IPv4(10, 88, 1, 255), Port: 999})
	return err
}

func (l *lab) testRefused(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before, _ := l.status("b")
	l.in(t, "client", "env", "E2E_HELPER=inject", self)
	for _, why := range []string{"replay", "ttl", "cluster", "key"} {
		l.is(t, 10*time.Second, "b", "counts the refused beat: "+why, func(s control.Status) bool {
			return refused(s, "lan", why) > refused(before, "lan", why)
		})
	}
	after, _ := l.status("b")
	if after.State != "slave" || after.Epoch != before.Epoch || !after.Peer.Alive {
		t.Errorf("the injected beats had an effect: %+v", after.Peer)
	}
}
