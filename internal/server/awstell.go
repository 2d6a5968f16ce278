package server

import (
	"context"
	"sync"
	"time"

	"mintmark/awsreg"
	"mintmark/internal/ledger"
)

// ForOrder is what the clouds must be told when a work order is made or changed.
func (t *awsTargets) ForOrder(id string) []ledger.Task { return awsreg.TasksForOrder(t.list, id) }

// ForDevice is what they must be told when a device is held, retired or released.
func (t *awsTargets) ForDevice(id string) []ledger.Task { return awsreg.TasksForDevice(t.list, id) }

// ForImport is what they must be told when a device list comes into force.
func (t *awsTargets) ForImport(id string) []ledger.Task { return awsreg.TasksForImport(t.list, id) }

// Wake tells every target's worker that there may be something to tell.
func (t *awsTargets) Wake() {
	for _, d := range t.by {
		d.wake()
	}
}

// run delivers what each target must be told, until ctx ends. Of several servers
// one does it, under a lease; and each tells what its own Apply made necessary.
func (t *awsTargets) run(ctx context.Context) {
	var wait sync.WaitGroup
	for _, target := range t.list {
		wait.Go(func() {
			t.s.holding(ctx, awsreg.TaskKind(target), t.by[target.Name].run)
		})
		wait.Go(func() { t.keepCurrent(ctx, target) })
		wait.Go(func() { t.keepReconciled(ctx, target) })
	}
	wait.Wait()
}

const (
	// often is how often the outbox is looked at while it is drained.
	often = 2 * time.Second
	// seldom is how often a manifest that is complete is said to be.
	seldom = time.Minute
	// lull is how long it takes until everything is told again of which AWS IoT
	// has refused something.
	lull = 15 * time.Minute
)

// keepCurrent tells a target all that was recorded before it could be told:
// when this server begins to deliver to it, and after its table or a
// registration was made here. The server that delivers then says again and
// again that the manifest is complete, for as long as it is: the functions trust a
// manifest no longer than its maximum age.
func (t *awsTargets) keepCurrent(ctx context.Context, target awsreg.Target) {
	d := t.by[target.Name]
	var again time.Time // when all is told once more; zero for not at all
	for {
		pause := seldom
		asOf := t.s.ra.Now()
		var current bool
		var err error
		target := t.as(target)
		if d.stale.Swap(false) || !again.IsZero() && !asOf.Before(again) {
			again = time.Time{}
			var told int
			if told, err = t.registrar.TellAll(ctx, target); err == nil && told > 0 {
				t.s.log.Info("told AWS everything", "target", target.Name, "tasks", told)
			}
			if awsreg.Told(err) {
				pause = 0
			} else {
				d.stale.Store(true)
			}
			if err != nil {
				again = asOf.Add(lull)
			}
		} else if d.ours.Load() {
			if current, err = t.current(ctx, target); current {
				err = t.registrar.Beat(ctx, target, asOf)
			} else if err == nil {
				pause = often // until it is drained
			}
		}
		if err != nil && ctx.Err() == nil {
			t.s.log.Warn("keeping AWS current", "target", target.Name, "error", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-d.beat:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// current reports whether the manifest of a target has all that is recorded. What
// waits because AWS IoT refuses it is in the manifest, and does not make all
// functions refuse everybody.
func (t *awsTargets) current(ctx context.Context, target awsreg.Target) (bool, error) {
	backlog, err := t.s.ledger.Backlog(ctx)
	if err != nil {
		return false, err
	}
	kinds := []string{awsreg.TaskKind(target), awsreg.UrgentKind(target)}
	waiting := 0
	for _, kind := range kinds {
		waiting += backlog[kind]
	}
	return t.left[target.Name].all(ctx, t.s.ledger, waiting, kinds...)
}
