package meta

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"evenkeel/replication"
	"evenkeel/replication/disk"

	"github.com/google/renameio/v2"
)

// Sidecar is the file NAME.disk.json in the state folder: which disk this volume was on, and how far that had come. It is written after the
// superblock whenever the generation changes and at each open, so the disk is never behind it unless the disk went back in time.
type Sidecar struct {
	Version    int    `json:"version"`    // 1
	Area       string `json:"area"`       // hex: the area's name
	Volume     string `json:"volume"`     // hex
	DiskSize   uint64 `json:"disk_size"`  // bytes, rounded down to 4096
	Identity   string `json:"identity"`   // the device's own words, for people
	Generation string `json:"generation"` // hex
	Sequence   uint64 `json:"sequence"`   // of the superblock
}

// The disagreements of a disk with its sidecar.
var (
	// ErrSwapped: the disk is sound, but it is not the one that this volume was on.
	ErrSwapped = errors.New("this is another disk than the one this volume was on: put the right one back, or create the volume anew on it")
	// ErrWentBack: the disk is an older copy of itself. The area that comes with this error can be used; its data must not be trusted.
	ErrWentBack = errors.New("this disk went back in time: it is an older copy of itself")
)

func sidecarPath(dir, name string) string { return filepath.Join(dir, name+".disk.json") }

// LoadSidecar reads the sidecar of volume name. An absent file is an error that matches os.ErrNotExist.
func LoadSidecar(dir, name string) (Sidecar, error) {
	var s Sidecar
	b, err := os.ReadFile(sidecarPath(dir, name))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil || s.Version != 1 {
		return s, fmt.Errorf("the record %s of the volume's disk is damaged: remove it if the right disk is in place", sidecarPath(dir, name))
	}
	return s, nil
}

// keeper writes the sidecar when the generation moves.
type keeper struct {
	path, identity string
	generation     replication.GenerationID
	err            error
}

// follow is called with the area's lock held, after a save. A failing state folder must not stop the volume: the disk has the truth.
func (k *keeper) follow(a *Area) {
	if k != nil && k.generation != a.state.Current.ID {
		k.write(a)
	}
}

func (k *keeper) write(a *Area) {
	s := Sidecar{
		Version: 1, Area: hex.EncodeToString(a.name[:]), Volume: hex.EncodeToString(a.state.Volume[:]),
		DiskSize: a.geo.size, Identity: k.identity, Generation: a.state.Current.ID.String(), Sequence: a.sequence,
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = renameio.WriteFile(k.path, append(b, '\n'), 0o600)
	}
	if k.err = err; err == nil {
		k.generation = a.state.Current.ID
	}
}

// SidecarError is why the sidecar could not be written last time, or nil. The next change of generation tries again.
func (a *Area) SidecarError() error {
	a.super.Lock()
	defer a.super.Unlock()
	if a.sidecar == nil {
		return nil
	}
	return a.sidecar.err
}

// Keep begins to keep the sidecar of volume name in dir, overwriting an old one: after Create, or when a person said that this disk is right.
func (a *Area) Keep(dir, name, identity string) error {
	a.super.Lock()
	defer a.super.Unlock()
	a.sidecar = &keeper{path: sidecarPath(dir, name), identity: identity}
	a.sidecar.write(a)
	return a.sidecar.err
}

// Fits says why a disk is not, as it stands, one that volume name could be opened on; nil = it is. Nothing is written.
func Fits(d disk.Disk, dir, name string) error {
	a, err := Open(d)
	if err != nil {
		return err
	}
	side, err := LoadSidecar(dir, name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err == nil && hex.EncodeToString(a.name[:]) != side.Area:
		return ErrSwapped
	}
	return err
}

// Found says what OpenChecked met beside an open area.
type Found struct {
	Moved bool // the disk had grown: the area was found at its old end and moved to the new one
}

// OpenChecked opens the area of a volume's disk and holds it against the sidecar. Without a sidecar the disk is believed. Metadata that are
// not at the end are looked for where the end was, and moved. ErrWentBack comes once, with a usable area whose state says State.WentBack:
// Inconsistent, every bit set.
func OpenChecked(d disk.Disk, dir, name, identity string) (*Area, Found, error) {
	side, sideErr := LoadSidecar(dir, name)
	if sideErr != nil && !errors.Is(sideErr, os.ErrNotExist) {
		return nil, Found{}, sideErr
	}
	a, err := Open(d)
	var found Found
	var foreign ErrForeign
	if sideErr == nil && (errors.Is(err, ErrNoMetadata) || errors.As(err, &foreign)) {
		if moved, moveErr := openMoved(d, side); moveErr != nil {
			return nil, found, moveErr
		} else if moved != nil {
			a, found.Moved, err = moved, true, nil
		}
	}
	if sideErr == nil && errors.As(err, &foreign) { // this volume was on it: it is no stranger's disk
		err = fmt.Errorf("the metadata of volume %s at its end are damaged or overwritten (before them it holds %s): nothing on it is touched; "+
			"if the other node has the data, wipe it with wipefs -a and create the volume on it anew, else keep it", name, foreign.What)
	}
	if err != nil {
		return nil, found, err
	}
	if sideErr == nil {
		if hex.EncodeToString(a.name[:]) != side.Area {
			return nil, found, ErrSwapped
		}
		if a.sequence < side.Sequence && !found.Moved {
			// Stored on the disk before the sidecar lets the difference go.
			if err := a.Save(a.state.WentBack()); err != nil {
				return nil, found, err
			}
			_ = a.Keep(dir, name, identity)
			return a, found, ErrWentBack
		}
	}
	_ = a.Keep(dir, name, identity) // kept in SidecarError; the disk has the truth
	return a, found, nil
}

// openMoved looks for the area at the end that the sidecar remembers; nil if it is not there.
func openMoved(d disk.Disk, side Sidecar) (*Area, error) {
	if side.DiskSize == 0 || side.DiskSize >= d.Size() {
		return nil, nil
	}
	old, err := openAt(d, geometryOf(side.DiskSize))
	if err != nil {
		return nil, nil // what Open said of the new end stands
	}
	if hex.EncodeToString(old.name[:]) != side.Area {
		return nil, nil
	}
	if old.sequence < side.Sequence {
		return nil, ErrWentBack
	}
	geo := geometryOf(d.Size())
	if geo.data < old.geo.size {
		return nil, ErrTooSmall{Need: old.geo.size + (geo.size - geo.data), Have: d.Size()}
	}
	return old.move(geo)
}

// move writes the area anew at geo, which does not overlap the old one, superblocks last; the old one stays where it is, as data.
func (a *Area) move(geo geometry) (*Area, error) {
	bits, _, err := a.LoadBitmap()
	if err != nil {
		return nil, err
	}
	n := &Area{disk: a.disk, geo: geo, name: a.name, state: a.state, sequence: a.sequence, slot: 1, record: a.record}
	if err := n.format(bits, a.table); err != nil {
		return nil, fmt.Errorf("cannot move the metadata to the disk's new end: %w", err)
	}
	return n, nil
}
