package lab

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"evenkeel/ha/mount"
)

// defaultDir is where the lab keeps its things unless --dir or EVENKEEL_LAB says otherwise.
const defaultDir = "/var/lib/evenkeel-lab"

// dirVariable is the environment variable that names the folder.
const dirVariable = "EVENKEEL_LAB"

// nodes are the two machines, the configured master first.
var nodes = []string{"a", "b"}

// hostnames of the machines.
var hostnames = map[string]string{"a": "evenkeel-master.lab", "b": "evenkeel-slave.lab"}

// layout is where things are below the lab's folder.
//
//	lab.json lab.sock lab.log   the daemon's
//	pair.json  user and password of the consoles
//	a/etc      /etc/evenkeel of node a
//	a/state    /var/lib/evenkeel: a small tmpfs in the daemon's mount namespace, so that it can be full
//	a/var/disks  /var/lib/evenkeel/disks: backing files and faults.json, on the real disk
//	a/run      /run/evenkeel, emptied at each power-on; its sockets can be reached from outside
//	a/srv a/tmp a/log
type layout struct{ dir string }

func (l layout) record() string  { return filepath.Join(l.dir, "lab.json") }
func (l layout) socket() string  { return filepath.Join(l.dir, "lab.sock") }
func (l layout) log() string     { return filepath.Join(l.dir, "lab.log") }
func (l layout) pairing() string { return filepath.Join(l.dir, "pair.json") }

func (l layout) node(node string, parts ...string) string {
	return filepath.Join(append([]string{l.dir, node}, parts...)...)
}

func (l layout) disks(node string) string  { return l.node(node, "var", "disks") }
func (l layout) faults(node string) string { return filepath.Join(l.disks(node), "faults.json") }

// make creates the folders of both nodes.
func (l layout) make() error {
	for _, n := range nodes {
		for _, d := range []string{"etc/tls", "etc/services.d", "state", "var/disks", "run", "srv/data", "tmp"} {
			if err := os.MkdirAll(l.node(n, d), 0o755); err != nil {
				return fmt.Errorf("the lab's folder %s cannot be made: %w; choose another with --dir", l.dir, err)
			}
		}
	}
	return nil
}

// things are what the lab makes in its folder, beside the record.
func things() []string { return append([]string{"lab.sock", "lab.log", "pair.json"}, nodes...) }

// sweep deletes what the lab made in its folder. The record goes last: without it nobody would know that the rest is the lab's.
func (l layout) sweep() error {
	for _, n := range nodes {
		unseal(l.node(n, "srv"))
	}
	for _, n := range append(things(), "lab.json.new", "lab.json") {
		if err := os.RemoveAll(filepath.Join(l.dir, n)); err != nil {
			return err
		}
	}
	return nil
}

// unseal opens the bare folders of mount points below a node's /srv, which the engine has closed. What cannot be opened is named when it cannot be deleted.
func unseal(srv string) {
	_ = filepath.WalkDir(srv, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			_ = mount.Unseal(path)
		}
		return nil
	})
}

// remove deletes the lab's folder if nothing else is in it.
func (l layout) remove() error {
	if left, err := os.ReadDir(l.dir); err == nil && len(left) == 0 {
		return os.Remove(l.dir)
	}
	return nil
}

// empty deletes everything inside dir, but not dir.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// isNode says whether name is one of the machines.
func isNode(name string) bool { return name == "a" || name == "b" }
