package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// verbs are the orders that the daemon takes. Each runs with the lab locked and answers one sentence.
func (d *daemon) verbs() map[string]func(Order) (string, error) {
	return map[string]func(Order) (string, error){
		"cut": d.cut, "join": d.join, "loss": d.lose, "noise": d.noise, "baud": d.baud,
		"start":      d.node("is on", d.powerOn),
		"stop":       d.node("is off", d.powerOff),
		"kill":       d.kill,
		"freeze":     d.freezeOrder,
		"thaw":       d.node("goes on", d.thaw),
		"disk":       d.diskOrder,
		"state-disk": d.stateDiskOrder,
	}
}

// node makes an order of something that is done to a node.
func (d *daemon) node(done string, do func(node string) error) func(Order) (string, error) {
	return func(o Order) (string, error) {
		if !isNode(o.Node) {
			return "", usage("%q is no node: use a or b", o.Node)
		}
		if err := do(o.Node); err != nil {
			return "", err
		}
		return fmt.Sprintf("node %s %s", o.Node, done), nil
	}
}

// cut breaks cables.
func (d *daemon) cut(o Order) (string, error) {
	cables, serial, err := parseWhat(o.What)
	if err != nil {
		return "", usage("%w", err)
	}
	if o.To != "" && !isNode(o.To) {
		return "", usage("--to %q is no node: use a or b", o.To)
	}
	if node, _, one := strings.Cut(o.What, ":"); one && o.To != "" && node != o.To && len(cables) > 0 {
		return "", usage("the cables of %s lead nothing to %s: cut %s:... --to %s, or the whole network", node, o.To, o.To, o.To)
	}
	if err := d.change(func(f faults) { f.cut(cables, o.Silent, o.To) }); err != nil {
		return "", err
	}
	if serial { // after what can fail: an order is done in full or not at all
		d.serial.set(func(f *serialFaults) {
			for _, n := range nodes {
				f.CutTo[n] = f.CutTo[n] || o.To == "" || o.To == n
			}
		})
	}
	way := ""
	if o.To != "" {
		way = " towards " + o.To
	} else if o.Silent {
		way = " silently"
	}
	return fmt.Sprintf("%s is cut%s", o.What, way), nil
}

// join mends cables.
func (d *daemon) join(o Order) (string, error) {
	cables, serial, err := parseWhat(o.What)
	if err != nil {
		return "", usage("%w", err)
	}
	if err := d.change(func(f faults) { f.join(cables) }); err != nil {
		return "", err
	}
	if serial {
		d.serial.set(func(f *serialFaults) { clear(f.CutTo) })
	}
	return o.What + " is joined", nil
}

// lose makes cables or a whole network lose frames.
func (d *daemon) lose(o Order) (string, error) {
	cables, serial, err := parseWhat(o.What)
	if err != nil {
		return "", usage("%w", err)
	}
	if len(cables) == 0 {
		return "", usage("the serial line has no frames to lose: use `evenkeel lab noise serial %g%%`", o.Percent)
	}
	err = d.change(func(f faults) {
		if _, isNetwork := networkNamed(o.What); isNetwork {
			f.loss[o.What] = o.Percent
			return
		}
		for _, id := range cables {
			f.cables[id].Loss = o.Percent
		}
	})
	text := fmt.Sprintf("%s loses %g%% of its frames", o.What, o.Percent)
	if serial {
		text += " (the serial line has none)"
	}
	return text, err
}

// change makes the world follow other faults. What the kernel refuses is taken back: else every later order would meet the same refusal.
func (d *daemon) change(how func(faults)) error {
	wish := d.faults.clone()
	how(wish)
	if err := d.hub.apply(wish); err != nil {
		_ = d.hub.apply(d.faults) // the first refusal is the one to tell
		return err
	}
	d.faults = wish
	return nil
}

// networkNamed finds a network.
func networkNamed(name string) (network, bool) {
	i := slices.IndexFunc(networks, func(n network) bool { return n.name == name })
	if i < 0 {
		return network{}, false
	}
	return networks[i], true
}

