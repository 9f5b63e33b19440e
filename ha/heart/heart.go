package heart

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel/ha"
)

// Options are what heart needs of its surroundings.
type Options struct {
	RunDir string // heart.sock, heart.json and heart.memory live here
	// Renew extends the kernel lifetime of an address that the kernel still has. Nil = addresses are not renewed.
	Renew func(device, address, label string, valid time.Duration) error
	Log   *slog.Logger
}

// Run is the heart process: it beats and listens until ctx ends. It starts with what heart.json says, so that it beats before any engine has
// spoken. The error says what keeps it from starting.
func Run(ctx context.Context, o Options) error {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	lp := newLoop(o)
	srv, err := listen(filepath.Join(o.RunDir, SocketName), filepath.Join(o.RunDir, setupFile), o.Log)
	if err != nil {
		return fmt.Errorf("heart cannot start: %w", err)
	}
	lp.recall(o.RunDir)
	if kept, err := srv.kept(); err != nil {
		o.Log.Warn("what the engine said before is lost; heart waits for the engine", "why", err)
	} else if kept != nil {
		lp.startFrom(kept)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var owned sync.WaitGroup
	for _, loop := range []func(context.Context){srv.run, lp.renewer.run, lp.keeper.run} {
		owned.Go(func() { loop(ctx) })
	}
	lp.run(ctx, srv)
	stop()
	owned.Wait()
	return nil
}

// Now is this machine's clock as an Instant.
func Now() ha.Instant {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(errors.Join(errors.New("the kernel has no CLOCK_BOOTTIME"), err)) // since Linux 2.6.39 it has
	}
	return ha.Instant(t.Nano())
}
