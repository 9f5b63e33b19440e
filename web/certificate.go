package web

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

const (
	certificateFile = "console.crt"
	keyFile         = "console.key"
	certificateLife = 10 * 365 * 24 * time.Hour
)

// loadCertificate returns the administrator's own certificate from tlsDir, else the self-signed one from ownDir, which is made
// at the first start. An administrator's that cannot be used is an error, not a reason for the self-signed one: the browser would warn,
// and who got used to that warning could not tell a stranger's certificate. The fingerprint is the SHA-256 of the certificate, for people to compare.
func loadCertificate(tlsDir, ownDir, node string) (tls.Certificate, string, error) {
	if tlsDir != "" && (exists(tlsDir, certificateFile) || exists(tlsDir, keyFile)) { // half a pair was meant to be used too
		return readCertificate(tlsDir)
	}
	if !exists(ownDir, certificateFile) || !exists(ownDir, keyFile) {
		if err := makeCertificate(ownDir, node); err != nil {
			return tls.Certificate{}, "", err
		}
	}
	return readCertificate(ownDir)
}

// exists says whether there is such a file; one that cannot be looked at is there, and reading it says what is wrong.
func exists(dir, file string) bool {
	_, err := os.Stat(filepath.Join(dir, file))
	return !errors.Is(err, fs.ErrNotExist)
}

// readCertificate reads a pair that must be whole.
func readCertificate(dir string) (tls.Certificate, string, error) {
	c, err := tls.LoadX509KeyPair(filepath.Join(dir, certificateFile), filepath.Join(dir, keyFile))
	if err != nil {
		return c, "", fmt.Errorf("the console's certificate in %s cannot be used: %w; put %s and %s there, or remove both for a self-signed one", dir, err, certificateFile, keyFile)
	}
	return c, fingerprintOf(c), nil
}

// makeCertificate writes a self-signed certificate for this machine's names and addresses. The key is written first: a
// certificate without its key would look like a broken one of the administrator's.
func makeCertificate(dir, node string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the console's key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return fmt.Errorf("make the certificate's number: %w", err)
	}
	host, _ := os.Hostname() // without a name the addresses remain
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Evenkeel console of node " + node},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		DNSNames: []string{"localhost"}, IPAddresses: ownAddresses(),
	}
	if host != "" {
		template.DNSNames = append(template.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("make the console's certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the console's key: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of the console's certificate: %w", err)
	}
	for _, part := range []struct {
		file, kind string
		data       []byte
	}{{keyFile, "PRIVATE KEY", private}, {certificateFile, "CERTIFICATE", der}} {
		text := pem.EncodeToMemory(&pem.Block{Type: part.kind, Bytes: part.data})
		if err := renameio.WriteFile(filepath.Join(dir, part.file), text, 0o600); err != nil {
			return fmt.Errorf("store the console's certificate: %w", err)
		}
	}
	return nil
}

// ownAddresses are the addresses of this machine at this moment.
func ownAddresses() []net.IP {
	list, _ := net.InterfaceAddrs() // none: the name remains
	var ips []net.IP
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			ips = append(ips, n.IP)
		}
	}
	return ips
}

func fingerprintOf(c tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	return hex.EncodeToString(sum[:])
}
