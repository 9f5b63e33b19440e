package volume

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"evenkeel/replication/control"
	"evenkeel/replication/export"
)

// pair is two volume processes in this one, over loopback TLS, on real files.
type pair struct {
	t    testing.TB
	a, b *side
}

// side is one of them. Its process can be ended and started again.
type side struct {
	t      testing.TB
	config control.Config
	opts   Options
	client *control.Client
	loop   *loop
	stop   context.CancelFunc
	ended  chan error
}

const testSize = 24 << 20

func newPair(t testing.TB, size int64) *pair {
	t.Helper()
	server, client := pinned(t)
	listen := freePort(t)
	make := func(node, peer string, dialer bool) *side {
		dir := t.TempDir()
		s := &side{t: t, config: control.Config{
			Name: "data", Node: node, Peer: peer, Backing: filepath.Join(dir, "data.img"), Listen: listen, Remote: listen, Dialer: dialer,
			StateDir: filepath.Join(dir, "state"), RunDir: shortDir(t), ClusterID: 3, Faults: filepath.Join(dir, "faults.json"),
		}}
		s.opts = Options{Server: server, Client: client, Log: testLog(t, node)}
		f, err := os.Create(s.config.Backing)
		must(t, err)
		must(t, f.Truncate(size))
		must(t, f.Close())
		_, err = Create(CreateOptions{Name: "data", Node: node, Backing: s.config.Backing, First: !dialer})
		must(t, err)
		return s
	}
	return &pair{t: t, a: make("a", "b", false), b: make("b", "a", true)}
}

// shortDir is a folder whose path is short enough for a unix socket.
func shortDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/tmp", "ekv")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func testLog(t testing.TB, node string) *slog.Logger {
	level := slog.LevelError + 4
	if os.Getenv("EVENKEEL_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("test", t.Name(), "node", node)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// pinned makes a certificate that both sides use and both sides demand.
func pinned(t testing.TB) (server, client *tls.Config) {
	certificate, key := makeCertificate(t)
	server, client, err := pinnedFrom(certificate, key)
	must(t, err)
	return server, client
}

func makeCertificate(t testing.TB) (certificate, key []byte) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pair"}, NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"pair"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

func pinnedFrom(certificate, key []byte) (server, client *tls.Config, err error) {
	own, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	server = &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS13}
	client = &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: pool, ServerName: "pair", MinVersion: tls.VersionTLS13}
	return server, client, nil
}

// start starts the process.
func (s *side) start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	o := s.opts
	o.Config = s.config
	s.stop, s.ended = cancel, make(chan error, 1)
	ready := make(chan *loop, 1)
	go func() { s.ended <- runWith(ctx, o, ready) }()
	s.client = control.NewClient(filepath.Join(s.config.RunDir, control.SocketName("data")))
	select {
	case s.loop = <-ready:
	case err := <-s.ended:
		s.t.Fatalf("volume of %s ended: %v", s.config.Node, err)
	case <-time.After(10 * time.Second):
		s.t.Fatalf("volume of %s did not start", s.config.Node)
	}
	s.t.Cleanup(s.end)
	alive, cancelAlive := context.WithCancel(ctx)
	s.t.Cleanup(cancelAlive)
	go func() { // the engine's sign of life; ends with the process
		for alive.Err() == nil {
			_ = s.client.Alive(alive)
			wait(alive, time.Second, nil)
		}
	}()
}

// end stops the process.
func (s *side) end() {
	if s.stop == nil {
		return
	}
	s.stop()
	s.stop = nil
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		s.t.Errorf("volume of %s did not end", s.config.Node)
	}
}

// until waits for a state with a deadline.
func (s *side) until(what string, is func(control.Status) bool) control.Status {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	var last control.Status
	found := false
	_ = s.client.StreamStatus(ctx, func(st control.Status) {
		last = st
		if is(st) {
			found = true
			cancel()
		}
	})
	if !found {
		s.t.Fatalf("%s: never %s; last: role %s disk %s peer %s/%s connection %s bytes %d holding %t problem %q (%s)", s.config.Node, what,
			last.Role, last.Disk, last.PeerRole, last.PeerDisk, last.Connection, last.OutOfSyncBytes, last.Holding, last.Problem, last.Verdict)
	}
	return last
}

func inSync(s control.Status) bool {
	return s.Connection == "Connected" && s.Disk == "UpToDate" && s.PeerDisk == "UpToDate" && s.OutOfSyncBytes == 0
}

func (s *side) status() control.Status {
	s.t.Helper()
	st, err := s.client.Status(context.Background())
	must(s.t, err)
	return st
}

func (s *side) promote(epoch uint64) {
	s.t.Helper()
	_, err := s.client.Promote(context.Background(), control.Promote{Epoch: control.Epoch{Counter: epoch, Node: s.config.Node}, Reason: "test"})
	must(s.t, err)
}

// both starts both and waits until they are in sync.
func (p *pair) both() {
	p.t.Helper()
	p.a.start()
	p.b.start()
	p.a.until("in sync", inSync)
	p.b.until("in sync", inSync)
}

// do submits a request and returns the channel of its result.
func (s *side) do(r *export.Request) chan error {
	done := make(chan error, 1)
	// A lost request would hang its test until the whole run's time is over; so it ends the run with everybody's stack.
	lost := time.AfterFunc(time.Minute, func() { panic(fmt.Sprintf("%s: a request (%d at %d) never ended", s.t.Name(), r.Op, r.Offset)) })
	r.Done = func(err error) { lost.Stop(); done <- err }
	s.loop.submitNow(r)
	return done
}

func (s *side) write(off uint64, data []byte) error {
	return <-s.do(&export.Request{Op: export.Write, Offset: off, Length: uint32(len(data)), Data: data})
}

func (s *side) flush() error { return <-s.do(&export.Request{Op: export.Flush}) }

func (s *side) read(off uint64, n int) []byte {
	s.t.Helper()
	b := alloc(n)
	must(s.t, <-s.do(&export.Request{Op: export.Read, Offset: off, Length: uint32(n), Data: b}))
	return b
}

// pattern fills a buffer with something that depends on n.
func pattern(n, size int) []byte {
	b := alloc(size)
	for i := range b {
		b[i] = byte(n + i/512 + i)
	}
	return b
}

// image is the data area as it lies on the disk.
func (s *side) image() []byte {
	s.t.Helper()
	b, err := os.ReadFile(s.config.Backing)
	must(s.t, err)
	i, err := Inspect(s.config.Backing)
	must(s.t, err)
	return b[:i.DataSize]
}

// equal compares the data areas after both ended.
func (p *pair) equal() {
	p.t.Helper()
	x, y := p.a.image(), p.b.image()
	for i := 0; i < len(x); i += 4096 {
		if string(x[i:i+4096]) != string(y[i:i+4096]) {
			p.t.Fatalf("the data areas differ at %d", i)
		}
	}
}

// bothHold ends both sides: their data areas are equal, and hold what was acknowledged at an offset.
func (p *pair) bothHold(off int, want []byte) {
	p.t.Helper()
	p.a.end()
	p.b.end()
	p.equal()
	if !bytes.Equal(p.b.image()[off:off+len(want)], want) {
		p.t.Errorf("what was acknowledged at %d is on neither copy", off)
	}
}
