// Package web is the console's server: router, TLS, sessions, the checks that each request passes, the live stream, and errors
// as pages. The pages themselves are package handlers'.
//
// It runs as a process of its own without privileges: whoever takes it over can store settings and order what the engine's rules
// allow, and no more. If it dies, nobody but the browser notices.
package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"evenkeel/ha/config"
	"evenkeel/ha/control"
	"evenkeel/handlers"
)

// EngineClient is the engine as the console speaks to it; *control.Client fits.
type EngineClient interface {
	handlers.Engine
	Status(ctx context.Context, node string) (control.Status, error)
	StreamStatus(ctx context.Context, each func(control.Status)) error
	Explain(ctx context.Context) (control.Explanation, error)
}

// DB is settings.db; *store.DB fits.
type DB interface {
	handlers.Settings
	handlers.Auditor
	SessionStore
	Authenticate(ctx context.Context, name, password string) (string, error)
	// Unset says whether an error of Latest means that nothing was ever saved; WrongSignIn whether one of Authenticate means that
	// name and password do not belong together, Crowded whether it means that the password was not looked at, Full whether any means that
	// the disk or folder is full.
	Unset(err error) bool
	WrongSignIn(err error) bool
	Crowded(err error) bool
	Full(err error) bool
}

// Options says what Run needs.
type Options struct {
	Config config.Node
	Engine EngineClient
	DB     DB
	Events handlers.Log
	// Listeners were made elsewhere and are served beside those of Config.Console.Listen: a listener made outside a network
	// namespace works inside it. Run closes them.
	Listeners []net.Listener
	Log       *slog.Logger
}

const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 60 * time.Second // orders and the live stream set their own
	idleTimeout   = 2 * time.Minute
	stopTimeout   = 5 * time.Second
	headerLimit   = 64 << 10 // bytes
	bodyLimit     = 256 << 10
	retryListen   = 2 * time.Second
)

// Run serves the console until ctx ends. An address that cannot be had yet is tried again: a virtual one may come later.
func Run(ctx context.Context, o Options) error {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	certificate, fingerprint, err := loadCertificate(o.Config.TLSDir, filepath.Join(o.Config.StateDir, "console"), o.Config.Node)
	if err != nil {
		return err
	}
	o.Log.Info("the console's certificate", "sha256", fingerprint)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hub := newHub(o.Engine, o.Log)
	server := &http.Server{
		Handler:           handler(o, hub),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: headerLimit,
		TLSConfig:      &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}},
		ErrorLog:       slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug), // handshakes that a stranger broke off
		BaseContext:    func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, len(o.Listeners)+len(o.Config.Console.Listen)+1)
	running := 1
	go func() { hub.run(ctx); ended <- nil }()
	for _, l := range o.Listeners {
		running++
		go func() { ended <- serve(server, l) }()
	}
	for _, address := range o.Config.Console.Listen {
		running++
		go func() { ended <- listen(ctx, server, address, o.Log) }()
	}
	return wait(ctx, cancel, server, ended, running)
}

// handler is the console, or, without a database, one sentence on every page. A stranger may read it: it names no file.
func handler(o Options, hub *hub) http.Handler {
	if o.DB != nil {
		return newServer(o, hub).router()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "The console cannot use its settings database; the node itself goes on. See the log of Evenkeel on this machine, and `evenkeel status`.", http.StatusServiceUnavailable)
	})
}

// wait ends everything when ctx ends or one part fails, and returns the first error.
func wait(ctx context.Context, cancel context.CancelFunc, server *http.Server, ended chan error, running int) error {
	var first error
	select {
	case <-ctx.Done():
	case first = <-ended:
		running--
	}
	cancel() // the live streams end with their base context
	stop, done := context.WithTimeout(context.Background(), stopTimeout)
	defer done()
	if err := server.Shutdown(stop); err != nil {
		server.Close()
	}
	for range running {
		if err := <-ended; first == nil {
			first = err
		}
	}
	return first
}

// listen serves one address, and tries again as long as it cannot be had.
func listen(ctx context.Context, server *http.Server, address string, log *slog.Logger) error {
	said := false
	for {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", address)
		if err == nil {
			log.Info("the console listens", "address", address)
			return serve(server, l)
		}
		if !said && ctx.Err() == nil {
			log.Warn("the console cannot listen yet and tries again", "address", address, "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryListen):
		}
	}
}

func serve(server *http.Server, l net.Listener) error {
	err := server.ServeTLS(l, "", "")
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the console on %s: %w", l.Addr(), err)
}
