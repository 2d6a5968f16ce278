// Package jobs runs work that one server at a time may do, under a lease of
// the ledger, whose fencing token goes into every write of the job.
package jobs

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"mintmark/internal/ledger"
)

// Config describes one job; every field but Poke must be set.
type Config struct {
	Ledger ledger.Leases
	// Name is the lease's, Holder this server's.
	Name, Holder string
	// TTL is how long the lease lasts unextended; it is extended at a third of
	// that while the job works.
	TTL time.Duration
	// Every is the pause between two runs.
	Every time.Duration
	// Poke, when something is received, ends the pause.
	Poke   <-chan struct{}
	Now    func() time.Time
	Logger *slog.Logger
}

// Run runs work again and again until ctx ends, never twice at a time. While
// another server holds the lease it waits. After an error it comes back sooner
// than Every, after a pause that doubles with each error in a row.
func Run(ctx context.Context, c Config, work func(context.Context, ledger.Fence) error) {
	failures := 0
	for {
		err := once(ctx, c, work)
		pause := c.Every
		switch {
		case err == nil:
			failures = 0
		case errors.Is(err, ledger.ErrBusy):
			failures = 0
			pause = min(c.Every, c.TTL) // the holder may be gone by then
		case ctx.Err() != nil:
			return
		default:
			failures++
			pause = backoff(failures, c.Every)
			c.Logger.Error("job failed", "job", c.Name, "error", err, "again_in", pause)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-c.Poke:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// once takes the lease and runs work under it. The context of the work ends
// before the lease does, if the lease cannot be extended or changes hands.
func once(ctx context.Context, c Config, work func(context.Context, ledger.Fence) error) error {
	fence, err := c.Ledger.Acquire(ctx, c.Name, c.Holder, c.Now(), c.TTL)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cancel(c.extend(ctx, fence))
	}()
	err = work(ctx, fence)
	cancel(nil)
	<-ended
	return err
}

// extend keeps the lease until ctx ends or two thirds of it have passed without
// an extension, and says why it gave up.
func (c Config) extend(ctx context.Context, fence ledger.Fence) error {
	period := c.TTL / 3
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for missed := 0; missed < 2; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		try, cancel := context.WithTimeout(ctx, period/2)
		again, err := c.Ledger.Acquire(try, c.Name, c.Holder, c.Now(), c.TTL)
		cancel()
		switch {
		case err == nil && again == fence:
			missed = 0
		case err == nil, errors.Is(err, ledger.ErrBusy):
			return ledger.ErrLapsed
		default:
			missed++
			c.Logger.Warn("extending a lease", "job", c.Name, "error", err)
		}
	}
	return ledger.ErrLapsed
}

// backoff doubles from a second to the limit and spreads by a quarter, so that
// servers that failed together do not come back together.
func backoff(failures int, limit time.Duration) time.Duration {
	d := min(time.Second<<min(failures-1, 20), limit)
	return d - time.Duration(rand.Int64N(int64(d/4)+1))
}
