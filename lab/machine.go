package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Deadlines of a machine.
const (
	bootLimit = 10 * time.Second // until its first process is set up
	stopLimit = 90 * time.Second // an orderly shut-down: the supervisor gives 60 s to leave the pair, then stops the processes
	killLimit = 5 * time.Second
)

// running is a machine that is on.
type running struct {
	process Process       // PID 1 of its PID namespace
	space   uint64        // inode of the PID namespace
	gone    chan struct{} // closed when it is off
	mounts  *os.File      // keeps its mount namespace until it is off; see holdMounts
	frozen  string        // "", machine, userland
}

// powerOn starts a node: a new network namespace, empty /run, PID 1.
func (d *daemon) powerOn(node string) error {
	if d.on(node) != nil {
		return fmt.Errorf("node %s is on already", node)
	}
	if err := empty(d.layout.node(node, "run")); err != nil {
		return err
	}
	if err := d.serial.power(node, true); err != nil {
		return fmt.Errorf("the serial port of %s cannot be flushed: %w", node, err)
	}
	space, err := newNamespace()
	if err != nil {
		return err
	}
	defer space.Close()
	named, err := spaceOf(space)
	if err != nil {
		return err
	}
	if err := d.hub.unplug(node); err != nil {
		return err
	}
	if err := d.hub.plug(node, space); err != nil {
		return err
	}
	if err := d.hub.apply(d.faults); err != nil {
		return err
	}
	pipes, err := d.inherited(node) // outside: that is where the console listens
	if err != nil {
		return err
	}
	defer pipes.close()
	var r *running
	err = inNetwork(space, func() (err error) {
		r, err = d.spawn(node, named, pipes)
		return err
	})
	if err != nil {
		return fmt.Errorf("node %s does not start: %w", node, err)
	}
	d.machines[node] = r
	d.log.Info("power on", "node", node, "pid", r.process.PID)
	return nil
}

// spawn starts PID 1. The child waits at a gate until lab.json names it, so that no crash of the daemon leaves an unknown machine.
func (d *daemon) spawn(node string, network space, pipes *inheritance) (*running, error) {
	log, err := os.OpenFile(d.layout.node(node, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(d.self, "lab", "node-init", "--dir", d.layout.dir, "--node", node, "--serial", d.serial.path(node))
	if d.options.Bare {
		cmd.Args = append(cmd.Args, "--bare")
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = "/", log, log, pipes.files
	cmd.Env = append(os.Environ(), "HOME=/root", "TMPDIR="+d.layout.node(node, "tmp"), fmt.Sprintf("EVENKEEL_CONSOLE_FDS=%d", consoleFD))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	pipes.handedOver()
	r := &running{process: identify(cmd.Process.Pid), gone: make(chan struct{})}
	r.space = inode(fmt.Sprintf("/proc/%d/ns/pid", r.process.PID))
	if r.mounts, err = holdMounts(r.process.PID); err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	d.machinesDone.Go(func() { d.watch(node, cmd, r) })
	d.record.Nodes[node] = r.process
	d.record.Namespaces[node] = network
	if err := d.record.write(d.layout); err != nil {
		return nil, errors.Join(err, r.process.kill(killLimit))
	}
	_, _ = pipes.gate.Write([]byte{1})
	return r, awaitBoot(pipes.report, r)
}

// inheritance is what PID 1 gets as files 3, 4 and 5, and this side of its gate and of its report.
type inheritance struct {
	files        []*os.File
	gate, report *os.File
}

// handedOver lets go of the child's files: the child has them now.
func (i *inheritance) handedOver() {
	for _, f := range i.files {
		_ = f.Close()
	}
	i.files = nil
}

// close lets go of everything.
func (i *inheritance) close() {
	i.handedOver()
	_, _ = i.gate.Close(), i.report.Close()
}

// inherited makes the pipes and the console's listener.
func (d *daemon) inherited(node string) (*inheritance, error) {
	console, err := d.console(node)
	if err != nil {
		return nil, err
	}
	gateIn, gate, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, console.Close())
	}
	report, reportOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, console.Close(), gateIn.Close(), gate.Close())
	}
	return &inheritance{[]*os.File{gateIn, reportOut, console}, gate, report}, nil
}

