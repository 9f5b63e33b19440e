package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// process is one supervised process.
type process struct {
	name     string
	args     []string
	attr     *os.ProcAttr
	wanted   bool
	pid      int // 0 = not running
	began    time.Time
	due      time.Time // not before
	restarts int
	quick    int // deaths in a row, each before stableAfter
}

type supervisor struct {
	Options
	procs     map[string]*process
	published string
}

// want declares that a process is to run; asking again changes nothing.
func (s *supervisor) want(name string, args []string, attr *os.ProcAttr) {
	p := s.procs[name]
	if p == nil {
		if attr == nil {
			attr = &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}}
		}
		p = &process{name: name, args: args, attr: attr}
		s.procs[name] = p
	}
	p.wanted = true
}

// startDue starts what is wanted, not running and due.
func (s *supervisor) startDue(now time.Time) {
	for _, p := range s.procs {
		if !p.wanted || p.pid != 0 || now.Before(p.due) {
			continue
		}
		h, err := os.StartProcess(p.args[0], p.args, p.attr)
		if err != nil {
			s.Log.Error("cannot start", "process", p.name, "why", err)
			p.due = now.Add(backOffMax)
			continue
		}
		p.pid, p.began = h.Pid, now
		_ = h.Release()
	}
}

// reap takes every ended child: ours are noted, adopted orphans only buried.
func (s *supervisor) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		for _, p := range s.procs {
			if p.pid == pid {
				s.died(p, status)
			}
		}
	}
}

// died notes a death. The first restart comes at once: nothing must wait for a heart that beats again within 200 ms; a process that
// keeps dying waits a little longer each time.
func (s *supervisor) died(p *process, status unix.WaitStatus) {
	ran := time.Since(p.began)
	p.pid = 0
	if !p.wanted {
		return
	}
	p.restarts++
	if ran > stableAfter {
		p.quick = 0
	}
	if p.quick > 1 {
		p.due = time.Now().Add(min(backOffMax, 50*time.Millisecond<<min(p.quick, 10)))
	}
	p.quick++
	s.Log.Warn("a process ended and is started again", "process", p.name, "status", describe(status), "ran", ran.Round(time.Millisecond))
	s.startDue(time.Now())
}

func describe(w unix.WaitStatus) string {
	if w.Signaled() {
		return "signal " + unix.SignalName(w.Signal())
	}
	return fmt.Sprintf("exit %d", w.ExitStatus())
}

func (s *supervisor) stop(p *process, sig unix.Signal) {
	if p.pid != 0 {
		_ = unix.Kill(p.pid, sig)
	}
}

// Process is one entry of processes.json.
type Process struct {
	Name     string `json:"name"` // heart, engine, web, volume/NAME
	PID      int    `json:"pid"`  // as this process sees it; 0 = not running
	Restarts int    `json:"restarts"`
}

// ProcessesFile is the file below the run folder that shows the supervised processes: {"processes":[Process]}.
const ProcessesFile = "processes.json"

// publish writes processes.json when it changed.
func (s *supervisor) publish() {
	list := []Process{}
	for _, p := range s.procs {
		list = append(list, Process{p.name, p.pid, p.restarts})
	}
	slices.SortFunc(list, func(a, b Process) int { return strings.Compare(a.Name, b.Name) })
	b, _ := json.Marshal(map[string][]Process{"processes": list})
	if string(b) == s.published {
		return
	}
	path := filepath.Join(s.RunDir, ProcessesFile)
	if err := renameio.WriteFile(path, b, 0o644, renameio.WithTempDir(s.RunDir)); err != nil {
		s.Log.Warn("cannot write processes.json", "why", err)
		return
	}
	s.published = string(b)
}
