package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel/ha/control"
)

// What the daemon gets from `lab up`: where it says that the machines are on, or why not, and the lock of the folder.
const (
	readyFD = 3
	lockFD  = 4
)

// stateSize is the size of each machine's /var/lib/evenkeel.
const stateSize = 64 << 20

// daemon owns the lab. One order at a time changes it.
type daemon struct {
	layout  layout
	options Options
	self    string   // this program
	lock    *os.File // of the folder: kept here so that it is held until this process ends
	log     *slog.Logger
	hub     *hub
	serial  *serialLine

	machinesDone sync.WaitGroup

	mu        sync.Mutex // all below
	record    Record
	machines  map[string]*running
	faults    faults
	disk      map[string]string
	stateDisk map[string]string
}

// runDaemon is `lab daemon`: it makes the lab, serves orders until SIGTERM, and ends the machines.
func runDaemon(l layout, o Options) error {
	ready := os.NewFile(readyFD, "ready")
	unix.CloseOnExec(readyFD)
	unix.CloseOnExec(lockFD)
	d, err := newDaemon(l, o)
	if err == nil {
		defer d.close()
		err = d.begin()
	}
	if err != nil {
		_, _ = ready.WriteString(err.Error())
		return err
	}
	server, err := d.serve()
	if err != nil {
		_, _ = ready.WriteString(err.Error())
		return err
	}
	_, _ = ready.WriteString(readyWord)
	_ = ready.Close()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	<-ctx.Done()
	return server.Close()
}

// readyWord is what the daemon writes when all is well.
const readyWord = "ready\n"

// newDaemon writes the record of a lab that has no machines yet.
func newDaemon(l layout, o Options) (*daemon, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d := &daemon{
		layout: l, options: o, self: self, lock: os.NewFile(lockFD, "lock"),
		log:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
		machines: map[string]*running{}, faults: newFaults(),
		disk: map[string]string{}, stateDisk: map[string]string{},
		record: Record{
			Daemon: thisProcess(), Options: o,
			Nodes: map[string]Process{}, Namespaces: map[string]space{}, Consoles: map[string]string{},
		},
	}
	for i, n := range nodes {
		if d.record.Consoles[n], err = consoleAddress(o.ConsolePort, i); err != nil {
			return nil, err
		}
		d.disk[n], d.stateDisk[n] = "ok", "ok"
	}
	return d, d.record.write(l)
}

// begin lays the cables, furnishes the nodes and switches them on.
func (d *daemon) begin() error {
	var err error
	if d.hub, err = newHub(); err != nil {
		return err
	}
	d.record.ClientNet = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(d.hub.client))
	if d.record.Namespaces["client"], err = spaceOf(d.hub.client); err != nil {
		return err
	}
	if d.serial, err = newSerialLine(); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := mountState(d.layout.node(n, "state"), stateSize); err != nil {
			return err
		}
		if err := d.setDisk(n, "ok"); err != nil {
			return err
		}
	}
	if !d.options.Bare {
		if err := makePair(d.layout, d.options, d.record.Consoles); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range nodes {
		if err := d.powerOn(n); err != nil {
			return err
		}
	}
	return d.record.write(d.layout)
}

// close ends the machines and the lines. The namespaces, and with them bridges and file systems, go with this process.
func (d *daemon) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range nodes {
		if d.on(n) == nil {
			continue
		}
		if err := d.powerCut(n); err != nil {
			d.log.Error("power cut failed", "node", n, "why", err)
		}
	}
	d.machinesDone.Wait()
	if d.serial != nil {
		d.serial.close()
	}
	if d.hub != nil {
		d.hub.close()
	}
}

// usage is an error of the command line, or of an order that makes no sense: exit code 2.
func usage(format string, args ...any) error {
	return &control.Error{Exit: control.ExitUsage, Code: "usage", Text: fmt.Errorf(format, args...).Error()}
}

// serve answers orders on lab.sock, in a goroutine that ends when the server is closed.
func (d *daemon) serve() (*http.Server, error) {
	_ = os.Remove(d.layout.socket())
	listener, err := net.Listen("unix", d.layout.socket())
	if err != nil {
		return nil, fmt.Errorf("lab.sock cannot be made: %w", err)
	}
	if err := os.Chmod(d.layout.socket(), 0o600); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		_ = json.NewEncoder(w).Encode(d.status())
	})
	for verb, do := range d.verbs() {
		mux.HandleFunc("POST /v1/"+verb, d.answer(verb, do))
	}
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.Serve(listener) }()
	return s, nil
}

// answer wraps an order: read, do, answer.
func (d *daemon) answer(verb string, do func(Order) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var o Order
		a := Answer{}
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&o)
		if err == nil {
			d.mu.Lock()
			a.Text, err = do(o)
			d.mu.Unlock()
		}
		if err != nil {
			a = Answer{Error: err.Error(), Exit: control.ExitFailed}
			if wrong := new(control.Error); errors.As(err, &wrong) {
				a.Exit = wrong.Exit
			}
			w.WriteHeader(http.StatusConflict)
		}
		d.log.Info("order", "verb", verb, "order", o, "answer", a.Text, "error", a.Error)
		_ = json.NewEncoder(w).Encode(a)
	}
}
