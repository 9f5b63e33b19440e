package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Order is the body of every order to the daemon: POST /v1/VERB on lab.sock, the verbs being those of the command line. Fields that a verb
// does not use stay empty.
type Order struct {
	Node     string  `json:"node,omitempty"`
	What     string  `json:"what,omitempty"`    // cable, or serial
	Silent   bool    `json:"silent,omitempty"`  // cut
	To       string  `json:"to,omitempty"`      // cut: one way, to this node
	Percent  float64 `json:"percent,omitempty"` // loss, noise
	Baud     int     `json:"baud,omitempty"`
	Process  string  `json:"process,omitempty"`  // kill
	Userland bool    `json:"userland,omitempty"` // freeze
	Mode     string  `json:"mode,omitempty"`     // disk, state-disk
}

// Answer is what the daemon says to an order: one sentence, or an error with the exit code.
type Answer struct {
	Text  string `json:"text,omitempty"`
	Error string `json:"error,omitempty"`
	Exit  int    `json:"exit,omitempty"`
}

// Status is what `lab status --json` prints.
type Status struct {
	Dir      string             `json:"dir"`
	Daemon   int                `json:"daemon"` // pid
	Options  Options            `json:"options"`
	Nodes    []NodeStatus       `json:"nodes"`
	Networks []NetworkStatus    `json:"networks"`
	Cables   []CableStatus      `json:"cables"`
	Loss     map[string]float64 `json:"loss_percent"` // of whole networks
	Serial   SerialStatus       `json:"serial"`
}

// NodeStatus is one machine.
type NodeStatus struct {
	Node      string          `json:"node"`
	Hostname  string          `json:"hostname"`
	On        bool            `json:"on"`
	PID       *int            `json:"pid"`    // its first process, seen from outside
	Frozen    *string         `json:"frozen"` // machine, userland
	Disk      string          `json:"disk"`   // ok, error, slow, full
	StateDisk string          `json:"state_disk"`
	Console   string          `json:"console"`
	Processes []ProcessStatus `json:"processes"`
}

// ProcessStatus is one process of a machine, from its supervisor's list.
type ProcessStatus struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"`      // inside the machine
	HostPID  int    `json:"host_pid"` // outside; 0 = gone
	Restarts int    `json:"restarts"`
}

// NetworkStatus is one network.
type NetworkStatus struct {
	Name    string  `json:"name"`
	Subnet  string  `json:"subnet"`
	Gateway *string `json:"gateway"`
}

// CableStatus is one cable.
type CableStatus struct {
	Cable string `json:"cable"`
	cable
}

// SerialStatus is the serial line.
type SerialStatus struct {
	CutTo []string `json:"cut_to"` // nodes that hear nothing
	Noise float64  `json:"noise_percent"`
	Baud  int      `json:"baud"`
	// Dropped counts the bytes that vanished in cuts, pauses and ports without power.
	Dropped uint64 `json:"dropped_bytes"`
}

// status gathers the state of the lab.
func (d *daemon) status() Status {
	s := Status{Dir: d.layout.dir, Daemon: d.record.Daemon.PID, Options: d.options, Loss: d.faults.loss}
	for _, n := range nodes {
		s.Nodes = append(s.Nodes, d.nodeStatus(n))
	}
	for _, n := range networks {
		net := NetworkStatus{Name: n.name, Subnet: n.prefix + ".0/24"}
		if n.gateway {
			gateway := n.address("gateway")
			net.Gateway = &gateway
		}
		s.Networks = append(s.Networks, net)
	}
	for _, id := range d.faults.sorted() {
		s.Cables = append(s.Cables, CableStatus{id.String(), *d.faults.cables[id]})
	}
	f := d.serial.state()
	s.Serial = SerialStatus{CutTo: []string{}, Noise: f.Noise, Baud: f.Baud, Dropped: f.dropped}
	for _, n := range nodes {
		if f.CutTo[n] {
			s.Serial.CutTo = append(s.Serial.CutTo, n)
		}
	}
	return s
}

// nodeStatus is one machine's part.
func (d *daemon) nodeStatus(node string) NodeStatus {
	s := NodeStatus{
		Node: node, Hostname: hostnames[node], Disk: d.disk[node], StateDisk: d.stateDisk[node],
		Console: "https://" + d.record.Consoles[node], Processes: []ProcessStatus{},
	}
	r := d.on(node)
	if r == nil {
		return s
	}
	s.On, s.PID = true, &r.process.PID
	if r.frozen != "" {
		s.Frozen = &r.frozen
	}
	if p, err := readProcesses(d.layout, node, r.space); err == nil {
		s.Processes = p
	}
	return s
}

// readProcesses reads the supervisor's list of a machine and finds each process's number outside.
func readProcesses(l layout, node string, space uint64) ([]ProcessStatus, error) {
	b, err := os.ReadFile(filepath.Join(l.node(node, "run"), "processes.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("node %s has no supervisor yet: try again in a moment", node)
	} else if err != nil {
		return nil, err
	}
	var list struct {
		Processes []ProcessStatus `json:"processes"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("node %s's processes.json is damaged: %w", node, err)
	}
	for _, pid := range inNamespace("pid", space) {
		inner := innerPID(pid)
		i := slices.IndexFunc(list.Processes, func(p ProcessStatus) bool { return p.PID == inner })
		if i >= 0 {
			list.Processes[i].HostPID = pid
		}
	}
	return list.Processes, nil
}
