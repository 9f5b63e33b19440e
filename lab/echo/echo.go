// Package echo is one of the lab's two services: each UDP datagram or TCP line comes back with the node's name before it, so that a client
// sees who answers.
package echo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
)

// Bounds of the service.
const (
	maxText     = 1400            // bytes of a datagram or a line
	maxConns    = 64              // TCP connections at one time
	idleTimeout = time.Minute     // of a TCP connection
	writeLimit  = 5 * time.Second // for one answer
)

// Run answers `NODE TEXT` on a port of all addresses until ctx ends.
func Run(ctx context.Context, node string, port int) error {
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	if err != nil {
		return fmt.Errorf("echo cannot listen on UDP port %d: %w", port, err)
	}
	defer udp.Close()
	tcp, err := net.ListenTCP("tcp4", &net.TCPAddr{Port: port})
	if err != nil {
		return fmt.Errorf("echo cannot listen on TCP port %d: %w", port, err)
	}
	defer tcp.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	var loops sync.WaitGroup
	loops.Go(func() { cancel(datagrams(udp, node)) })
	loops.Go(func() { cancel(connections(ctx, tcp, node)) })
	<-ctx.Done()
	_, _ = udp.Close(), tcp.Close()
	loops.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// datagrams answers from the address that was asked: with several addresses on a device the kernel would choose the first, and a client that
// asked the virtual address would hear a stranger.
func datagrams(udp *net.UDPConn, node string) error {
	conn := ipv4.NewPacketConn(udp)
	if err := conn.SetControlMessage(ipv4.FlagDst, true); err != nil {
		return err
	}
	buf := make([]byte, maxText)
	for {
		n, control, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		out := &ipv4.ControlMessage{}
		if control != nil {
			out.Src = control.Dst
		}
		_, _ = conn.WriteTo(fmt.Appendf(nil, "%s %s", node, buf[:n]), out, from) // a lost answer is the network's
	}
}

// connections answers each connection line by line.
func connections(ctx context.Context, tcp *net.TCPListener, node string) error {
	room := make(chan struct{}, maxConns)
	for {
		conn, err := tcp.Accept()
		if err != nil {
			return err
		}
		select {
		case room <- struct{}{}:
			go func() {
				defer func() { <-room }()
				lines(ctx, conn, node)
			}()
		default:
			_ = conn.Close()
		}
	}
}

// lines answers one connection until it is idle for too long, closed, or ctx ends.
func lines(ctx context.Context, conn net.Conn, node string) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(idleTimeout))
	for s := bufio.NewScanner(conn); s.Scan() && len(s.Text()) <= maxText; {
		_ = conn.SetDeadline(time.Now().Add(writeLimit))
		if _, err := fmt.Fprintf(conn, "%s %s\n", node, s.Text()); err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(idleTimeout))
	}
}
