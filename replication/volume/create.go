package volume

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"evenkeel/replication"
	"evenkeel/replication/disk"
	"evenkeel/replication/meta"
)

// CreateOptions say what Create marks.
type CreateOptions struct {
	Name    string
	Node    string // this node's id; may be empty: the process enters it when it attaches
	Backing string // block device or file; it must exist
	// First: this copy holds the data. Else it waits for everything from the peer.
	First bool
	// Filesystem "ext4" makes one on the data area first, with First; "" = none.
	Filesystem string
	Adopt      bool   // the filesystem that is there stays, if it ends before the metadata
	Force      bool   // metadata of an earlier volume may go
	StateDir   string // where the record of the disk is kept; "" = it begins when the process attaches
}

// CreateResult is what was made; sizes in bytes.
type CreateResult struct {
	Name, Backing     string
	DataSize, AreaLen uint64
	Generation        string // "" = waits for a full sync
}

// String is one line for people.
func (r CreateResult) String() string {
	if r.Generation == "" {
		return fmt.Sprintf("volume %s on %s: %d bytes for data, waits for everything from the peer", r.Name, r.Backing, r.DataSize)
	}
	return fmt.Sprintf("volume %s on %s: %d bytes for data, UpToDate at generation %s", r.Name, r.Backing, r.DataSize, r.Generation)
}

// Create marks a backing disk as one side of a new volume.
func Create(o CreateOptions) (CreateResult, error) {
	fail := func(err error) (CreateResult, error) {
		return CreateResult{}, fmt.Errorf("volume %s cannot be created on %s: %w", o.Name, o.Backing, err)
	}
	switch {
	case o.Name == "" || o.Backing == "":
		return CreateResult{}, errors.New("volume create needs a name and a backing device")
	case o.Filesystem != "" && o.Filesystem != "ext4":
		return fail(fmt.Errorf("the filesystem %q is not known: enter ext4 or nothing", o.Filesystem))
	case o.Filesystem != "" && !o.First:
		return fail(errors.New("a filesystem is made on the first copy only: the other one gets it by the resync"))
	case o.Filesystem != "" && o.Adopt:
		return fail(errors.New("a filesystem is either made or adopted, not both"))
	}
	d, err := disk.Open(o.Backing, disk.Options{})
	if err != nil {
		return fail(err)
	}
	m := meta.Options{Node: o.Node, First: o.First, At: time.Now().Unix(), Adopt: o.Adopt, Force: o.Force}
	_, _ = rand.Read(m.Volume[:]) // crypto/rand never fails
	m.Generation = newID()
	area, err := meta.Create(d, m)
	if err == nil && o.StateDir != "" {
		err = errors.Join(os.MkdirAll(o.StateDir, 0o700), area.Keep(o.StateDir, o.Name, d.Identity()))
	}
	if err != nil {
		d.Close()
		return fail(err)
	}
	r := CreateResult{Name: o.Name, Backing: o.Backing, DataSize: area.DataSize(), AreaLen: area.MetaSize()}
	if o.First {
		r.Generation = area.State().Current.ID.String()
	}
	if err := d.Close(); err != nil {
		return fail(err)
	}
	if o.Filesystem != "" {
		if err := makeFilesystem(o.Backing, r.DataSize); err != nil {
			return fail(err)
		}
	}
	return r, nil
}

// makeFilesystem makes an ext4 that ends before the metadata. The metadata are there already: a crash between leaves a volume without
// a filesystem, never a filesystem without its volume.
func makeFilesystem(path string, size uint64) error {
	const blockSize = 4096
	c := exec.Command("mkfs.ext4", "-q", "-F", "-b", fmt.Sprint(blockSize), "-E", "nodiscard", path, fmt.Sprint(size/blockSize))
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		return fmt.Errorf("mkfs.ext4 failed (%w): %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

// Inspection is what the metadata of a disk say.
type Inspection struct {
	Backing           string
	DataSize, AreaLen uint64
	State             replication.State
	DirtyBytes        uint64
	HotExtents        int
}

// Inspect reads the metadata of a disk without changing it; the volume may run.
func Inspect(backing string) (Inspection, error) {
	d, err := disk.Open(backing, disk.Options{ReadOnly: true})
	if err != nil {
		return Inspection{}, err
	}
	defer d.Close()
	area, err := meta.Open(d)
	if err != nil {
		return Inspection{}, fmt.Errorf("%s: %w", backing, err)
	}
	bits, _, err := area.LoadBitmap()
	if err != nil {
		return Inspection{}, fmt.Errorf("%s: %w", backing, err)
	}
	return Inspection{Backing: backing, DataSize: area.DataSize(), AreaLen: area.MetaSize(), State: area.State(),
		DirtyBytes: bits.Bytes(), HotExtents: len(area.HotExtents())}, nil
}

// String is a table for people.
func (i Inspection) String() string {
	s := i.State
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("backing", "%s", i.Backing)
	line("data", "%d bytes", i.DataSize)
	line("metadata", "%d bytes at the end", i.AreaLen)
	line("node", "%s", s.Node)
	line("role", "%s", s.Role())
	line("disk", "%s", s.Disk)
	line("generation", "%s (%s)", s.Current.ID, s.Current.Reason)
	if !s.BitmapOf.ID.IsZero() {
		line("bitmap of", "%s", s.BitmapOf.ID)
	}
	for _, h := range s.History {
		if !h.ID.IsZero() {
			line("history", "%s (%s)", h.ID, h.Reason)
		}
	}
	line("epoch", "%d,%s", s.Epoch.Counter, s.Epoch.Node)
	line("permission", "%s", s.Permission.Reason)
	line("session", "%d, mark %d", s.Mark.Session, s.Mark.Counter)
	line("out of sync", "%d bytes, %d hot extents", i.DirtyBytes, i.HotExtents)
	line("split-brain", "%t", s.Flags.Has(replication.SplitBrain))
	return strings.TrimSuffix(b.String(), "\n")
}
