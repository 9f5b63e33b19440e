package volume

import (
	"fmt"
	"time"

	"evenkeel/replication"
	"evenkeel/replication/control"
	"evenkeel/replication/disk"
	"evenkeel/replication/meta"
)

// wanted is another backing device that the configuration names; it is for another process.
type wanted struct {
	path    string // empty = the one in use is the configured one
	why     error  // that it cannot be used, as looked at last
	looking bool
	at      time.Time // when it was looked at last
}

// moveOn ends the process for another backing device, so that the next one opens it as after any start. The disk in use is given up only where it is missed by
// nobody: the peer serves and mirrors, or there is none in use. And only for one that bears this volume's metadata.
func (l *loop) moveOn() {
	w := &l.wanted
	if w.path == "" || w.looking || l.now.Sub(w.at) < seekEvery || !l.dispensable() {
		return
	}
	w.looking, w.at = true, l.now
	c, path := l.config, w.path
	go func() { // ends with the disk's answer
		err := usable(path, c)
		l.box.post(call(func(l *loop) { l.looked(path, err) }))
	}()
}

// dispensable says whether nobody here or there needs the disk in use.
func (l *loop) dispensable() bool {
	if l.state.Role() == replication.Primary || l.kernel != nil || l.opening {
		return false
	}
	s := l.session
	return l.area == nil || s != nil && s.live && s.peerState.Role == string(replication.Primary)
}

// looked takes what moveOn has found.
func (l *loop) looked(path string, err error) {
	l.wanted.looking = false
	if path != l.wanted.path { // configured anew meanwhile
		return
	}
	l.wanted.why = err
	if err == nil && l.dispensable() {
		l.log.Warn("the process ends for its new backing device", "now", l.config.Backing, "wanted", path)
		l.wanted = wanted{}
		l.quit()
	}
	l.changed()
}

// usable says why a backing device cannot be this volume's; nil = it can.
func usable(path string, c control.Config) error {
	d, err := disk.Open(path, disk.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer d.Close()
	return meta.Fits(d, c.StateDir, c.Name)
}

// sayWanted says what becomes of another backing device, unless something else is wrong with the one in use.
func (l *loop) sayWanted(s *control.Status) {
	w := l.wanted
	switch {
	case w.path == "":
	case w.why != nil && l.area == nil:
		s.Problem = fmt.Sprintf("volume %s has no disk: %s: %v", s.Name, w.path, w.why)
	case s.ProblemCode != "":
	case w.why != nil:
		s.ProblemCode = control.BackingWaits
		s.Problem = fmt.Sprintf("volume %s: the settings name another backing device, %s, that cannot be used (%v): the one in use stays, until the next start", s.Name, w.path, w.why)
	default:
		s.ProblemCode = control.BackingWaits
		s.Problem = fmt.Sprintf("volume %s: the settings name another backing device, %s: it is used when the other node serves and both copies are connected, or from the next start on", s.Name, w.path)
	}
}
