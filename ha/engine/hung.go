package engine

import (
	"context"
	"time"

	"evenkeel/ha"
)

const (
	// hangsAfter is how long a volume may be stuck, which it says after two seconds, before it counts as away.
	hangsAfter = 3 * time.Second
	killEvery  = 10 * time.Second
)

// hangs says whether the volume has been away or stuck for so long that nobody should wait for it.
func (v *volume) hangs(at ha.Instant) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.deafSince != 0 && at.Sub(v.deafSince) >= hangsAfter
}

// endHanging ends the processes of secondaries that hang, so that the peer does not wait for their disk: the next one answers for it, if only that it
// has none. A primary's is ended by the revoke alone: as long as the peer could not serve, waiting for the disk is the better hope.
func (e *engine) endHanging(at ha.Instant) {
	for _, v := range e.volumes {
		s := v.last()
		if !s.Fact.Running || s.Fact.Role == ha.Primary || s.PID == 0 || at < v.killAt || !v.hangs(at) {
			continue
		}
		v.killAt = at.Add(killEvery)
		e.goRun("kill "+v.setting.Name, func(ctx context.Context) { e.killVolume(ctx, v, s.PID) })
	}
}

// killVolume ends a volume's process that answers no order.
func (e *engine) killVolume(ctx context.Context, v *volume, pid int) {
	ctx, cancel := context.WithTimeout(ctx, volumeCallLimit)
	defer cancel()
	if err := v.handle.Kill(ctx, pid); err != nil {
		e.log.Error("hanging volume not ended", "volume", v.setting.Name, "error", err)
		return
	}
	e.log.Warn("hanging volume ended", "volume", v.setting.Name, "pid", pid)
}
