package echo

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"testing"
	"time"
)

// start runs the service on a free port of this machine.
func start(t *testing.T) int {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, "a", port) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Error("echo does not end")
		}
	})
	return port
}

// dial reaches the service as soon as it listens.
func dial(t *testing.T, port int) net.Conn {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			return conn
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestLinesAndDatagrams(t *testing.T) {
	port := start(t)
	conn := dial(t, port)
	fmt.Fprint(conn, "one\ntwo\n")
	lines := bufio.NewScanner(conn)
	for _, want := range []string{"a one", "a two"} {
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("a line comes back as %q, not %q", lines.Text(), want)
		}
	}
	// Each address of the machine answers with itself: a connected socket hears nobody else.
	for _, address := range []string{"127.0.0.1", "127.0.0.77"} {
		udp, err := net.Dial("udp4", net.JoinHostPort(address, fmt.Sprint(port)))
		if err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
		_ = udp.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprint(udp, "hello")
		buf := make([]byte, 100)
		if n, err := udp.Read(buf); err != nil || string(buf[:n]) != "a hello" {
			t.Errorf("%s answers %q (%v)", address, buf[:n], err)
		}
	}
}
