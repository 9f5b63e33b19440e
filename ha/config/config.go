// Package config reads what root wrote on this machine: evenkeel.toml (which node this is, where things are, what the console may
// choose) and the catalogue of services below services.d. Unknown keys are refused by name. Settings that an administrator edits in the console
// are not here but in ha.Settings.
package config

import "time"

// DefaultPath is where evenkeel.toml is.
const DefaultPath = "/etc/evenkeel/evenkeel.toml"

// Node is evenkeel.toml.
type Node struct {
	Node        string `toml:"node"`         // short id of this node, one lower-case letter
	StateDir    string `toml:"state_dir"`    // /var/lib/evenkeel: settings.db, events.db; engine/ and volumes/ below are root's only
	RunDir      string `toml:"run_dir"`      // /run/evenkeel: sockets, heart.json, volumes/NAME.json
	TLSDir      string `toml:"tls_dir"`      // /etc/evenkeel/tls: node.crt node.key peer.crt console.crt console.key
	KeyFile     string `toml:"key_file"`     // /etc/evenkeel/beat.key: one or two lines of 64 hex digits, the first signs
	ServicesDir string `toml:"services_dir"` // /etc/evenkeel/services.d
	// PeerAddress lists address:port pairs where the peer's engine listens, tried in order; PeerListen is where this one does.
	PeerListen  []string `toml:"peer_listen"`
	PeerAddress []string `toml:"peer_address"`
	Console     Console  `toml:"console"`
	Allow       Allow    `toml:"allow"`
	// Faults turns the fault layer of backing disks and the lab's switches on. For rehearsals only.
	Faults bool `toml:"faults"`
}

// Console is the web process.
type Console struct {
	Listen  []string `toml:"listen"` // address:port, e.g. ":8443"
	UID     int      `toml:"uid"`    // the web process runs as this user, 0 = as root (refused unless Faults)
	GID     int      `toml:"gid"`
	PeerURL string   `toml:"peer_url"` // the other node's console, for the link on each page
}

// Allow is what the console may choose from.
type Allow struct {
	Backing []string `toml:"backing"` // backing devices only below these prefixes
	Mounts  []string `toml:"mounts"`
}

// Service is one catalogue file, services.d/NAME.toml.
type Service struct {
	Name        string   `toml:"name"`
	Description string   `toml:"description"`
	Kind        string   `toml:"kind"` // "command"
	Command     []string `toml:"command"`
	Dir         string   `toml:"dir"`
	Env         []string `toml:"env"`
	UID         int      `toml:"uid"`
	GID         int      `toml:"gid"`
	Volume      string   `toml:"volume"`       // needs this volume mounted; "" = none
	NeedAddress bool     `toml:"need_address"` // needs the virtual addresses
	// Order is "before-address" (default: so that no client is refused by a kernel without a listener) or "after-address".
	Order        string        `toml:"order"`
	After        []string      `toml:"after"` // other services that start first
	StartTimeout time.Duration `toml:"start_timeout"`
	StopTimeout  time.Duration `toml:"stop_timeout"`
	Monitor      Monitor       `toml:"monitor"`
}

// Monitor is how a service's health is asked.
type Monitor struct {
	Kind     string        `toml:"kind"` // "process" (default), "tcp", "http", "command"
	Target   string        `toml:"target"`
	Command  []string      `toml:"command"`
	Interval time.Duration `toml:"interval"`
	Timeout  time.Duration `toml:"timeout"`
	Failures int           `toml:"failures"` // in a row before it is restarted
	Restarts int           `toml:"restarts"` // in ten minutes before it counts as failed
}
