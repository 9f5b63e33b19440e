package web

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	l := newLimiter(func() time.Time { return now })
	fail := func(address, account string) { l.tried(address, account, false) }
	for range freeTries - 1 {
		fail("1.1.1.1", "admin")
	}
	if w := l.wait("1.1.1.1", "admin"); w != 0 {
		t.Errorf("after %d failures one waits %v", freeTries-1, w)
	}
	fail("1.1.1.1", "admin")
	if w := l.wait("1.1.1.1", "other"); w != time.Second {
		t.Errorf("the address waits %v, want 1 s", w)
	}
	if w := l.wait("2.2.2.2", "ADMIN"); w != time.Second {
		t.Errorf("the account waits %v, want 1 s", w)
	}
	if w := l.wait("2.2.2.2", "other"); w != 0 {
		t.Errorf("a stranger to both waits %v", w)
	}
	for range 40 {
		fail("1.1.1.1", "admin")
	}
	if a, b := l.wait("1.1.1.1", "x"), l.wait("2.2.2.2", "admin"); a != waitMost || b != accountMost {
		t.Errorf("the waits are %v and %v, want %v and %v", a, b, waitMost, accountMost)
	}
	l.tried("3.3.3.3", "admin", true)
	if a, b := l.wait("1.1.1.1", "x"), l.wait("2.2.2.2", "admin"); a != waitMost || b != 0 {
		t.Errorf("after the right password the waits are %v and %v", a, b)
	}
	now = now.Add(forget + waitMost)
	fail("1.1.1.1", "admin")
	if w := l.wait("1.1.1.1", "admin"); w != 0 {
		t.Errorf("old failures still count: %v", w)
	}
	for i := range 2 * limiterMost {
		fail(time.Duration(i).String(), "x")
	}
	if len(l.tries) > limiterMost+1 {
		t.Errorf("%d names are remembered", len(l.tries))
	}
}

func TestCertificate(t *testing.T) {
	own, given := t.TempDir(), t.TempDir()
	c, first, err := loadCertificate(given, own, "a")
	if err != nil {
		t.Fatal(err)
	}
	x, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil || x.VerifyHostname("localhost") != nil || x.VerifyHostname("127.0.0.1") != nil {
		t.Errorf("the certificate does not fit this machine: %v", err)
	}
	info, err := os.Stat(filepath.Join(own, keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", info.Mode(), err)
	}
	if _, second, err := loadCertificate(given, own, "a"); err != nil || second != first {
		t.Errorf("a second start makes another certificate: %v", err)
	}
	if err := os.WriteFile(filepath.Join(given, certificateFile), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(given, keyFile), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := loadCertificate(given, own, "a"); err == nil {
		t.Error("a broken certificate of the administrator's is passed over without a word")
	}
}
