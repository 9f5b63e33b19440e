package service

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// lock waits for whoever starts or stops the service now.
func (u *unit) lock(ctx context.Context) error {
	select {
	case u.op <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("service %s is still being started or stopped: %w", u.spec.Name, context.Cause(ctx))
	}
}

func (u *unit) unlock() { <-u.op }

// wake tells the unit's loop that there is another process to watch.
func (u *unit) wake() {
	select {
	case u.kick <- struct{}{}:
	default:
	}
}

// become notes a new state.
func (u *unit) become(state, why string) {
	u.mu.Lock()
	same := u.state.State == state && u.state.Error == why
	if u.state.State != state {
		u.state.Since = time.Now()
	}
	from := u.state.State
	u.state.State, u.state.Error = state, why
	u.mu.Unlock()
	if same {
		return
	}
	u.m.log.Info("service", "service", u.spec.Name, "from", from, "to", state, "why", why)
	u.m.changed()
}

// unwant says that the service is not to run, and ends a start that is going on.
func (u *unit) unwant() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wanted = false
	if u.cancel != nil {
		u.cancel()
	}
}

// current is the newest process, and whether the service is to run.
func (u *unit) current() (p *process, wanted bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.proc, u.wanted
}

// start spawns a process and waits for the first good answer. why is kept as the error while it starts: the reason of a restart.
func (u *unit) start(ctx context.Context, why string) error {
	ctx, cancel := context.WithTimeout(ctx, u.spec.StartTimeout)
	defer cancel()
	u.mu.Lock()
	if !u.wanted {
		u.mu.Unlock()
		return fmt.Errorf("service %s is to stop: its start was given up", u.spec.Name)
	}
	u.cancel = cancel
	u.mu.Unlock()
	defer func() { u.mu.Lock(); u.cancel = nil; u.mu.Unlock() }()

	u.become(Starting, why)
	p, err := u.spawn(ctx)
	if err == nil {
		err = u.ready(ctx, p)
	}
	if _, wanted := u.current(); !wanted {
		u.kill()
		return fmt.Errorf("service %s is to stop: its start was given up", u.spec.Name)
	}
	if err != nil {
		u.kill()
		u.become(Failed, err.Error())
		return err
	}
	u.become(Running, "")
	return nil
}

// spawn starts the process, after whatever was left of an earlier one is killed, and makes it the current one.
func (u *unit) spawn(ctx context.Context) (*process, error) {
	if err := os.MkdirAll(u.m.dir, 0o700); err != nil {
		return nil, fmt.Errorf("the folder for services cannot be made: %w", err)
	}
	if old, _ := u.current(); old != nil {
		u.gone(ctx, old, killWait)
	}
	p, err := u.m.spawn(u.spec)
	if p != nil {
		u.mu.Lock()
		u.proc, u.bad = p, 0
		u.mu.Unlock()
		u.wake()
	}
	return p, err
}

// ready waits for the first good answer of a process that has lived for a moment.
func (u *unit) ready(ctx context.Context, p *process) error {
	born := time.Now()
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	for {
		last := ask(ctx, u.spec.Monitor)
		if last == nil && time.Since(born) >= settle && !p.ended() {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("service %s did not start: %s%s", u.spec.Name, p.how, u.lastLine())
		case <-ctx.Done():
			if last == nil {
				last = context.Cause(ctx)
			}
			return fmt.Errorf("service %s gave no good answer within %v (%w): check its log, or raise start_timeout", u.spec.Name, u.spec.StartTimeout, last)
		case <-poll.C:
		}
	}
}

// lastLine is the last line that the service wrote, for messages.
func (u *unit) lastLine() string {
	b, err := os.ReadFile(u.m.path(u.spec.Name, "log"))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b[max(0, len(b)-300):])), "\n")
	if last := strings.ToValidUTF8(lines[len(lines)-1], "?"); last != "" {
		return "; it said: " + last
	}
	return ""
}

// stop ends the session in order, then by force.
func (u *unit) stop(ctx context.Context) error {
	p, _ := u.current()
	if p == nil || len(p.members()) == 0 {
		u.become(Stopped, "")
		return nil
	}
	u.become(Stopping, "")
	p.signal(syscall.SIGTERM)
	if !u.gone(ctx, p, u.spec.StopTimeout) {
		u.m.log.Warn("service did not end after TERM: KILL", "service", u.spec.Name, "pid", p.PID)
		p.signal(syscall.SIGKILL)
		if !u.gone(context.WithoutCancel(ctx), p, killWait) {
			err := fmt.Errorf("service %s cannot be stopped: processes %v are still there after KILL", u.spec.Name, p.members())
			u.become(Failed, err.Error())
			return err
		}
	}
	u.become(Stopped, "")
	return nil
}

