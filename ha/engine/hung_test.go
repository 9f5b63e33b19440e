package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// stick makes a volume say that its disk hangs.
func (v *fakeVolume) stick() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.code, v.problem = "stuck", "its disk hangs"
}

// A secondary whose disk hangs counts as away, and its process is ended, so that the next one can answer the peer.
func TestHangingSecondaryIsEnded(t *testing.T) {
	b := newBench(t, true)
	v := b.computer.addVolume("data", true)
	b.heart.peer = func(at ha.Instant, say ha.Saying) *ha.Beat {
		beat := peerSlave(at, say)
		beat.Role, beat.Epoch = ha.Master, ha.Epoch{Counter: 7, Node: "b"}
		return beat
	}
	b.start()
	b.await("answering", func(s control.Status) bool { return s.ConfiguredRole != "" })
	v.stick()
	s := b.await("its volume is away", func(s control.Status) bool {
		return strings.Contains(b.computer.history(), "kill") && saysCondition(s, "volume.detached", "its disk hangs")
	})
	if s.Takeover.Possible {
		t.Error("a node whose disk hangs says that it could take over")
	}
}

// A primary's process is not ended as long as nobody else could serve: its disk may answer again.
func TestHangingPrimaryIsLeftAlone(t *testing.T) {
	b := newBench(t, true)
	v := b.computer.addVolume("data", false)
	b.start()
	if _, err := waitOutcome(b, control.Order{Force: true, Confirm: "a"}); err != nil {
		t.Fatal(err)
	}
	v.stick()
	s := b.await("its volume is away", func(s control.Status) bool { return saysCondition(s, "volume.detached", "its disk hangs") })
	wait(t.Context(), 300*time.Millisecond) // several steps, in which it must not happen
	if s.State != string(ha.Master) || strings.Contains(b.computer.history(), "kill") {
		t.Errorf("state %s, done: %s", s.State, b.computer.history())
	}
}

// A person has a volume connected: with a disk that failed its process starts anew; without a disk, or in a split-brain, the answer says why not.
func TestConnectSaysWhatItDoes(t *testing.T) {
	b := newBench(t, true)
	v := b.computer.addVolume("data", true)
	b.start()
	b.await("answering", func(s control.Status) bool { return s.ConfiguredRole != "" })
	for _, c := range []struct {
		disk    ha.Disk
		split   bool
		device  string
		problem string
		code    string // of the refusal; empty = done
		text    string
	}{
		{ha.UpToDate, false, "", "", "", "connect is done."},
		{ha.UpToDate, false, "", "replication is disconnected on node b", "", "which may still stand: replication is disconnected on node b."},
		{ha.DiskFailed, false, "/dev/loop7", "", "", "starts anew"}, // a lone master gives its device up to nobody: the recovery unmounts and mounts it
		{ha.DiskFailed, false, "", "", "", "starts anew"},
		{ha.DiskFailed, true, "", "", "", "starts anew"}, // else nothing would ever end it: without a disk it cannot be resolved
		{ha.Diskless, false, "", "", "no_disk", "no disk here"},
		{ha.UpToDate, true, "", "", "split_brain", "volume resolve"},
	} {
		v.mu.Lock()
		v.fact.Disk, v.fact.SplitBrain, v.fact.Device, v.problem, v.fact.Connected = c.disk, c.split, c.device, c.problem, false
		v.mu.Unlock()
		b.await("its state is known", func(s control.Status) bool {
			return len(s.Volumes) == 1 && s.Volumes[0].Disk == string(c.disk) && s.Volumes[0].SplitBrain == c.split &&
				(s.Volumes[0].Device != nil) == (c.device != "") && (s.Volumes[0].Reason != nil) == (c.problem != "")
		})
		kills := strings.Count(b.computer.history(), "kill")
		out, err := b.client.Volume(t.Context(), "data", "connect", control.VolumeOrder{})
		var refused *control.Error
		switch {
		case err == nil && c.code == "" && strings.Contains(out.Text, c.text):
		case errors.As(err, &refused) && refused.Code == c.code && strings.Contains(refused.Text, c.text):
		default:
			t.Errorf("%s, split-brain %v: %q, %v", c.disk, c.split, out.Text, err)
		}
		if ended := strings.Count(b.computer.history(), "kill") > kills; ended != (c.text == "starts anew") {
			t.Errorf("%s, split-brain %v, device %q: its process was ended: %v", c.disk, c.split, c.device, ended)
		}
	}
}

func saysCondition(s control.Status, code, words string) bool {
	for _, c := range s.Conditions {
		if c.Code == code && strings.Contains(c.Text, words) {
			return true
		}
	}
	return false
}
