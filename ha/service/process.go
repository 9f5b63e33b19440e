package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel/ha/config"
)

// identity names one process for good: numbers are used again, a number with its start time is not.
type identity struct {
	PID   int    `json:"pid"`   // in this PID namespace; also its session, for each service begins one
	Start uint64 `json:"start"` // clock ticks since boot, field 22 of /proc/PID/stat
}

// process is one running service, started by this engine or adopted from an earlier one.
type process struct {
	identity
	done chan struct{} // closed when it has ended
	how  string        // how it ended; valid once done is closed
}

// markName is the variable that tells which service a process belongs to: an engine that was killed between starting a
// process and writing its file finds it by that.
const markName = "EVENKEEL_SERVICE"

// spawn starts the service in a session of its own, so that it outlives the engine.
func (m *Manager) spawn(spec config.Service) (*process, error) {
	out, err := os.OpenFile(m.path(spec.Name, "log"), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the log of service %s cannot be opened: %w", spec.Name, err)
	}
	defer out.Close()
	cmd := exec.Command(spec.Command[0], spec.Command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = spec.Dir, out, out
	cmd.Env = append(append(os.Environ(), spec.Env...), m.mark(spec.Name))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: credential(spec.UID, spec.GID)}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("service %s cannot be started: %w; check command, dir and uid in its catalogue file", spec.Name, err)
	}
	p := &process{identity: identity{PID: cmd.Process.Pid}, done: make(chan struct{})}
	if st, ok := readStat(p.PID); ok {
		p.Start = st.start
	}
	go func() { // owned by the process: ends when it does
		p.how = ending(cmd.Wait())
		close(p.done)
	}()
	return p, m.remember(spec.Name, p.identity)
}

// mark is the line in a service's environment that names it and the run folder of its node.
func (m *Manager) mark(name string) string { return markName + "=" + m.path(name, "json") }

// credential is nil for root: the engine's own user.
func credential(uid, gid int) *syscall.Credential {
	if uid == 0 && gid == 0 {
		return nil
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// ending says how a process ended.
func ending(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "it ended by itself with status 0"
	case errors.As(err, &exit):
		return "it ended: " + exit.Error()
	}
	return "it ended: " + err.Error()
}

// watch follows an adopted process, which is not our child, through its pidfd; ok is false if it is gone.
func watch(id identity) (p *process, ok bool) {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err != nil {
		return nil, false
	}
	if !id.alive() { // asked after the pidfd was opened: the number belongs to this process
		unix.Close(fd)
		return nil, false
	}
	p = &process{identity: id, done: make(chan struct{}), how: "it ended"}
	go func() { // owned by the process: ends when it does
		defer close(p.done)
		defer unix.Close(fd)
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return p, true
}

// ended says whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// endedWithin waits for the end, at most d.
func (p *process) endedWithin(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.done:
		return true
	case <-t.C:
		return p.ended()
	}
}

// stat is what /proc/PID/stat says of a process.
type stat struct {
	state   byte
	session int
	start   uint64
}

// readStat reads /proc/PID/stat; the name in it may hold spaces and brackets, so the fields count from the last bracket.
func readStat(pid int) (stat, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, false
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return stat{}, false
	}
	session, err1 := strconv.Atoi(f[3])
	start, err2 := strconv.ParseUint(f[19], 10, 64)
	return stat{state: f[0][0], session: session, start: start}, err1 == nil && err2 == nil
}

// dead says whether the process has ended although PID 1 may not have collected it yet.
func (s stat) dead() bool { return s.state == 'Z' || s.state == 'X' }

// alive says whether exactly this process still runs.
func (id identity) alive() bool {
	s, ok := readStat(id.PID)
	return ok && s.start == id.Start && !s.dead()
}

// members are the living processes of the session that id began, children that outlived it too. The kernel gives
// the number of a session to nobody else while one of them lives.
func (id identity) members() []int {
	if s, ok := readStat(id.PID); ok && s.start != id.Start {
		return nil // the number went to a stranger, so the whole session is gone
	}
	var in []int
	for _, pid := range pids() {
		if s, ok := readStat(pid); ok && s.session == id.PID && !s.dead() {
			in = append(in, pid)
		}
	}
	return in
}

// signal sends sig to every process of the session.
func (id identity) signal(sig syscall.Signal) {
	for _, pid := range id.members() {
		_ = syscall.Kill(pid, sig) // ESRCH: it ended meanwhile, which is what was wanted
	}
}

// pids are all processes of this PID namespace.
func pids() []int {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var all []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// path is a file of one service below the run folder.
func (m *Manager) path(name, kind string) string { return filepath.Join(m.dir, name+"."+kind) }

// remember writes the state file that a later engine adopts the service from. /run does not outlive the machine, so
// nothing is synced; the rename keeps the file whole.
func (m *Manager) remember(name string, id identity) error {
	b, err := json.Marshal(id)
	if err != nil {
		return err
	}
	tmp := m.path(name, "tmp")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("the state of service %s cannot be kept: %w", name, err)
	}
	return os.Rename(tmp, m.path(name, "json"))
}

// recall finds what an earlier engine started: by its state file, else by its mark. Children that outlived their leader are
// nobody's service any more: they are killed, for they may hold its port.
func (m *Manager) recall(name string) (identity, bool) {
	var id identity
	if b, err := os.ReadFile(m.path(name, "json")); err == nil && json.Unmarshal(b, &id) == nil && id.alive() {
		return id, true
	}
	var orphans []int
	mark := []byte(m.mark(name))
	for _, pid := range pids() {
		env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
		if err != nil || !hasLine(env, mark) {
			continue
		}
		if s, ok := readStat(pid); ok && s.session == pid && !s.dead() {
			return identity{PID: pid, Start: s.start}, true
		}
		orphans = append(orphans, pid)
	}
	for _, pid := range orphans {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return identity{}, false
}

// hasLine says whether a zero-separated list holds line.
func hasLine(list, line []byte) bool {
	for _, l := range bytes.Split(list, []byte{0}) {
		if bytes.Equal(l, line) {
			return true
		}
	}
	return false
}
