package volume

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"evenkeel/replication"
	"evenkeel/replication/activity"
	"evenkeel/replication/control"
	"evenkeel/replication/dirty"
	"evenkeel/replication/disk"
	"evenkeel/replication/disk/faulty"
	"evenkeel/replication/meta"
)

// attachPatience is how long the process waits for its disk before it says what it is without one. A disk may hang for ever; the peer and the
// engine must get an answer meanwhile.
const attachPatience = 3 * time.Second

// attached is an opened disk with what its last user left, or why there is none.
type attached struct {
	disk     disk.Disk
	describe string
	area     *meta.Area
	state    replication.State
	bits     *dirty.Bitmap
	wentBack bool
	err      error
}

// firstDisk opens the disk before the loop turns. One that takes too long is attached when it is there.
func (l *loop) firstDisk() {
	found, c, boot := make(chan attached, 1), l.config, l.boot
	go func() { found <- openDisk(c, boot, l.log) }() // ends with the disk's answer
	patience := time.NewTimer(attachPatience)
	defer patience.Stop()
	l.soughtAt = l.now
	l.recallWord()
	select {
	case a := <-found:
		if l.attach(a); l.area != nil {
			l.keepSaidFailed()
		}
	case <-patience.C:
		l.seeking = true
		l.problem("no_disk", fmt.Sprintf("volume %s has no disk: %s has not answered for %v: it hangs", l.config.Name, l.config.Backing, attachPatience))
		go func() {
			a := <-found
			l.box.post(call(func(l *loop) { l.found(a) }))
		}()
	}
	if l.area == nil {
		l.log.Error("no disk", "why", l.problemText)
	}
}

// seekDisk looks from time to time, beside the loop, whether a disk that could not be used is there now: put back in its place, or created anew.
func (l *loop) seekDisk() {
	if l.area != nil || l.problemCode != "no_disk" || l.seeking || l.now.Sub(l.soughtAt) < seekEvery {
		return
	}
	l.soughtAt, l.seeking = l.now, true
	c, boot := l.config, l.boot
	go func() { // ends with the disk's answer
		a := openDisk(c, boot, l.log)
		l.box.post(call(func(l *loop) { l.found(a) }))
	}()
}

// found takes what seekDisk brought.
func (l *loop) found(a attached) {
	l.seeking = false
	before := l.problemText
	l.problemCode, l.problemText = "", ""
	l.attach(a)
	switch {
	case l.area != nil:
		l.keepSaidFailed()
		l.nudge()
	case l.problemText != before:
		l.log.Error("no disk", "why", l.problemText)
	}
}

// attach takes an opened disk; what is wrong with it becomes the volume's problem, in one sentence.
func (l *loop) attach(a attached) {
	defer l.changed()
	if a.err != nil {
		l.problem("no_disk", fmt.Sprintf("volume %s has no disk: %s: %v", l.config.Name, l.config.Backing, a.err))
		return
	}
	l.disk, l.area, l.state, l.bits = a.disk, a.area, a.state, a.bits
	l.size.Store(l.state.Size)
	switch {
	case a.wentBack:
		l.problem("disk_went_back", meta.ErrWentBack.Error())
	case l.state.Flags.Has(replication.SplitBrain):
		l.problem("split_brain", "split-brain: both sides wrote without each other; resolve it by naming the side whose history goes")
	}
	l.greet()
	l.log.Info("attached", "disk", a.describe, "state", l.state.Disk, "generation", l.state.Current.ID, "bytes", l.bits.Bytes())
}

// openDisk opens the backing disk and brings its state to what the last end of the process left. It touches nothing of the loop's.
func openDisk(c control.Config, boot [16]byte, log *slog.Logger) attached {
	f, err := disk.Open(c.Backing, disk.Options{})
	if err != nil {
		return attached{err: err}
	}
	d := disk.Disk(f)
	if c.Faults != "" {
		d = faulty.Wrap(f, c.Faults)
	}
	a := readArea(d, c, f.Identity(), log)
	a.describe = f.Describe()
	if a.err == nil {
		a.err = a.recover(c.Node, boot, log)
	}
	if a.err != nil {
		d.Close()
	}
	return a
}

// readArea finds the metadata.
func readArea(d disk.Disk, c control.Config, identity string, log *slog.Logger) attached {
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return attached{err: fmt.Errorf("cannot make the state folder: %w", err)}
	}
	area, found, err := meta.OpenChecked(d, c.StateDir, c.Name, identity)
	wentBack := errors.Is(err, meta.ErrWentBack)
	if err != nil && !(wentBack && area != nil) {
		return attached{err: err}
	}
	if found.Moved {
		log.Warn("the metadata were found at the disk's old end and moved to the new one")
	}
	return attached{disk: d, area: area, wentBack: wentBack}
}

// recover brings the state to what the last end of the process left: after a crash as primary the hot extents become bits, durably.
func (a *attached) recover(node string, boot [16]byte, log *slog.Logger) error {
	bits, damaged, err := a.area.LoadBitmap()
	if err != nil {
		return err
	}
	if damaged > 0 {
		log.Warn("bitmap pages were damaged: their blocks count as out of sync", "pages", damaged)
	}
	state := a.area.State()
	state.Node = node
	state = state.Attach(boot)
	if a.wentBack {
		state.Disk = replication.Inconsistent
	}
	if !state.NeverHadPeer() {
		for _, e := range a.area.HotExtents() {
			bits.Set(uint64(e)*activity.ExtentSize, activity.ExtentSize)
		}
	}
	a.state, a.bits = state, bits
	if err := a.area.WriteBitmap(bits); err != nil {
		return err // the log stands for these bits until they are written: the next try finds it
	}
	if err := a.area.ClearLog(); err != nil {
		return err
	}
	return a.area.Save(state)
}
