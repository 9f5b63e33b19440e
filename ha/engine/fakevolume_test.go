package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"evenkeel/ha"
)

// fakeVolume behaves as a volume process that never had a peer, or whose peer is connected.
type fakeVolume struct {
	*computer
	fact    ha.VolumeFact
	pid     int
	follows []func(VolumeState)
	problem string // and its code
	code    string
	refuse  map[string]error
	shell   bool          // the kernel let go of the device
	slow    time.Duration // until its first status

	permitted uint64 // the session that the permission was for
}

func (c *computer) addVolume(name string, connected bool) *fakeVolume {
	v := &fakeVolume{computer: c, pid: 100, refuse: map[string]error{}, fact: ha.VolumeFact{Name: name, Running: true, Role: ha.Secondary, Disk: ha.UpToDate,
		PeerDisk: ha.DUnknown, Connection: "Connecting", Generation: "00112233445566778899aabbccddeeff", NeverHadPeer: true}}
	if connected {
		v.fact.Connection, v.fact.Connected, v.fact.PeerDisk, v.fact.NeverHadPeer, v.fact.PeerRole = "Connected", true, ha.UpToDate, false, ha.Secondary
	}
	c.volumes[name] = v
	return v
}

func (c *computer) Apply(configs []VolumeConfig) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applied = configs
	return nil
}

func (c *computer) Open(name string) Volume { return c.volumes[name] }

func (v *fakeVolume) Follow(ctx context.Context, each func(VolumeState)) {
	v.mu.Lock()
	v.follows = append(v.follows, each)
	slow := v.slow
	v.mu.Unlock()
	wait(ctx, slow)
	for ctx.Err() == nil {
		v.mu.Lock()
		state := v.state()
		v.mu.Unlock()
		each(state)
		wait(ctx, 20*time.Millisecond)
	}
}

func (v *fakeVolume) state() VolumeState {
	fact := v.fact
	fact.AnsweredNow = slices.Clone(fact.AnsweredNow)
	return VolumeState{Fact: fact, PID: v.pid, Size: 1 << 20, Lost: -1, LastAck: -1, Problem: v.problem, ProblemCode: v.code, Stuck: v.code == "stuck"}
}

// do is one call: refused if the test says so.
func (v *fakeVolume) do(what string, change func()) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.refuse[what]; err != nil {
		return err
	}
	if !v.fact.Running {
		return errors.New("nobody answers")
	}
	v.did(what)
	change()
	return nil
}

func (v *fakeVolume) Promote(_ context.Context, o PromoteOrder) error {
	return v.do("promote", func() { v.fact.Role, v.fact.Epoch, v.fact.LastPrimary = ha.Primary, o.Epoch, true })
}
func (v *fakeVolume) Demote(context.Context) error {
	return v.do("demote", func() { v.fact.Role = ha.Secondary })
}
func (v *fakeVolume) Revoke(context.Context, ha.Epoch, ha.Reason) error {
	return v.do("revoke", func() { v.fact.Role = ha.Secondary })
}
func (v *fakeVolume) Permit(_ context.Context, _ ha.Epoch, _ ha.Generation, session uint64, reason string) error {
	return v.do("permit", func() { v.fact.Permission, v.permitted = reason, session })
}
func (v *fakeVolume) Withdraw(context.Context) error {
	return v.do("withdraw", func() { v.fact.Permission = "" })
}
func (v *fakeVolume) Outdate(_ context.Context, boot ha.BootName, r ha.Request) (ha.Answer, error) {
	a := ha.Answer{Number: r.Number, Boot: boot, Kind: r.Kind, Volume: r.Volume, Result: ha.AnsweredOutdated, Generation: r.Generation, Session: r.Session, Epoch: r.Epoch}
	return a, v.do("outdate", func() { v.fact.Disk, v.fact.AnsweredNow = ha.Outdated, append(v.fact.AnsweredNow, a) })
}
func (v *fakeVolume) PeerOutdated(context.Context, ha.Answer) error {
	return v.do("peer outdated", func() { v.fact.PeerRecord = "outdated" })
}
func (v *fakeVolume) EndLicence(context.Context, ha.Reason) error {
	return v.do("end licence", func() { v.fact.Licence, v.fact.Disk = false, ha.Consistent })
}
func (v *fakeVolume) Leave(context.Context) error {
	return v.do("leave", func() { v.fact.Connection, v.fact.Connected = "StandAlone", false })
}
func (v *fakeVolume) Snapshot(context.Context) ([]byte, error) { return []byte(v.fact.Name), nil }
func (v *fakeVolume) Compare(_ context.Context, peer []byte) (ha.Comparison, error) {
	if string(peer) != v.fact.Name {
		return ha.CompareRefused, nil
	}
	return ha.CompareEqual, nil
}
func (v *fakeVolume) Connect(context.Context) error       { return v.do("connect", func() {}) }
func (v *fakeVolume) Disconnect(context.Context) error    { return v.do("disconnect", func() {}) }
func (v *fakeVolume) Resolve(context.Context, bool) error { return v.do("resolve", func() {}) }
func (v *fakeVolume) Pause(context.Context) error         { return v.do("pause", func() {}) }
func (v *fakeVolume) Resume(context.Context) error        { return v.do("resume", func() {}) }
func (v *fakeVolume) Kill(context.Context, int) error     { return v.do("kill", func() {}) }
func (v *fakeVolume) Detach(context.Context, bool) error  { return v.do("detach", func() {}) }
func (v *fakeVolume) OpenDevice(context.Context, bool) (string, error) {
	err := v.do("device", func() { v.fact.Device = "/dev/loop-" + v.fact.Name })
	return "/dev/loop-" + v.fact.Name, err
}
func (v *fakeVolume) CloseDevice(_ context.Context, lazy bool) error {
	v.mu.Lock()
	for _, device := range v.mounts {
		if device == v.fact.Device && !lazy {
			v.mu.Unlock()
			return errors.New("the device is in use")
		}
	}
	v.mu.Unlock()
	return v.do("device off", func() { v.fact.Device, v.shell = "", false })
}
func (v *fakeVolume) Alive(context.Context) error { return nil }
