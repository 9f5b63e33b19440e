package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"evenkeel/replication/volume"
)

// makeVolumes makes the backing files of both nodes as `evenkeel volume create` would: a holds the data, b waits for everything.
func makeVolumes(l layout, o Options) error {
	for _, v := range o.volumes() {
		for _, n := range nodes {
			image := filepath.Join(l.disks(n), v.name+".img")
			if err := makeImage(image, v.size); err != nil {
				return err
			}
			first := n == nodes[0]
			c := volume.CreateOptions{
				Name: v.name, Node: n, Backing: image, First: first, StateDir: l.node(n, "state", "volumes", v.name),
			}
			if first {
				c.Filesystem = v.filesystem
			}
			if _, err := volume.Create(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeImage makes a sparse file.
func makeImage(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("there is no room for %s: %w", path, err)
	}
	return nil
}
