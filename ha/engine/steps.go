package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"evenkeel/ha"
)

// The deadlines of the steps. Services have their own, from the catalogue; e2fsck after a crash may take a while.
const (
	limitVolumes   = 10 * time.Second
	limitDevice    = 5 * time.Second
	limitMount     = time.Minute
	limitUnmount   = 15 * time.Second
	limitAddresses = 3 * time.Second
	limitServices  = time.Minute
	limitVerify    = 2 * time.Second
	limitKill      = 5 * time.Second
	revokeLimit    = time.Second     // of a volume's own revoke; then its process is ended
	politeUnmount  = 3 * time.Second // then its holders are killed
)

// stepsOf lists a procedure's steps in order (ha.ProcedureKind).
func stepsOf(kind ha.ProcedureKind) []step {
	mount := []step{
		{name: "device", limit: limitDevice, do: (*job).openDevices},
		{name: "mount", limit: limitMount, guarded: true, do: (*job).mount},
	}
	start := []step{
		{name: "services-before", limit: limitServices, guarded: true, optional: true, do: (*job).startBefore},
		{name: "addresses", limit: limitAddresses, guarded: true, do: (*job).addressesOn},
		{name: "services", limit: limitServices, guarded: true, optional: true, do: (*job).startAfter},
		{name: "verify", limit: limitVerify, guarded: true, do: (*job).verify},
	}
	switch kind {
	case ha.ProcedurePromote:
		promote := []step{{name: "volumes", limit: limitVolumes, guarded: true, do: (*job).promote}}
		return append(append(promote, mount...), start...)
	case ha.ProcedureDemote:
		// The addresses stay to the end: a client that comes in between is refused at once and tries again, instead of waiting for a second with a
		// connection request that nobody heard.
		return []step{
			{name: "services", limit: limitServices, optional: true, do: (*job).stopServices},
			{name: "unmount", limit: limitUnmount, do: (*job).unmount},
			{name: "device", limit: limitDevice, do: (*job).closeDevices},
			{name: "volumes", limit: limitVolumes, do: (*job).demote},
			{name: "addresses", limit: limitAddresses, do: (*job).addressesOff},
		}
	case ha.ProcedureRevoke:
		return append([]step{{name: "revoke", limit: volumeCallLimit, do: (*job).revoke}}, clear...)
	case ha.ProcedureRecover:
		recover := []step{{name: "volumes", limit: limitVolumes, guarded: true, do: (*job).promote}}
		return append(append(append(append([]step{}, clear...), recover...), mount...), start...)
	}
	return nil
}

// clear takes a dead volume's mounts and their users away, and waits for nothing that could hang.
var clear = []step{
	{name: "kill", limit: limitKill, do: (*job).kill},
	{name: "unmount", limit: limitKill, do: (*job).lazyUnmount},
	{name: "device-off", limit: limitKill, optional: true, do: (*job).dropDevices},
}

// undoes says whether a failed procedure of that kind is taken back before its failure is told.
func undoes(kind ha.ProcedureKind) bool {
	return kind == ha.ProcedurePromote || kind == ha.ProcedureRecover
}

