package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// certificate makes a self-signed pair in PEM.
func certificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(-time.Hour)} // expired: dates say nothing here
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// folder holds node.crt, node.key and peer.crt.
func folder(t *testing.T, cert, key, peer []byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{"node.crt": cert, "node.key": key, "peer.crt": peer} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func configs(t *testing.T, dir string) (server, client *tls.Config) {
	t.Helper()
	server, client, err := PinnedTLS(dir)
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}

// Exactly the pinned certificate is accepted, both ways; an answer, a refusal and a body come through whole.
func TestOnlyThePinnedPeer(t *testing.T) {
	certA, keyA := certificate(t)
	certB, keyB := certificate(t)
	certC, keyC := certificate(t)
	serverA, _ := configs(t, folder(t, certA, keyA, certB))
	_, clientB := configs(t, folder(t, certB, keyB, certA))
	_, stranger := configs(t, folder(t, certC, keyC, certA))
	_, misled := configs(t, folder(t, certB, keyB, certC)) // the right key, but another server is expected

	listener, err := net.Listen("tcp", "127.0.0.1:0") // a free port; Serve binds it again
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /good", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"n":7}`)) })
	mux.HandleFunc("POST /bad", func(w http.ResponseWriter, _ *http.Request) {
		(&control.Error{Exit: control.ExitRefused, Code: "no", Text: "No."}).Write(w)
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Serve(ctx, Options{Listen: []string{address}, TLS: serverA, Handler: mux, Log: slog.New(slog.DiscardHandler)})
	}()
	defer func() { cancel(); <-done }()

	var got struct{ N int }
	client := NewClient([]string{"127.0.0.1:1", address}, clientB) // the first address is dead
	deadline := time.Now().Add(5 * time.Second)
	for err = client.Get(ctx, "/good", &got); err != nil && time.Now().Before(deadline); err = client.Get(ctx, "/good", &got) {
		select { // the listener is on its way
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	if err != nil || got.N != 7 {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := client.Post(ctx, "/bad", struct{}{}, nil); err == nil || err.Error() != "No." {
		t.Errorf("the refusal came as %v", err)
	}
	for name, config := range map[string]*tls.Config{"a stranger's certificate": stranger, "another server's pin": misled} {
		if err := NewClient([]string{address}, config).Get(ctx, "/good", &got); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// A folder that lacks something, or holds something else, is one clear sentence.
func TestPinnedTLSErrors(t *testing.T) {
	cert, key := certificate(t)
	for name, dir := range map[string]string{
		"empty folder":  t.TempDir(),
		"no peer":       folder(t, cert, key, nil),
		"peer is a key": folder(t, cert, key, key),
	} {
		if _, _, err := PinnedTLS(dir); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}