// consoleAddress is where the console of the i-th node will listen. Of any free ports one is chosen now: the other node's configuration names it.
func consoleAddress(first, i int) (string, error) {
	if first != 0 {
		return fmt.Sprintf("127.0.0.1:%d", first+i), nil
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("no port is free for a console: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// console listens outside for the machine's console. Only the machine keeps the listener, so that a machine that is off
// refuses connections.
func (d *daemon) console(node string) (*os.File, error) {
	l, err := net.Listen("tcp4", d.record.Consoles[node])
	if err != nil && d.options.ConsolePort == 0 { // somebody took it meanwhile
		l, err = net.Listen("tcp4", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("the console's address %s is in use: %w; choose another with --console-port, 0 = any free one",
			d.record.Consoles[node], err)
	}
	defer l.Close()
	d.record.Consoles[node] = l.Addr().String()
	return l.(*net.TCPListener).File()
}

// awaitBoot waits until PID 1 is set up; what it reports is why it could not be.
func awaitBoot(report *os.File, r *running) error {
	_ = report.SetReadDeadline(time.Now().Add(bootLimit))
	why, err := io.ReadAll(io.LimitReader(report, 4096))
	if err == nil && len(why) == 0 {
		return nil
	}
	if err != nil {
		why = fmt.Appendf(nil, "it was not set up within %s", bootLimit)
	}
	return errors.Join(errors.New(string(why)), r.process.kill(killLimit))
}

// watch waits for the machine's end.
func (d *daemon) watch(node string, cmd *exec.Cmd, r *running) {
	err := cmd.Wait()
	err = errors.Join(err, r.mounts.Close())
	d.log.Info("power off", "node", node, "pid", r.process.PID, "how", fmt.Sprint(err))
	close(r.gone)
}

// holdMounts keeps the mount namespace of a machine alive until the file is closed. If the volume process were the last one in it, its
// exit would unmount the file system before it closes /dev/fuse, and wait for ever for itself to write the rest (measured on
// kernel 6.18: a thread in D under cleanup_mnt, five writes in flight on the loop device).
func holdMounts(init int) (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/%d/ns/mnt", init))
}

// on is the machine, or nil if it is off.
func (d *daemon) on(node string) *running {
	r := d.machines[node]
	if r == nil {
		return nil
	}
	select {
	case <-r.gone:
		return nil
	default:
		return r
	}
}

// mustBeOn is the machine, or an error that says what to do.
func (d *daemon) mustBeOn(node string) (*running, error) {
	if r := d.on(node); r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("node %s is off: switch it on with `evenkeel lab start %s`", node, node)
}

// powerCut ends a machine at once: the kernel kills every process of the PID namespace with its first one, stopped or not.
func (d *daemon) powerCut(node string) error {
	r, err := d.mustBeOn(node)
	if err != nil {
		return err
	}
	loops := loopsOf(r.process.PID)
	wakeParents(r.space)
	if err := unix.Kill(r.process.PID, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) { // not reaped before r.gone: the pid is its own
		return err
	}
	// The carrier goes with the power: the kernel behind would answer until the last process has ended.
	if err := errors.Join(d.hub.unplug(node), r.process.kill(killLimit)); err != nil {
		return err
	}
	return d.switchedOff(node, r, loops)
}

// powerOff shuts a machine down in order: its first process is asked to stop everything.
func (d *daemon) powerOff(node string) error {
	r, err := d.mustBeOn(node)
	if err != nil {
		return err
	}
	if r.frozen != "" {
		return fmt.Errorf("node %s is frozen: thaw it first, or cut its power with `evenkeel lab kill %s`", node, node)
	}
	loops := loopsOf(r.process.PID)
	if err := unix.Kill(r.process.PID, unix.SIGTERM); err != nil {
		return fmt.Errorf("node %s cannot be told to stop: %w", node, err)
	}
	d.mu.Unlock() // others may look at and cut the lines meanwhile
	timer := time.NewTimer(stopLimit)
	defer timer.Stop()
	select {
	case <-r.gone:
		d.mu.Lock()
		return d.switchedOff(node, r, loops)
	case <-timer.C:
		d.mu.Lock()
		return errors.Join(fmt.Errorf("node %s did not shut down within %s: its power was cut; see %s", node, stopLimit,
			d.layout.node(node, "log")), d.powerCut(node))
	}
}

// switchedOff takes what a machine leaves behind out of the kernel.
func (d *daemon) switchedOff(node string, r *running, loops []loopDevice) error {
	<-r.gone
	if d.machines[node] != r {
		return nil // another order was faster
	}
	if r.frozen == frozenMachine {
		d.release(node)
	}
	delete(d.machines, node)
	delete(d.record.Nodes, node)
	return errors.Join(d.serial.power(node, false), d.hub.unplug(node), d.hub.apply(d.faults), detach(loops), d.record.write(d.layout))
}
