package engine

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// processesFile is what the supervisor writes below the run folder; it is read this often, and a restart is shown for so long.
const (
	processesFile  = "processes.json"
	processesEvery = 500 * time.Millisecond
	restartShown   = time.Minute
)

// processes lists the node's processes; none where systemd supervises.
func (e *engine) processes() []control.Process {
	list := []control.Process{}
	var file struct {
		Processes []control.Process `json:"processes"`
	}
	data, err := os.ReadFile(filepath.Join(e.o.Config.RunDir, processesFile))
	if err != nil || json.Unmarshal(data, &file) != nil {
		return list
	}
	for _, p := range file.Processes {
		p.RSSBytes = residentBytes(p.PID)
		list = append(list, p)
	}
	return list
}

// residentBytes is the resident memory of a process; 0 if it is gone.
func residentBytes(pid int) uint64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

// watchProcesses compares the supervisor's list with the last one and tells of each process that was started again. What happened while this
// engine was not there, its own death too, is known by a process that was restarted and is young.
func (e *engine) watchProcesses(list []control.Process) {
	for _, p := range list {
		before, known := e.restarts[p.Name]
		e.restarts[p.Name] = p.Restarts
		if known && p.Restarts > before || !known && p.Restarts > 0 && processAge(p.PID) < restartShown {
			e.restarted[p.Name] = now()
			e.note(control.Event{Log: "failover", Code: "process.restarted", Severity: ha.Warning,
				Text: fmt.Sprintf("Process %s ended and was started again (restart %d since power-on).", p.Name, p.Restarts)})
		}
	}
}

// clockTick is the unit of /proc/PID/stat: USER_HZ, 100 on every architecture that Go runs Linux on.
const clockTick = time.Second / 100

// processAge is how long ago a process was started; longer than anything is shown if it is gone.
func processAge(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return math.MaxInt64
	}
	_, rest, _ := strings.Cut(string(data), ") ") // the name before it may hold spaces
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return math.MaxInt64
	}
	started, err := strconv.ParseInt(fields[19], 10, 64) // field 22, starttime: ticks since the machine booted
	if err != nil {
		return math.MaxInt64
	}
	return now().Sub(ha.Instant(time.Duration(started) * clockTick))
}

// processConditions name the processes that were restarted within the last minute.
func (e *engine) processConditions() []ha.Condition {
	var list []ha.Condition
	for name, at := range e.restarted {
		if now().Sub(at) > restartShown {
			delete(e.restarted, name)
			continue
		}
		list = append(list, ha.Condition{Code: "process.restarted", Severity: ha.Warning, Side: "local", Key: name,
			Text: fmt.Sprintf("Process %s ended and was started again.", name), Remedy: "If it happens again, look at its log."})
	}
	return list
}
