package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"evenkeel/cli"
	"evenkeel/ha"
	"evenkeel/ha/address"
	"evenkeel/ha/config"
	"evenkeel/ha/control"
	"evenkeel/ha/engine"
	"evenkeel/ha/heart"
	"evenkeel/ha/peer"
	"evenkeel/ha/supervise"
	volumecontrol "evenkeel/replication/control"
	"evenkeel/replication/volume"
	"evenkeel/store"
	"evenkeel/web"
)

// logger writes to stderr, where the supervisor's log or journald takes it.
func logger(process string) *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("process", process)
}

// serve is one process of a node.
func serve(ctx context.Context, path, process string, args []string) error {
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	log := logger(process)
	switch {
	case process == "heart" && len(args) == 0:
		if rt := heart.Prepare(); rt != nil {
			log.Warn("heart runs without the real-time class", "why", rt)
		}
		release, err := supervise.Claim(c.RunDir, process)
		if err != nil {
			return err
		}
		defer release()
		return heart.Run(ctx, heart.Options{RunDir: c.RunDir, Renew: address.Renew, Log: log})
	case process == "engine" && len(args) == 0:
		return serveEngine(ctx, c, log)
	case process == "web" && len(args) == 0:
		return serveWeb(ctx, c, log)
	case process == "volume" && len(args) == 1:
		return serveVolume(ctx, c, args[0], logger("volume/"+args[0]))
	}
	return fmt.Errorf("no process %q: enter heart, engine, web, or volume NAME", strings.Join(append([]string{process}, args...), " "))
}

func serveEngine(ctx context.Context, c config.Node, log *slog.Logger) error {
	release, err := supervise.Claim(c.RunDir, "engine")
	if err != nil {
		return err
	}
	defer release()
	catalogue, err := config.LoadCatalogue(c.ServicesDir)
	if err != nil {
		return err
	}
	server, client, err := peer.PinnedTLS(c.TLSDir)
	if err != nil {
		return err
	}
	events, err := store.OpenEvents(c.StateDir, false)
	if err != nil {
		log.Error("the event log cannot be opened: events go to this log only", "why", err)
	} else {
		defer events.Close()
	}
	settings := newSettings(c, catalogue)
	defer settings.Close()
	o := engine.Options{Config: c, Catalogue: catalogue, Settings: settings, Volumes: newVolumes(c),
		PeerServer: server, PeerClient: client, Version: version, Log: log, EventsWhy: err}
	if events != nil {
		o.Events = events
	}
	return engine.Run(ctx, o)
}

func serveVolume(ctx context.Context, c config.Node, name string, log *slog.Logger) error {
	volume.Prepare(log)
	release, err := supervise.Claim(c.RunDir, "volume/"+name)
	if err != nil {
		return err
	}
	defer release()
	cfg, err := readVolumeConfig(c.RunDir, name)
	if err != nil {
		return err
	}
	server, client, err := peer.PinnedTLS(c.TLSDir)
	if err != nil {
		return err
	}
	return volume.Run(ctx, volume.Options{Config: cfg, Server: server, Client: client, Log: log})
}

func serveWeb(ctx context.Context, c config.Node, log *slog.Logger) error {
	catalogue, err := config.LoadCatalogue(c.ServicesDir)
	if err != nil {
		return err
	}
	listeners, err := inheritedListeners()
	if err != nil {
		return err
	}
	db, err := store.Open(c.StateDir, store.Options{Limits: limits(c, catalogue)})
	if err != nil {
		return serveNoDatabase(ctx, c, listeners, log, err)
	}
	defer db.Close()
	events, err := store.OpenEvents(c.StateDir, true)
	if err != nil {
		return err
	}
	defer events.Close()
	return web.Run(ctx, web.Options{Config: c, Engine: control.NewClient(filepath.Join(c.RunDir, control.SocketName)),
		DB: db, Events: events, Listeners: listeners, Log: log})
}

// serveNoDatabase answers for a console whose database cannot be opened, so that it does not die again and again; when it can, this process ends
// to begin anew.
func serveNoDatabase(ctx context.Context, c config.Node, listeners []net.Listener, log *slog.Logger, why error) error {
	log.Error("the console cannot use its settings database; it is tried again", "every", databaseRetry, "why", why)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with ctx, or ends it
		for tick := time.NewTicker(databaseRetry); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			if db, err := store.Open(c.StateDir, store.Options{}); err == nil {
				_ = db.Close()
				log.Info("the settings database can be used again: the console begins anew")
				cancel()
			}
		}
	}()
	return web.Run(ctx, web.Options{Config: c, Engine: control.NewClient(filepath.Join(c.RunDir, control.SocketName)), Listeners: listeners, Log: log})
}

// databaseRetry is the time between two tries to open a settings database that cannot be used.
const databaseRetry = 2 * time.Second

// limits is what the console may choose from on this machine.
func limits(c config.Node, catalogue []config.Service) ha.Limits {
	l := ha.Limits{BackingPrefixes: c.Allow.Backing, MountPrefixes: c.Allow.Mounts}
	for _, s := range catalogue {
		l.Catalogue = append(l.Catalogue, s.Name)
	}
	return l
}