// gone waits until nothing of the session lives. Once the leader has ended, what is left of the session is killed:
// children die as well.
func (u *unit) gone(ctx context.Context, p *process, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		return false
	}
	look := time.NewTicker(killPoll / 10)
	defer look.Stop()
	for {
		p.signal(syscall.SIGKILL)
		if len(p.members()) == 0 {
			return true
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return false
		}
	}
}

// kill ends the session at once and waits for nothing; the loop, or the next look, notes the end.
func (u *unit) kill() {
	p, _ := u.current()
	if p == nil || len(p.members()) == 0 {
		u.become(Stopped, "")
		return
	}
	u.become(Stopping, "")
	p.signal(syscall.SIGKILL)
	if p.ended() { // only children were left
		u.become(Stopped, "")
	}
	u.wake()
}

// watchLoop asks after the service's health, restarts it when it ends or answers badly, and notes the end of one that
// is not to run.
func (u *unit) watchLoop(ctx context.Context) {
	tick := time.NewTicker(u.spec.Monitor.Interval)
	defer tick.Stop()
	var noted *process // whose end was dealt with
	for {
		p, _ := u.current()
		var done chan struct{}
		if p != nil && p != noted {
			done = p.done
		}
		select {
		case <-ctx.Done():
			return
		case <-u.kick:
		case <-done:
			noted = p
			u.lost(ctx, p, p.how)
		case <-tick.C:
			u.trimLog()
			if p != nil && p != noted {
				u.check(ctx, p)
			}
		}
	}
}

// check asks once; the N-th bad answer in a row is a failure.
func (u *unit) check(ctx context.Context, p *process) {
	u.mu.Lock()
	due := u.wanted && u.state.State == Running && u.proc == p
	u.mu.Unlock()
	if !due {
		return
	}
	err := ask(ctx, u.spec.Monitor)
	u.mu.Lock()
	u.bad++
	if err == nil {
		u.bad = 0
	}
	failed := u.bad >= u.spec.Monitor.Failures
	u.mu.Unlock()
	if err != nil {
		u.m.log.Warn("service answers badly", "service", u.spec.Name, "error", err)
	}
	if failed && ctx.Err() == nil {
		u.lost(ctx, p, fmt.Sprintf("%d bad answers in a row, the last: %v", u.spec.Monitor.Failures, err))
	}
}

// lost deals with a service whose process ended or answers badly: stopped if it was not to run, else restarted, or failed.
func (u *unit) lost(ctx context.Context, p *process, why string) {
	if u.lock(ctx) != nil {
		return
	}
	defer u.unlock()
	u.mu.Lock()
	mine := u.proc == p
	wanted, state := u.wanted, u.state.State
	u.mu.Unlock()
	switch {
	case !mine:
	case !wanted:
		p.signal(syscall.SIGKILL)
		if state != Failed {
			u.become(Stopped, "")
		}
	case state != Running:
		// A start that failed has said so itself.
	case !u.mayRestart():
		p.signal(syscall.SIGKILL)
		u.become(Failed, fmt.Sprintf("service %s failed: %s; it was restarted %d times within ten minutes", u.spec.Name, why, u.spec.Monitor.Restarts))
	default:
		u.m.log.Warn("service is restarted", "service", u.spec.Name, "why", why)
		p.signal(syscall.SIGKILL)
		if p.endedWithin(killWait) {
			_ = u.start(ctx, why) // its own error is the state's
		} else {
			u.become(Failed, fmt.Sprintf("service %s failed: %s; process %d is still there after KILL", u.spec.Name, why, p.PID))
		}
	}
}

// mayRestart counts one restart, if there is one left in the last ten minutes.
func (u *unit) mayRestart() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	kept := u.restarts[:0]
	for _, t := range u.restarts {
		if now.Sub(t) < restartWindow {
			kept = append(kept, t)
		}
	}
	u.restarts = kept
	if len(kept) >= u.spec.Monitor.Restarts {
		return false
	}
	u.restarts = append(kept, now)
	return true
}

// trimLog empties a log that has grown over its limit. The service appends, so it goes on at the beginning.
func (u *unit) trimLog() {
	path := u.m.path(u.spec.Name, "log")
	if info, err := os.Stat(path); err == nil && info.Size() > logLimit {
		if err := os.Truncate(path, 0); err != nil {
			u.m.log.Warn("the log of a service cannot be emptied", "service", u.spec.Name, "error", err)
		}
	}
}
