package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// TestWire looks at what goes over the cables: no entry's text in clear; and recorded or foreign beats are refused, each with its own counter.
func TestWire(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	t.Run("nothing in clear", func(t *testing.T) { l.testSecret(t) })
	t.Run("beats refused", func(t *testing.T) { l.testRefused(t) })
	t.Run("a stranger has the address", func(t *testing.T) { l.testStranger(t) })
}

// capture runs tcpdump inside a namespace into a file until stopped.
func (l *lab) capture(t *testing.T, where, device, filter string) (stop func() []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pcap")
	cmd := exec.Command(bin, "lab", "exec", where, "--", "tcpdump", "-i", device, "-U", "-s", "0", "-w", file, "-Z", "root", filter)
	cmd.Env = append(os.Environ(), "EVENKEEL_LAB="+l.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.await(t, 10*time.Second, "tcpdump sees frames", func() bool {
		b, err := os.ReadFile(file)
		return err == nil && len(b) > 24
	})
	return func() []byte {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		_ = cmd.Wait()
		b, _ := os.ReadFile(file)
		return b
	}
}

func (l *lab) testSecret(t *testing.T) {
	stops := []func() []byte{l.capture(t, "b", "sync", ""), l.capture(t, "b", "lan", "host 10.88.1.1 and host 10.88.1.2 or udp port 999")}
	const secret = "a-very-well-known-entry-that-must-not-be-seen"
	for i := range 5 {
		l.in(t, "client", "curl", "-sS", "--fail", "--max-time", "20", "-d", fmt.Sprintf("%s %d", secret, i), guestbook)
	}
	s, _ := l.status("a")
	if s.Volumes[0].Connection != "Connected" {
		t.Error("the volume is not mirrored: the capture proves nothing")
	}
	for i, stop := range stops {
		b := stop()
		if len(b) < 1000 {
			t.Errorf("capture %d saw only %d bytes", i, len(b))
		}
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("capture %d shows the entry's text", i)
		}
	}
}

func (l *lab) testStranger(t *testing.T) {
	l.do(t, "stop", "b")
	l.do(t, "stop", "a")
	l.in(t, "client", "ip", "address", "add", "10.88.1.100/32", "dev", "lan")
	defer func() {
		_, _ = l.try(10*time.Second, "lab", "exec", "client", "--", "ip", "address", "del", "10.88.1.100/32", "dev", "lan")
	}()
	l.do(t, "start", "a")
	l.do(t, "start", "b")
	l.await(t, 40*time.Second, "the stranger is named", func() bool {
		for _, n := range []string{"a", "b"} {
			if s, ok := l.status(n); ok && condition(s, "address.conflict") != nil {
				return true
			}
		}
		return false
	})
	l.in(t, "client", "ip", "address", "del", "10.88.1.100/32", "dev", "lan")
	l.calm(t, "a")
	l.in(t, "client", "ip", "address", "add", "10.88.1.100/32", "dev", "lan") // now it comes while a holds the address
	l.is(t, 40*time.Second, "a", "names the stranger and keeps the address", func(s control.Status) bool {
		return isMaster(s) && anyHeld(s) && condition(s, "address.conflict") != nil
	})
}

func refused(s control.Status, link, why string) uint64 {
	for _, l := range s.Links {
		if l.Name == link {
			return l.Refused[why]
		}
	}
	return 0
}