// noise flips bits on the serial line.
func (d *daemon) noise(o Order) (string, error) {
	if o.What != serialName {
		return "", usage("only the serial line has noise: use `evenkeel lab loss %s %g%%`", o.What, o.Percent)
	}
	d.serial.set(func(f *serialFaults) { f.Noise = o.Percent })
	return fmt.Sprintf("%g%% of the bytes on the serial line get a flipped bit", o.Percent), nil
}

// baud changes the rate of the serial line.
func (d *daemon) baud(o Order) (string, error) {
	if o.What != serialName {
		return "", usage("only the serial line has a rate: use `evenkeel lab baud serial %d`", o.Baud)
	}
	if !slices.Contains(bauds, o.Baud) {
		return "", usage("%d is no rate of a serial line: use one of %v", o.Baud, bauds)
	}
	d.serial.set(func(f *serialFaults) { f.Baud = o.Baud })
	return fmt.Sprintf("the serial line carries %d bits a second", o.Baud), nil
}

// kill cuts a node's power, or kills one of its processes.
func (d *daemon) kill(o Order) (string, error) {
	if !isNode(o.Node) {
		return "", usage("%q is no node: use a or b", o.Node)
	}
	if o.Process == "" {
		return fmt.Sprintf("the power of node %s is cut", o.Node), d.powerCut(o.Node)
	}
	n, err := d.killProcess(o.Node, o.Process)
	return fmt.Sprintf("%d process(es) %s of node %s killed", n, o.Process, o.Node), err
}

// freezeOrder pauses a node.
func (d *daemon) freezeOrder(o Order) (string, error) {
	return d.node("is frozen", func(n string) error { return d.freeze(n, o.Userland) })(o)
}

// diskModes are what a backing disk can be made to do.
var diskModes = []string{"ok", "error", "slow", "full", "hang"}

// diskOrder makes a node's backing disks misbehave.
func (d *daemon) diskOrder(o Order) (string, error) {
	if !slices.Contains(diskModes, o.Mode) {
		return "", usage("%q is nothing that a disk does: use ok, error, slow, full or hang", o.Mode)
	}
	return d.node("has a disk that is "+o.Mode, func(n string) error { return d.setDisk(n, o.Mode) })(o)
}

// setDisk writes the control file of the fault layer below a node's volumes.
func (d *daemon) setDisk(node, mode string) error {
	b, err := json.Marshal(map[string]any{"mode": mode, "seed": d.options.Seed})
	if err != nil {
		return err
	}
	file := d.layout.faults(node)
	if err := os.WriteFile(file+".new", append(b, '\n'), 0o600); err != nil {
		return err
	}
	d.disk[node] = mode
	return os.Rename(file+".new", file)
}

// stateDiskOrder fills a node's state folder or gives it room again.
func (d *daemon) stateDiskOrder(o Order) (string, error) {
	if o.Mode != "ok" && o.Mode != "full" {
		return "", usage("%q is nothing that the state folder does: use ok or full", o.Mode)
	}
	return d.node("has a state folder that is "+o.Mode, func(n string) error { return d.setStateDisk(n, o.Mode) })(o)
}

// setStateDisk shrinks the file system of /var/lib/evenkeel to what is in it, so that every write that needs room gets
// ENOSPC, or lets it grow again.
func (d *daemon) setStateDisk(node, mode string) error {
	point, size := d.layout.node(node, "state"), int64(stateSize)
	if mode == "full" {
		var st unix.Statfs_t
		if err := unix.Statfs(point, &st); err != nil {
			return err
		}
		size = max(1, int64(st.Blocks-st.Bfree)) * st.Bsize
	}
	if err := unix.Mount("", point, "", unix.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
		return fmt.Errorf("the state folder of node %s cannot be resized: %w", node, err)
	}
	d.stateDisk[node] = mode
	return nil
}

// mountState makes the small file system of a node's state. It stands in the daemon's own mount namespace: it survives the node's power cuts
// and goes with the daemon.
func mountState(point string, size int64) error {
	if err := unix.Mount("state", point, "tmpfs", 0, fmt.Sprintf("mode=755,size=%d", size)); err != nil {
		return fmt.Errorf("the state folder cannot be mounted: %w", err)
	}
	return os.Mkdir(filepath.Join(point, "disks"), 0o755)
}
