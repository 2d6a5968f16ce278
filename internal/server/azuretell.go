package server

import (
	"context"
	"sync"
	"time"

	"mintmark/dpsreg"
	"mintmark/internal/ledger"
)

// ForDevice is what DPS must be told when a device is held, retired or released.
func (t *azureTargets) ForDevice(id string) []ledger.Task {
	return dpsreg.TasksForDevice(t.list, id)
}

// Wake tells every target's worker that there may be something to tell.
func (t *azureTargets) Wake() {
	for _, d := range t.by {
		d.wake()
	}
}

// run delivers what each target must be told, until ctx ends. Of several servers
// one does it, under a lease; and each tells what its own Apply made necessary.
func (t *azureTargets) run(ctx context.Context) {
	var wait sync.WaitGroup
	for _, target := range t.list {
		kind, d := dpsreg.TaskKind(target), t.by[target.Name]
		wait.Go(func() { t.s.holding(ctx, kind, d.run) })
		wait.Go(func() { t.keepTold(ctx, target) })
		wait.Go(func() {
			t.s.keepCompared(ctx, kind, t.s.config.Azure.Reconcile, &d.ours, func(ctx context.Context) error {
				_, err := t.Reconcile(ctx, target.Name)
				return err
			})
		})
	}
	wait.Wait()
}

const (
	// tellAgain is how long after a failure a target is told everything again, the
	// first time; it doubles with each failure, up to tellSeldom.
	tellAgain  = 15 * time.Second
	tellSeldom = 15 * time.Minute
)

// keepTold tells a target all that was recorded before it could be told: when this
// server begins to deliver to it, and after something was made there.
func (t *azureTargets) keepTold(ctx context.Context, target dpsreg.Target) {
	d, log := t.by[target.Name], t.s.log.With("target", target.Name)
	pause := tellAgain
	// Runs only after something failed.
	again := time.NewTimer(tellSeldom)
	defer again.Stop()
	for {
		again.Stop()
		if d.stale.Swap(false) {
			told, err := t.devices.TellAll(ctx, t.as(target))
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				d.stale.Store(true)
				log.Warn("telling Azure everything", "told", told, "again_in", pause, "error", err)
				again.Reset(pause)
				pause = min(2*pause, tellSeldom)
			default:
				pause = tellAgain
				log.Info("told Azure everything", "devices", told)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-d.beat:
		case <-again.C:
		}
	}
}
