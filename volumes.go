package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/config"
	hacontrol "evenkeel/ha/control"
	"evenkeel/ha/engine"
	"evenkeel/replication/control"
)

// This file joins the two houses: what the engine calls a volume is a client of a volume process. Neither house knows the other's words.

// volumes makes volume processes run by writing volumes/NAME.json below the run folder, where the supervisor finds them.
type volumes struct {
	config config.Node
}

func newVolumes(c config.Node) *volumes { return &volumes{c} }

// Apply writes one file per volume, removes the others, and tells running volumes what can change live.
func (v *volumes) Apply(configs []engine.VolumeConfig) error {
	dir := filepath.Join(v.config.RunDir, "volumes")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	wanted := map[string]bool{}
	var errs []error
	for _, c := range configs {
		name := c.Name + ".json"
		wanted[name] = true
		full := v.full(c)
		if err := os.MkdirAll(full.StateDir, 0o700); err != nil {
			errs = append(errs, err)
			continue
		}
		changed, err := writeConfig(filepath.Join(dir, name), full)
		if err != nil {
			errs = append(errs, err)
		} else if changed {
			go v.configure(full)
		}
	}
	return errors.Join(append(errs, removeOthers(dir, wanted))...)
}

// full adds what only this machine knows.
func (v *volumes) full(c engine.VolumeConfig) control.Config {
	full := control.Config{
		Name: c.Name, Index: c.Index, Node: string(c.Node), Peer: string(c.Peer), Backing: c.Backing, Listen: c.Listen, Remote: c.Remote,
		Dialer: c.Dialer, Rate: c.Rate, Export: "auto", StateDir: volumeFolder(v.config, c.Name), RunDir: v.config.RunDir,
		HoldMS: c.Hold.Milliseconds(), ClusterID: c.ClusterID,
	}
	if v.config.Faults {
		full.Faults = filepath.Join(filepath.Dir(c.Backing), "faults.json")
	}
	return full
}

// configure tells a running volume its new configuration. One that does not run yet reads the file.
func (v *volumes) configure(c control.Config) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	client := control.NewClient(filepath.Join(v.config.RunDir, control.SocketName(c.Name)))
	if err := client.Configure(ctx, c); err != nil && !control.IsGone(err) {
		logger("engine").Warn("volume keeps its configuration until its process is started again", "volume", c.Name, "error", err)
	}
}

// writeConfig replaces the file if its content differs.
func writeConfig(path string, c control.Config) (changed bool, err error) {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return false, err
	}
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return false, nil
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return false, err
	}
	return true, os.Rename(temporary, path)
}

