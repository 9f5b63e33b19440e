package lab_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// listen reads n bytes from a node's serial port; the channel gets them.
func (w *world) listen(node, n string) <-chan string {
	w.t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe", "lab", "--dir", w.dir, "exec", node, "--", "head", "-c", n, "/dev/ttyS0")
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	heard := make(chan string, 1)
	go func() {
		_ = cmd.Wait()
		heard <- out.String()
	}()
	return heard
}

// say writes a text of n bytes to a node's serial port.
func (w *world) say(node, letter, n string) {
	w.t.Helper()
	w.ok("exec", node, "--", "sh", "-c", "head -c "+n+" /dev/zero | tr '\\0' "+letter+" > /dev/ttyS0")
}

// hears waits for what was listened to.
func (w *world) hears(heard <-chan string, limit time.Duration) (string, bool) {
	select {
	case s := <-heard:
		return s, true
	case <-time.After(limit):
		return "", false
	}
}

// dropped waits until the line has dropped so many bytes in all.
func (w *world) dropped(bytes uint64) {
	w.t.Helper()
	within(w.t, 3*time.Second, "the line drops the bytes", func() bool { return w.status().Serial.Dropped == bytes })
}

func TestSerialLineIsPaced(t *testing.T) {
	w := newWorld(t)
	w.ok("baud", "serial", "9600")
	heard := w.listen("b", "960")
	began := time.Now()
	w.say("a", "x", "960")
	s, ok := w.hears(heard, 20*time.Second)
	took := time.Since(began)
	if !ok || s != strings.Repeat("x", 960) {
		t.Fatalf("960 bytes over the serial line: %t %q", ok, s)
	}
	t.Logf("960 bytes at 9600 baud took %s, stated: 1 s", took)
	if took < 900*time.Millisecond {
		t.Errorf("the line carries 960 bytes at 9600 baud in %s", took)
	}
}

func TestSerialCutDropsAndFlushes(t *testing.T) {
	w := newWorld(t)
	w.ok("cut", "serial", "--to", "b")
	atA, atB := w.listen("a", "4"), w.listen("b", "8")
	w.say("b", "u", "4")
	if s, ok := w.hears(atA, 3*time.Second); !ok || s != "uuuu" {
		t.Errorf("the other way is cut too: %q", s)
	}
	w.say("a", "x", "8")
	w.dropped(8)
	w.ok("join", "serial")
	w.say("a", "y", "8")
	if s, ok := w.hears(atB, 3*time.Second); !ok || s != "yyyyyyyy" {
		t.Fatalf("after the cut b hears %q: what was cut must be dropped, not queued", s)
	}
	w.ok("kill", "b")
	w.say("a", "z", "8")
	w.dropped(16)
	w.ok("start", "b")
	atB = w.listen("b", "2")
	w.say("a", "!", "2")
	if s, ok := w.hears(atB, 3*time.Second); !ok || s != "!!" {
		t.Errorf("a machine that returns hears %q of the time when it was off", s)
	}
}

func TestSerialNoise(t *testing.T) {
	w := newWorld(t)
	w.ok("noise", "serial", "100%")
	heard := w.listen("b", "64")
	w.say("a", "x", "64")
	if s, ok := w.hears(heard, 3*time.Second); !ok || strings.Contains(s, "x") || len(s) != 64 {
		t.Errorf("with 100%% noise b hears %q", s)
	}
}
