package web

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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

// Half a pair of the administrator's was meant to be used; half a pair of its own the console makes whole.
func TestHalfACertificate(t *testing.T) {
	for _, missing := range []string{certificateFile, keyFile} {
		own, given := t.TempDir(), t.TempDir()
		for _, dir := range []string{own, given} {
			must(t, makeCertificate(dir, "a"))
			must(t, os.Remove(filepath.Join(dir, missing)))
		}
		if _, _, err := loadCertificate(given, own, "a"); err == nil || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), given) {
			t.Errorf("without the administrator's %s: %v", missing, err)
		}
		if _, _, err := loadCertificate(t.TempDir(), own, "a"); err != nil {
			t.Errorf("without its own %s: %v", missing, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
