// Package volume is the volume process: one loop that owns one replicated volume, its backing disk, its metadata, its connection to the
// peer and what it exports. Decisions are replication's (pure); this package acts.
//
//	export (NBD, FUSE+loop) --Submit--> loop --> disk          API (volume-NAME.sock) --> loop
//	                                     |  \--> link ==TLS==> the peer's loop --> its disk
//	                                     '--> meta (superblocks, log of hot extents, bitmap)
//
// A write's order, and why it loses nothing:
//
//  1. its extents are hot, durably: after a crash they count as out of sync;
//  2. disk and peer at once; nothing that overlaps begins before it ends, so both disks see one order;
//  3. it completes when both disks completed it (protocol C). Alone it completes only with the engine's stored permission, after a
//     new generation is durable, with its bits set;
//  4. until the peer flushed it, its extent stays hot; if the connection ends before that, it becomes bits.
//
// Without permission and connection everything waits: held writes complete when the peer is back, when a permission comes, or fail when
// the role is taken away.
package volume

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"evenkeel/replication"
	"evenkeel/replication/activity"
	"evenkeel/replication/control"
	"evenkeel/replication/dirty"
	"evenkeel/replication/export"
)

// Options of Run.
type Options struct {
	Config control.Config
	// Server and Client pin the paired node's certificate.
	Server, Client *tls.Config
	Log            *slog.Logger
}

// Run is the volume process; it ends with ctx. A disk that cannot be used does not end it: the status says why.
func Run(ctx context.Context, o Options) error { return runWith(ctx, o, nil) }

// runWith is Run; ready, if not nil, gets the loop when it turns.
func runWith(ctx context.Context, o Options, ready chan<- *loop) error {
	l, err := newLoop(o)
	if err != nil {
		return err
	}
	export.CleanLeftovers(o.Config.RunDir, o.Config.Name)
	listener, err := listenAPI(filepath.Join(o.Config.RunDir, control.SocketName(o.Config.Name)))
	if err != nil {
		return err
	}
	defer os.Remove(listener.Addr().String())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.meetCtx, l.quit = ctx, cancel
	l.firstDisk()
	for i := range l.since {
		go l.work(&l.since[i]) // ends when jobs is closed
	}
	l.meet()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(ctx)
	}()
	if ready != nil {
		ready <- l
	}
	err = serveAPI(ctx, listener, l)
	cancel()
	<-ended
	l.close(3 * time.Second)
	return err
}

// newLoop makes a loop without a disk.
func newLoop(o Options) (*loop, error) {
	c := o.Config
	if c.Name == "" || c.Node == "" || c.Backing == "" {
		return nil, fmt.Errorf("the volume's configuration names no %s", missing(c))
	}
	l := &loop{
		config: c, node: c.Node, log: o.Log.With("volume", c.Name), box: newMailbox(), jobs: make(chan func(), 4096),
		inFlight: newBudget(inFlightMax), readFlight: newBudget(inFlightMax), news: newNews(), now: time.Now(), boot: bootName(),
		bits: dirty.New(0), hot: activity.New(activity.Slots),
		writing: map[*op]struct{}{}, reading: map[*op]struct{}{}, remote: map[uint64]*op{},
	}
	l.wanting.Store(true)
	l.turned.Store(l.now.UnixNano()) // it counts as stuck from here on, not since 1970
	l.meeting = &meeting{server: o.Server, client: o.Client, box: l.box, log: l.log, hello: l.sayHello, willing: l.willing, nudge: make(chan struct{}, 1)}
	l.changed()
	return l, nil
}

func missing(c control.Config) string {
	switch {
	case c.Name == "":
		return "name"
	case c.Node == "":
		return "node"
	}
	return "backing"
}

// meet begins, or begins anew, to look for the peer at the configured addresses.
func (l *loop) meet() {
	if l.stopMeeting != nil {
		l.stopMeeting()
	}
	ctx, stop := context.WithCancel(l.meetCtx)
	l.stopMeeting = stop
	old := l.meeting
	m := &meeting{listen: l.config.Listen, remote: l.config.Remote, dialer: l.config.Dialer, server: old.server, client: old.client,
		box: l.box, log: l.log, hello: l.sayHello, willing: l.willing, nudge: make(chan struct{}, 1)}
	l.meeting = m
	if m.dialer && m.remote == "" || !m.dialer && m.listen == "" {
		return // no replication address: it stays alone
	}
	l.tasks.Go(func() { m.run(ctx) })
}

// close ends what runs beside the loop, in the order in which they need each other; what has not ended within d keeps the disk open.
func (l *loop) close(d time.Duration) {
	l.inFlight.shut()
	l.readFlight.shut()
	if l.stopMeeting != nil {
		l.stopMeeting()
	}
	if l.kernel != nil {
		if err := l.kernel.Close(true); err != nil {
			l.log.Warn("the kernel device was not removed", "why", err)
		}
	}
	if l.finishOff(d) && l.disk != nil {
		l.disk.Close()
	}
}

// finishOff lets the loop's last events happen until nothing runs beside it, at most for d: open requests end with errors, links close. It says whether
// nothing runs any more; else the disk may still be in use.
func (l *loop) finishOff(d time.Duration) bool {
	idle := make(chan struct{})
	go func() { // ends with the last task
		l.tasks.Wait()
		close(idle)
	}()
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	for tasks := idle; tasks != nil || !l.idle() || !l.inFlight.empty() || !l.readFlight.empty() || l.incomingCount > 0 || l.activating; {
		select {
		case <-l.box.wake:
		case <-tasks:
			tasks = nil
		case <-deadline.C:
			return false // a stuck disk or kernel device; the process ends anyway
		}
		for _, e := range l.box.take(nil) {
			e.happen(l)
		}
	}
	close(l.jobs)
	return true
}

// newID is a random name of a generation.
func newID() (id replication.GenerationID) {
	_, _ = rand.Read(id[:]) // crypto/rand never fails
	return id
}

func parseID(s string) (id replication.GenerationID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%q is not a generation of 32 hex digits", s)
	}
	copy(id[:], b)
	return id, nil
}

// bootName names this boot of this machine, or of this container: the kernel's boot id with the start of its first process.
func bootName() (name [16]byte) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return name
	}
	stat, err := os.ReadFile("/proc/1/stat")
	if err != nil {
		return name
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	start := ""
	if fields := strings.Fields(rest); len(fields) > 19 {
		start = fields[19]
	}
	sum := sha256.Sum256(append(id, start...))
	copy(name[:], sum[:])
	return name
}
