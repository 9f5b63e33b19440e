// Package supervise is `evenkeel run`: it starts the processes of one node (heart, engine, web, and one volume process for each
// volumes/NAME.json below the run folder), restarts one that dies at once, and adopts and reaps what they leave behind. As PID 1 of a
// container or of a lab's node it is all the init there is. Packages for systemd ship a unit for each process instead.
//
// It decides nothing: an orderly stop asks the engine to leave first and then ends the processes, engine before volumes before heart.
package supervise

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options describes one node.
type Options struct {
	Executable string // this binary
	Config     string // path of evenkeel.toml, passed on
	RunDir     string
	StateDir   string
	WebUID     int
	WebGID     int
	// Files are inherited console listeners; web gets them as descriptors 3, 4, ...
	Files []*os.File
	// Leave asks the engine to give its role away in order.
	Leave func(context.Context) error
	Log   *slog.Logger
}

const (
	leaveDeadline = 60 * time.Second
	stopDeadline  = 5 * time.Second        // from TERM to KILL
	scanEvery     = 100 * time.Millisecond // of the volumes folder
	stableAfter   = 10 * time.Second       // a process that ran this long starts again without delay
	backOffMax    = 2 * time.Second
)

// Run supervises until ctx ends, leaves in order, and returns when every process has ended.
func Run(ctx context.Context, o Options) error {
	if err := prepare(o); err != nil {
		return err
	}
	s := &supervisor{Options: o, procs: map[string]*process{}}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGCHLD)
	defer signal.Stop(signals)
	s.want("heart", o.command("heart"), nil)
	s.want("engine", o.command("engine"), nil)
	s.want("web", o.command("web"), o.webAttr())
	tick := time.NewTicker(scanEvery)
	defer tick.Stop()
	for {
		s.scanVolumes()
		s.startDue(time.Now())
		s.publish()
		select {
		case <-ctx.Done():
			return s.leave(signals)
		case <-signals:
			s.reap()
		case <-tick.C:
			s.reap()
		}
	}
}

// prepare makes the folders and adopts the orphans of this node's processes.
func prepare(o Options) error {
	for _, dir := range []string{o.RunDir, filepath.Join(o.RunDir, "volumes")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("cannot make the run folder %s: %w", dir, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become the reaper of orphans: %w", err)
	}
	return nil
}

func (o Options) command(args ...string) []string {
	return append([]string{o.Executable, "serve", "--config", o.Config}, args...)
}

// webAttr drops root's rights for the web process and hands the inherited listeners over.
func (o Options) webAttr() *os.ProcAttr {
	attr := &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}, Env: os.Environ()}
	attr.Files = append(attr.Files, o.Files...)
	fds := make([]string, len(o.Files))
	for i := range o.Files {
		fds[i] = fmt.Sprint(3 + i)
	}
	attr.Env = append(attr.Env, ConsoleFDs+"="+strings.Join(fds, ","))
	if o.WebUID != 0 {
		attr.Sys = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(o.WebUID), Gid: uint32(o.WebGID)}}
	}
	return attr
}

// ConsoleFDs is the environment variable that names inherited console listeners by descriptor number, joined with commas.
const ConsoleFDs = "EVENKEEL_CONSOLE_FDS"

// scanVolumes starts what the engine asks for by a file, and ends what it no longer asks for.
func (s *supervisor) scanVolumes() {
	wished := map[string]bool{}
	entries, _ := os.ReadDir(filepath.Join(s.RunDir, "volumes"))
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			wished["volume/"+name] = true
			s.want("volume/"+name, s.command("volume", name), nil)
		}
	}
	for name, p := range s.procs {
		if strings.HasPrefix(name, "volume/") && !wished[name] {
			p.wanted = false
			s.stop(p, unix.SIGTERM)
			if p.pid == 0 {
				delete(s.procs, name)
			}
		}
	}
}

// leave gives the role away and ends the processes in an order in which each still finds those it needs.
func (s *supervisor) leave(signals <-chan os.Signal) error {
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), leaveDeadline)
		defer cancel()
		done <- s.Leave(ctx)
	}()
	for left := false; !left; {
		select {
		case err := <-done:
			if err != nil {
				s.Log.Warn("the engine did not leave in order", "why", err)
			}
			left = true
		case <-signals:
			s.reap()
		}
	}
	for _, group := range [][]string{{"web"}, {"engine"}, s.volumes(), {"heart"}} {
		s.end(group, signals)
	}
	s.publish()
	return nil
}

func (s *supervisor) volumes() (names []string) {
	for name := range s.procs {
		if strings.HasPrefix(name, "volume/") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// end stops a group: TERM, and KILL after the deadline.
func (s *supervisor) end(names []string, signals <-chan os.Signal) {
	deadline := time.NewTimer(stopDeadline)
	defer deadline.Stop()
	for _, n := range names {
		if p := s.procs[n]; p != nil {
			p.wanted = false
			s.stop(p, unix.SIGTERM)
		}
	}
	for s.anyAlive(names) {
		select {
		case <-signals:
			s.reap()
		case <-deadline.C:
			for _, n := range names {
				if p := s.procs[n]; p != nil {
					s.stop(p, unix.SIGKILL)
				}
			}
			deadline.Reset(stopDeadline)
		}
	}
}

func (s *supervisor) anyAlive(names []string) bool {
	for _, n := range names {
		if p := s.procs[n]; p != nil && p.pid != 0 {
			return true
		}
	}
	return false
}