// each runs f for every volume at once and joins the errors.
func (j *job) each(f func(v *volume) error) error {
	errs := make([]error, len(j.volumes))
	var group sync.WaitGroup
	for i, v := range j.volumes {
		group.Go(func() {
			if err := f(v); err != nil {
				errs[i] = fmt.Errorf("volume %s: %w", v.setting.Name, err)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// promote makes every volume primary; one that cannot fails the step, and the others are taken back with it. The search for strangers on the
// addresses begins beside it: it takes 200 ms that nobody has to wait for.
func (j *job) promote(ctx context.Context) error {
	if j.recent == nil {
		go j.searchStrangers()
	}
	return j.each(func(v *volume) error {
		for !v.fact().Running {
			if ctx.Err() != nil {
				return errors.New("its process does not answer")
			}
			wait(ctx, 10*time.Millisecond)
		}
		if s := v.fact(); s.Role == ha.Primary && j.keepsRole(s) {
			return nil
		}
		order := PromoteOrder{Epoch: j.procedure.Epoch, Permit: j.procedure.Permit, Session: j.sessions[v], Force: j.procedure.Force, Reason: j.procedure.Reason}
		if err := v.handle.Promote(ctx, order); err != nil {
			return err
		}
		v.awaitRole(ctx, ha.Primary)
		return nil
	})
}

// keepsRole says whether a volume that is primary already needs no further promotion: its epoch is the procedure's.
func (j *job) keepsRole(s ha.VolumeFact) bool {
	return s.Epoch == j.procedure.Epoch && (j.procedure.Permit == "" || s.Permission != "")
}

// searchStrangers fills j.strangers.
func (j *job) searchStrangers() {
	j.strangers <- j.e.findConflicts(j.e.ctx, j.wishes, j.peer, j.conflicts)
}

// openDevices makes the kernel devices appear. A device that an engine before this one left without its mount goes first: the kernel
// lets go of a loop device by itself when it is unmounted, so it may be an empty shell. Never lazily: one that is in use is mounted somewhere.
func (j *job) openDevices(ctx context.Context) error {
	return j.each(func(v *volume) error {
		point := v.setting.MountPoint
		if _, mounted := j.e.shells.mounts.Mounted(point); point != "" && !mounted && v.fact().Device != "" {
			if err := v.handle.CloseDevice(ctx, false); err != nil {
				return err
			}
		}
		path, err := v.handle.OpenDevice(ctx, v.setting.Filesystem != "")
		if err != nil {
			return err
		}
		j.mu.Lock()
		j.devices[v.setting.Name] = path
		j.mu.Unlock()
		return nil
	})
}

// mount mounts every filesystem that is not mounted from its device already; a mount from another device is a dead one and goes first.
func (j *job) mount(ctx context.Context) error {
	mounts := j.e.shells.mounts
	return j.each(func(v *volume) error {
		point := v.setting.MountPoint
		if v.setting.Filesystem == "" || point == "" {
			return nil
		}
		j.mu.Lock()
		device := j.devices[v.setting.Name]
		j.mu.Unlock()
		for range 8 { // mounts may lie on one another after crashes
			from, mounted := mounts.Mounted(point)
			if !mounted {
				break
			}
			if from == device {
				return nil
			}
			if err := mounts.Lazy(point); err != nil {
				return fmt.Errorf("the dead mount of %s on %s: %w", from, point, err)
			}
		}
		return mounts.Mount(ctx, device, point, v.setting.Filesystem)
	})
}

func (j *job) startBefore(ctx context.Context) error { return j.start(ctx, j.services.before) }
func (j *job) startAfter(ctx context.Context) error  { return j.start(ctx, j.services.after) }

// start runs services layer by layer; one that fails does not keep the others from trying.
func (j *job) start(ctx context.Context, layers [][]string) error {
	var errs []error
	for _, layer := range layers {
		if err := j.e.gate.check(j.procedure); err != nil {
			return err
		}
		errs = append(errs, together(layer, func(name string) error { return j.e.shells.services.Start(ctx, name) }))
	}
	return errors.Join(errs...)
}

// together does the same to the services of one layer at once.
func together(layer []string, do func(name string) error) error {
	errs := make([]error, len(layer))
	var group sync.WaitGroup
	for i, name := range layer {
		group.Go(func() {
			if err := do(name); err != nil {
				errs[i] = fmt.Errorf("service %s: %w", name, err)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// addressesOn puts the virtual addresses on, but none that a stranger answers for. Who that is may have been looked up a minute ago, which a takeover does not
// wait for: the next look follows at once.
func (j *job) addressesOn(ctx context.Context) error {
	strangers := j.recent
	if strangers == nil {
		select {
		case strangers = <-j.strangers:
			j.e.post(func() { j.e.takeConflicts(strangers) })
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := j.e.gate.check(j.procedure); err != nil {
		return err
	}
	err := j.e.putAddresses(ctx, takeable(j.wishes, strangers, j.held))
	take := j.e.readHeld()
	j.e.post(func() {
		take() // so that heart renews them from here on
		j.e.addresses.searchAt = 0
	})
	return err
}

// verify looks whether everything that was done is still there.
func (j *job) verify(context.Context) error {
	return j.each(func(v *volume) error {
		if s := v.fact(); s.Running && s.Role != ha.Primary {
			return errors.New("is not Primary any more")
		}
		if v.setting.Filesystem == "" || v.setting.MountPoint == "" {
			return nil
		}
		if _, mounted := j.e.shells.mounts.Mounted(v.setting.MountPoint); !mounted {
			return errors.New("is not mounted any more")
		}
		return nil
	})
}

// stopServices stops what runs on the master only: TERM, then KILL, as the service shell does.
func (j *job) stopServices(ctx context.Context) error {
	var errs []error
	for _, layer := range j.services.stop {
		errs = append(errs, together(layer, func(name string) error {
			err := j.e.shells.services.Stop(ctx, name)
			if err != nil {
				j.e.shells.services.Kill(name)
			}
			return err
		}))
	}
	return errors.Join(errs...)
}

func (j *job) addressesOff(context.Context) error { return j.e.takeOff() }

// unmount climbs: politely, then its holders are killed, then it is taken out of the tree.
func (j *job) unmount(ctx context.Context) error {
	mounts := j.e.shells.mounts
	return j.each(func(v *volume) error {
		point := v.setting.MountPoint
		if point == "" {
			return nil
		}
		if _, mounted := mounts.Mounted(point); !mounted {
			return nil
		}
		polite, cancel := context.WithTimeout(ctx, politeUnmount)
		defer cancel()
		if mounts.Unmount(polite, point) == nil {
			return nil
		}
		if err := mounts.KillHolders(point); err != nil {
			j.e.log.Warn("holders of a mount not killed", "mount", point, "error", err)
		}
		again, cancel := context.WithTimeout(ctx, politeUnmount)
		defer cancel()
		if mounts.Unmount(again, point) == nil {
			return nil
		}
		return mounts.Lazy(point)
	})
}

// closeDevices takes the kernel devices away, lazily if somebody still holds one.
func (j *job) closeDevices(ctx context.Context) error {
	return j.each(func(v *volume) error {
		if !v.fact().Running || v.fact().Role != ha.Primary {
			return nil
		}
		if v.handle.CloseDevice(ctx, false) == nil {
			return nil
		}
		return v.handle.CloseDevice(ctx, true)
	})
}

// demote makes every volume secondary; one that refuses is forced.
func (j *job) demote(ctx context.Context) error {
	return j.each(func(v *volume) error {
		if !v.fact().Running || v.fact().Role != ha.Primary {
			return nil
		}
		polite, cancel := context.WithTimeout(ctx, limitVolumes/2)
		defer cancel()
		if err := v.handle.Demote(polite); err != nil {
			j.e.log.Warn("volume does not let go, it is revoked", "volume", v.setting.Name, "error", err)
			if err := v.handle.Revoke(ctx, j.procedure.Epoch, j.procedure.Reason); err != nil {
				return err
			}
		}
		v.awaitRole(ctx, ha.Secondary)
		return nil
	})
}

// revoke takes the volumes and the addresses away at once, together.
func (j *job) revoke(ctx context.Context) error {
	var off error
	var group sync.WaitGroup
	group.Go(func() { off = j.e.takeOff() })
	err := j.each(func(v *volume) error {
		s := v.fact()
		switch {
		case s.Role == ha.Secondary:
			return nil
		case !s.Running && s.Role == ha.Primary: // one that is away serves nothing and starts as Secondary; one that hangs must not come back to itself
			return v.handle.Kill(ctx, v.last().PID)
		}
		return j.revokeOrKill(ctx, v) // also one that has not said yet what it is
	})
	group.Wait()
	return errors.Join(err, off)
}

// revokeOrKill: a volume whose disk hangs cannot store that it is Secondary. Then its process ends: that completes nothing any more either.
func (j *job) revokeOrKill(ctx context.Context, v *volume) error {
	limited, cancel := context.WithTimeout(ctx, revokeLimit)
	defer cancel()
	if err := v.handle.Revoke(limited, j.procedure.Epoch, j.procedure.Reason); err != nil {
		j.e.log.Warn("volume not revoked, its process is ended", "volume", v.setting.Name, "error", err)
		return v.handle.Kill(ctx, v.last().PID)
	}
	v.awaitRole(ctx, ha.Secondary)
	return nil
}

// kill ends the services of the master and whoever still holds a mount.
func (j *job) kill(context.Context) error {
	j.e.shells.services.Kill(names(j.services.stop)...)
	return j.each(func(v *volume) error {
		if v.setting.MountPoint == "" {
			return nil
		}
		if _, mounted := j.e.shells.mounts.Mounted(v.setting.MountPoint); !mounted {
			return nil
		}
		return j.e.shells.mounts.KillHolders(v.setting.MountPoint)
	})
}

func (j *job) lazyUnmount(context.Context) error {
	return j.each(func(v *volume) error {
		for range 8 {
			if v.setting.MountPoint == "" {
				return nil
			}
			if _, mounted := j.e.shells.mounts.Mounted(v.setting.MountPoint); !mounted {
				return nil
			}
			if err := j.e.shells.mounts.Lazy(v.setting.MountPoint); err != nil {
				return err
			}
		}
		return fmt.Errorf("%s is still mounted", v.setting.MountPoint)
	})
}

func (j *job) dropDevices(ctx context.Context) error {
	return j.each(func(v *volume) error {
		if !v.fact().Running {
			return nil // the device died with the process
		}
		return v.handle.CloseDevice(ctx, true)
	})
}

// undo takes back what a failed promotion did, before its failure is told: nothing is mounted, and the volumes are Secondary, in order if they can
// be, because a revoke would end what they know of their data.
func (j *job) undo() {
	for _, s := range stepsOf(ha.ProcedureDemote) {
		ctx, cancel := context.WithTimeout(j.e.ctx, s.limit)
		if err := s.do(j, ctx); err != nil {
			j.e.log.Error("failed promotion not taken back whole", "step", s.name, "error", err)
		}
		cancel()
	}
}