// removeOthers removes the files of volumes that are no longer in the settings.
func removeOthers(dir string, wanted map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".json") && !wanted[entry.Name()] {
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// volumeFolder is the folder of what a volume keeps beside its disk.
func volumeFolder(c config.Node, name string) string {
	return filepath.Join(c.StateDir, "volumes", name)
}

// Open returns the volume of that name.
func (v *volumes) Open(name string) engine.Volume {
	return &volumeHandle{control.NewClient(filepath.Join(v.config.RunDir, control.SocketName(name)))}
}

// volumeHandle is one volume process as the engine sees it.
type volumeHandle struct {
	client *control.Client
}

// followPause is the time between two tries to reach a volume process that is away.
const followPause = 50 * time.Millisecond

// Follow keeps a status stream until ctx ends.
func (h *volumeHandle) Follow(ctx context.Context, each func(engine.VolumeState)) {
	away := false
	for ctx.Err() == nil {
		_ = h.client.StreamStatus(ctx, func(s control.Status) {
			away = false
			each(volumeState(s))
		}) // it ends because the process is away, which is told below
		if !away {
			away = true
			each(engine.VolumeState{})
		}
		select {
		case <-ctx.Done():
		case <-time.After(followPause):
		}
	}
}

// volumeState translates a status.
func volumeState(s control.Status) engine.VolumeState {
	f := ha.VolumeFact{
		Name: s.Name, Running: true, Role: ha.VolumeRole(s.Role), Disk: ha.Disk(s.Disk), PeerDisk: ha.Disk(s.PeerDisk), Connection: s.Connection,
		Connected: s.Mirrors, PeerRole: ha.VolumeRole(s.PeerRole), OutOfSync: s.OutOfSyncBytes, Generation: generationOf(s.Generation),
		Session: s.Session, NeverHadPeer: s.NeverHadPeer, Permission: s.Permission, Holding: s.Holding, Licence: s.Licence,
		LastPrimary: s.LastPrimary, PeerRecord: s.PeerRecord, SplitBrain: s.SplitBrain, Epoch: ha.Epoch{Counter: s.Epoch.Counter, Node: ha.NodeID(s.Epoch.Node)},
		Device: s.Device, Loner: s.Loner,
	}
	if s.Disk == string(ha.Diskless) || s.Disk == string(ha.DiskFailed) {
		f.BlockedReason = s.Problem
	}
	for _, a := range s.Answered {
		if answer, err := answerOf(a, s.Name); err == nil {
			f.AnsweredNow = append(f.AnsweredNow, answer)
		}
	}
	f.AnsweredNow = f.AnsweredNow[max(0, len(f.AnsweredNow)-4):]
	state := engine.VolumeState{Fact: f, PID: s.PID, Size: s.Size, Problem: s.Problem, ProblemCode: s.ProblemCode, Verdict: s.Verdict,
		Stuck: s.ProblemCode == control.Stuck, Lost: ms(s.LostMS), HeldFor: ms(s.HoldingMS), LastAck: ms(s.LastAckMS)}
	if r := s.Resync; r != nil {
		state.Resync = &hacontrol.Resync{Percent: r.Percent, RateBytes: r.RateBytes, SecondsLeft: r.SecondsLeft, Paused: r.Paused}
	}
	return state
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func epochOf(e ha.Epoch) control.Epoch {
	return control.Epoch{Counter: e.Counter, Node: string(e.Node)}
}

// answerOf translates a stored answer of the volume's.
func answerOf(a control.OutdateAnswer, volume string) (ha.Answer, error) {
	boot, err := hex.DecodeString(a.Boot)
	if err != nil || len(boot) != len(ha.BootName{}) {
		return ha.Answer{}, fmt.Errorf("the volume's answer names the boot %q, which is none", a.Boot)
	}
	return ha.Answer{Number: a.Number, Boot: ha.BootName(boot), Kind: ha.AskOutdate, Volume: volume, Result: ha.AnswerResult(a.Result),
		Reason: ha.Reason(a.Reason), Generation: ha.Generation(a.Generation), Session: a.Session,
		Epoch: ha.Epoch{Counter: a.Epoch.Counter, Node: ha.NodeID(a.Epoch.Node)}}, nil
}

// refusal turns a volume's refusal into the API's.
func refusal(err error) error {
	var e *control.Error
	if !errors.As(err, &e) || control.IsGone(err) {
		return err
	}
	return &hacontrol.Error{Exit: hacontrol.ExitRefused, Code: e.Code, Text: e.Text}
}

func (h *volumeHandle) Promote(ctx context.Context, o engine.PromoteOrder) error {
	_, err := h.client.Promote(ctx, control.Promote{Epoch: epochOf(o.Epoch), Permission: o.Permit, Session: o.Session, Force: o.Force, Reason: string(o.Reason)})
	return err
}

func (h *volumeHandle) Demote(ctx context.Context) error { return h.client.Demote(ctx) }

func (h *volumeHandle) Revoke(ctx context.Context, epoch ha.Epoch, reason ha.Reason) error {
	return h.client.Revoke(ctx, control.Revoke{Epoch: epochOf(epoch), Reason: string(reason)})
}

func (h *volumeHandle) Permit(ctx context.Context, epoch ha.Epoch, generation ha.Generation, session uint64, reason string) error {
	return h.client.Permit(ctx, control.Permit{Epoch: epochOf(epoch), Generation: string(generation), Session: session, Reason: reason})
}

func (h *volumeHandle) Withdraw(ctx context.Context) error { return h.client.Withdraw(ctx) }

func (h *volumeHandle) Outdate(ctx context.Context, boot ha.BootName, r ha.Request) (ha.Answer, error) {
	a, err := h.client.Outdate(ctx, control.Outdate{Number: r.Number, Boot: hex.EncodeToString(boot[:]), Generation: string(r.Generation),
		Session: r.Session, Epoch: epochOf(r.Epoch)})
	if err != nil {
		return ha.Answer{}, err
	}
	return answerOf(a, r.Volume)
}

func (h *volumeHandle) PeerOutdated(ctx context.Context, a ha.Answer) error {
	return h.client.PeerOutdated(ctx, control.OutdateAnswer{Result: string(a.Result), Reason: string(a.Reason), Outdate: control.Outdate{
		Number: a.Number, Boot: hex.EncodeToString(a.Boot[:]), Generation: string(a.Generation), Session: a.Session, Epoch: epochOf(a.Epoch)}})
}

func (h *volumeHandle) EndLicence(ctx context.Context, reason ha.Reason) error {
	return h.client.EndLicence(ctx, string(reason))
}

func (h *volumeHandle) Leave(ctx context.Context) error { return h.client.Leave(ctx) }

func (h *volumeHandle) Snapshot(ctx context.Context) ([]byte, error) { return h.client.Snapshot(ctx) }

func (h *volumeHandle) Compare(ctx context.Context, peer []byte) (ha.Comparison, error) {
	v, err := h.client.Compare(ctx, peer)
	return ha.Comparison(v.Comparison), err
}

func (h *volumeHandle) Connect(ctx context.Context) error { return refusal(h.client.Connect(ctx)) }

func (h *volumeHandle) Disconnect(ctx context.Context) error {
	return refusal(h.client.Disconnect(ctx))
}

func (h *volumeHandle) Resolve(ctx context.Context, local bool) error {
	side := "peer"
	if local {
		side = "local"
	}
	return refusal(h.client.Resolve(ctx, control.Resolve{Discard: side}))
}

func (h *volumeHandle) Pause(ctx context.Context) error { return refusal(h.client.Pause(ctx)) }

func (h *volumeHandle) Resume(ctx context.Context) error { return refusal(h.client.Resume(ctx)) }

func (h *volumeHandle) Detach(ctx context.Context, force bool) error {
	return refusal(h.client.Detach(ctx, control.Detach{Force: force}))
}

func (h *volumeHandle) OpenDevice(ctx context.Context, mount bool) (string, error) {
	d, err := h.client.OpenDevice(ctx, control.DeviceOpen{Kind: "auto", Mount: mount})
	return d.Path, err
}

func (h *volumeHandle) CloseDevice(ctx context.Context, lazy bool) error {
	return h.client.CloseDevice(ctx, control.DeviceClose{Lazy: lazy})
}

func (h *volumeHandle) Kill(ctx context.Context, pid int) error { return h.client.Kill(ctx, pid) }

func (h *volumeHandle) Alive(ctx context.Context) error { return h.client.Alive(ctx) }

// generationOf leaves a generation that has no name yet empty: the volume shows it as zeroes.
func generationOf(hex string) ha.Generation {
	if strings.Trim(hex, "0") == "" {
		return ""
	}
	return ha.Generation(hex)
}