// inheritedFiles are the console listeners that somebody outside (the lab) made for web; the supervisor gives them on.
func inheritedFiles() (files []*os.File, err error) {
	for _, s := range strings.FieldsFunc(os.Getenv(supervise.ConsoleFDs), func(r rune) bool { return r == ',' }) {
		fd, err := strconv.Atoi(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not a descriptor number", supervise.ConsoleFDs, s)
		}
		files = append(files, os.NewFile(uintptr(fd), "console listener"))
	}
	return files, nil
}

// inheritedListeners are the same in web.
func inheritedListeners() (list []net.Listener, err error) {
	files, err := inheritedFiles()
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		fd := f.Fd()
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("the inherited descriptor %d is not a listener: %w", fd, err)
		}
		list = append(list, l)
	}
	return list, nil
}

// runNode supervises all processes of one node.
func runNode(ctx context.Context, path string) error {
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	release, err := supervise.Claim(c.RunDir, "run")
	if err != nil {
		return err
	}
	defer release()
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this binary: %w", err)
	}
	files, err := inheritedFiles()
	if err != nil {
		return err
	}
	engineClient := control.NewClient(filepath.Join(c.RunDir, control.SocketName))
	return supervise.Run(ctx, supervise.Options{
		Executable: exe, Config: path, RunDir: c.RunDir, StateDir: c.StateDir, WebUID: c.Console.UID, WebGID: c.Console.GID,
		Files: files, Leave: engineClient.Leave, Log: logger("run"),
	})
}

// openSettings opens the settings database of this node as root does: the console's group may use it.
func openSettings(c config.Node, catalogue []config.Service) (*store.DB, error) {
	return store.Open(c.StateDir, store.Options{GID: c.Console.GID, Limits: limits(c, catalogue)})
}

// openStore opens it for the command line.
func openStore(path string) (cli.Store, error) {
	c, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	catalogue, err := config.LoadCatalogue(c.ServicesDir)
	if err != nil {
		return nil, err
	}
	db, err := openSettings(c, catalogue)
	if err != nil {
		return nil, err
	}
	return cliStore{db}, nil
}

// cliStore shows the database in the command line's words.
type cliStore struct{ *store.DB }

// Revisions lists the history, newest first.
func (s cliStore) Revisions(ctx context.Context) (list []cli.Revision, err error) {
	entries, err := s.History(ctx)
	for _, e := range entries {
		list = append(list, cli.Revision{Number: e.Revision, At: e.SavedAt, By: e.SavedBy, Overridden: e.Superseded})
	}
	return list, err
}

// Users lists the console's users.
func (s cliStore) Users(ctx context.Context) (list []cli.User, err error) {
	users, err := s.DB.Users(ctx)
	for _, u := range users {
		list = append(list, cli.User{Name: u.Name, Created: u.CreatedAt})
	}
	return list, err
}

// createVolume writes the metadata of a new volume. On a configured node the disk becomes the one on record, so that it is not refused as swapped.
func createVolume(o cli.CreateVolume) (string, error) {
	create := volume.CreateOptions{Name: o.Name, Backing: o.Backing, First: o.First, Filesystem: o.Filesystem, Adopt: o.Adopt, Force: o.Force}
	if _, err := os.Stat(o.Config); err == nil {
		c, err := config.Load(o.Config)
		if err != nil {
			return "", err
		}
		create.Node, create.StateDir = c.Node, volumeFolder(c, o.Name)
	}
	r, err := volume.Create(create)
	if err != nil {
		return "", err
	}
	return r.String(), nil
}

// inspectVolume shows the metadata of a backing disk.
func inspectVolume(backing string) (string, error) {
	r, err := volume.Inspect(backing)
	if err != nil {
		return "", err
	}
	return r.String(), nil
}

// settings opens the settings database when the engine first asks, so that a database that cannot be opened costs a revision, not the node.
type settings struct {
	open func() (*store.DB, error)
	mu   sync.Mutex // guards db
	db   *store.DB
}

func newSettings(c config.Node, catalogue []config.Service) *settings {
	return &settings{open: func() (*store.DB, error) { return openSettings(c, catalogue) }}
}

func (s *settings) use() (*store.DB, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		db, err := s.open()
		if err != nil {
			return nil, err
		}
		s.db = db
	}
	return s.db, nil
}

// Latest is the newest revision.
func (s *settings) Latest(ctx context.Context) (ha.Settings, error) {
	db, err := s.use()
	if err != nil {
		return ha.Settings{}, err
	}
	w, err := db.Latest(ctx)
	if err != nil && db.Unset(err) {
		err = engine.ErrNoSettings
	}
	return w, err
}

// Load is one revision.
func (s *settings) Load(ctx context.Context, revision uint64) (ha.Settings, error) {
	db, err := s.use()
	if err != nil {
		return ha.Settings{}, err
	}
	return db.Load(ctx, revision)
}

// Import stores the peer's revision and returns what it took the place of.
func (s *settings) Import(ctx context.Context, w ha.Settings) (ha.Settings, error) {
	db, err := s.use()
	if err != nil {
		return ha.Settings{}, err
	}
	return db.Import(ctx, w)
}

// Close ends the use of the database.
func (s *settings) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil
	}
	return s.db.Close()
}

// readVolumeConfig reads what the engine wrote for one volume process.
func readVolumeConfig(runDir, name string) (c volumecontrol.Config, err error) {
	path := filepath.Join(runDir, "volumes", name+".json")
	b, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("cannot read what volume %q is made of: %w", name, err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return c, nil
}
