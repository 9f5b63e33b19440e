package lab

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// helpless is a daemon whose network takes no rules.
func helpless() *daemon {
	return &daemon{
		hub: &hub{space: netns.None(), link: &netlink.Handle{}}, machines: map[string]*running{}, faults: newFaults(),
		serial: &serialLine{faults: serialFaults{CutTo: map[string]bool{}, off: map[string]bool{}}},
	}
}

// TestRefusedOrderChangesNothing: what the kernel refuses does not stay in force for the serial line.
func TestRefusedOrderChangesNothing(t *testing.T) {
	d := helpless()
	if _, err := d.cut(Order{What: "all"}); err == nil {
		t.Fatal("the order is not refused")
	}
	if f := d.serial.state(); f.CutTo["a"] || f.CutTo["b"] {
		t.Error("a refused cut of everything cuts the serial line")
	}
	d.serial.faults.CutTo["a"] = true
	if _, err := d.join(Order{What: "all"}); err == nil || !d.serial.state().CutTo["a"] {
		t.Errorf("a refused join of everything joins the serial line (%v)", err)
	}
}

// TestRefusedFreezeStopsNothing: no process stays stopped that `thaw` would not let go on.
func TestRefusedFreezeStopsNothing(t *testing.T) {
	init := exec.Command("sleep", "600")
	init.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if err := init.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = init.Process.Kill(); _ = init.Wait() }()
	d := helpless()
	r := &running{process: identify(init.Process.Pid), gone: make(chan struct{}), space: inode(fmt.Sprintf("/proc/%d/ns/pid", init.Process.Pid))}
	d.machines["a"] = r
	if err := d.freeze("a", false); err == nil {
		t.Fatal("the order is not refused")
	}
	if state := statFields(init.Process.Pid)[0]; state == "T" || r.frozen != "" || d.faults.frozen["a"] || d.serial.state().paused != 0 {
		t.Errorf("after a refused freeze the process is in state %s, the node %q, its frames %v", state, r.frozen, d.faults.frozen)
	}
}
