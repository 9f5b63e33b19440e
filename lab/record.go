package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Options are what `lab up` was asked for.
type Options struct {
	Profile     string `json:"profile"`      // standard, fast, cautious
	VolumeSize  int64  `json:"volume_size"`  // bytes of the volume data; 0 = no volume
	Scratch     int64  `json:"scratch"`      // bytes of the volume scratch; 0 = none
	ConsolePort int    `json:"console_port"` // of node a, b has the next; 0 = any free ones
	Bare        bool   `json:"bare"`         // machines and cables without Evenkeel's processes
	Seed        int64  `json:"seed"`         // of the fault layer: which unflushed writes a power cut loses
}

// Record is lab.json: what `lab down` must know when the daemon is gone.
type Record struct {
	Daemon Process            `json:"daemon"`
	Nodes  map[string]Process `json:"nodes"` // PID 1 of each machine that is on
	// Namespaces are the network namespaces of the client and of the nodes, by name.
	Namespaces map[string]space  `json:"networks"`
	ClientNet  string            `json:"client_net"` // file of the client's network namespace while the daemon lives
	Options    Options           `json:"options"`
	Consoles   map[string]string `json:"consoles"` // address:port by node
}

// readRecord reads lab.json; ok is false if no lab was made here.
func readRecord(l layout) (r Record, ok bool, err error) {
	b, err := os.ReadFile(l.record())
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	} else if err != nil {
		return r, false, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, false, fmt.Errorf("%s is damaged: %w; end its processes by hand and remove %s", l.record(), err, l.dir)
	}
	return r, true, nil
}

// write stores the record: a new file renamed over the old, so that a reader never sees half of it.
func (r Record) write(l layout) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(l.record()+".new", append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(l.record()+".new", l.record())
}
