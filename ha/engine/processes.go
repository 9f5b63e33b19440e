package engine

import (
	"encoding/json"
	"fmt"
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

// watchProcesses compares the supervisor's list with the last one and tells of each process that was started again.
func (e *engine) watchProcesses(list []control.Process) {
	for _, p := range list {
		before, known := e.restarts[p.Name]
		e.restarts[p.Name] = p.Restarts
		if known && p.Restarts > before {
			e.restarted[p.Name] = now()
			e.note(control.Event{Log: "failover", Code: "process.restarted", Severity: ha.Warning,
				Text: fmt.Sprintf("Process %s ended and was started again (%d times since power-on).", p.Name, p.Restarts)})
		}
	}
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
			Text: fmt.Sprintf("Process %s ended and was started again.", name), Remedy: "If it happens again, look at its log and send a support bundle."})
	}
	return list
}
