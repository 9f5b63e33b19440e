package peer

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// PinnedTLS reads node.crt, node.key and peer.crt from dir and returns the configurations of both directions: TLS 1.3, this node's certificate,
// and exactly the peer's certificate accepted, byte for byte. Names, dates and authorities say nothing: the pairing exchanged the certificates.
func PinnedTLS(dir string) (server, client *tls.Config, err error) {
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "node.crt"), filepath.Join(dir, "node.key"))
	if err != nil {
		return nil, nil, fmt.Errorf("read this node's certificate in %s: %w: pair the nodes again", dir, err)
	}
	pinned, err := readCertificate(filepath.Join(dir, "peer.crt"))
	if err != nil {
		return nil, nil, err
	}
	server, client = Pinned(own, pinned)
	return server, client, nil
}

// Pinned makes the two configurations of a key pair and the peer's certificate in DER.
func Pinned(own tls.Certificate, peer []byte) (server, client *tls.Config) {
	base := tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own},
		// The pin is the check; the chain, the name and the dates of a self-signed certificate prove nothing more.
		InsecureSkipVerify:     true,
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true, // a resumed session would skip the check below
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 || !bytes.Equal(state.PeerCertificates[0].Raw, peer) {
				return errors.New("the other side's certificate is not the one pinned at pairing")
			}
			return nil
		},
	}
	return base.Clone(), base.Clone()
}

func readCertificate(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the peer's certificate: %w: pair the nodes again", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s holds no certificate: pair the nodes again", path)
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("%s holds a damaged certificate: %w: pair the nodes again", path, err)
	}
	return block.Bytes, nil
}
