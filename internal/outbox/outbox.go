// Package outbox tells the outside what the ledger says must be told: it takes
// due tasks of one kind, has them delivered and tries again until they are.
//
// A task is delivered at least once: after a crash between the delivery and
// its record it is delivered again, so that Deliver must be idempotent.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"time"

	"mintmark/internal/ledger"
)

const (
	firstPause   = 2 * time.Second
	longestPause = 15 * time.Minute
)

// Config says what is delivered and how.
type Config struct {
	// Ledger holds the tasks. Required.
	Ledger ledger.Outbox
	// Kind is the kind of tasks. Required.
	Kind string
	// Deliver delivers tasks and returns one entry for each: nil, or why it
	// must be tried again. Required.
	Deliver func(ctx context.Context, tasks []ledger.Task) []error
	// Batch bounds how many tasks are handed to Deliver at a time; 0 means 32.
	Batch int
	// Timeout bounds one call of Deliver; 0 means one minute.
	Timeout time.Duration
	// Every is how often the ledger is asked without being poked, for tasks
	// that come due; 0 means 30 s.
	Every time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger is told of deliveries that fail; nil means slog.Default.
	Logger *slog.Logger
}

// A Worker delivers the tasks of one kind.
type Worker struct {
	cfg  Config
	poke chan struct{}
}

// New returns a worker.
func New(cfg Config) *Worker {
	if cfg.Batch == 0 {
		cfg.Batch = 32
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.Every == 0 {
		cfg.Every = 30 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.Logger = cfg.Logger.With("kind", cfg.Kind)
	return &Worker{cfg: cfg, poke: make(chan struct{}, 1)}
}

// Poke makes the worker look for tasks now. It does not block, and pokes while
// the worker is busy are one.
func (w *Worker) Poke() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// Run delivers tasks until ctx ends and returns the cause. It runs one batch
// at a time. More than one server may run workers of a kind: then tasks may be
// delivered twice.
func (w *Worker) Run(ctx context.Context) error {
	failures := 0
	again := make(retries)
	for {
		again.passed(w.cfg.Now())
		more, err := w.once(ctx, again)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		wait := w.cfg.Every
		poke := w.poke
		switch {
		case err != nil:
			// The ledger is away, not the outside: nothing can be recorded, and
			// delivering again and again would help nobody.
			failures++
			wait = backoff(failures, time.Minute)
			poke = nil
			w.cfg.Logger.Error("outbox cannot read or record", "err", err, "failures", failures)
		case more:
			failures = 0
			continue
		default:
			failures = 0
			if next := again.soonest(); !next.IsZero() {
				wait = max(0, min(wait, next.Sub(w.cfg.Now())))
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-poke:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// retries are the times at which tasks are to be tried again: of each second in which
// there are any, the latest, so that they are as many as longestPause has seconds.
type retries map[int64]time.Time

func (r retries) add(at time.Time) {
	if second := at.Unix(); r[second].Before(at) {
		r[second] = at
	}
}

// passed forgets those that are over.
func (r retries) passed(now time.Time) {
	maps.DeleteFunc(r, func(_ int64, at time.Time) bool { return !at.After(now) })
}

// soonest is the first of them; zero for none.
func (r retries) soonest() (first time.Time) {
	for _, at := range r {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// once delivers one batch, adds to again when what failed is to be tried again, and
// returns whether more may be due now.
func (w *Worker) once(ctx context.Context, again retries) (more bool, err error) {
	tasks, err := w.cfg.Ledger.Due(ctx, w.cfg.Kind, w.cfg.Now(), w.cfg.Batch)
	if err != nil || len(tasks) == 0 {
		return false, err
	}
	results := w.deliver(ctx, tasks)
	var done []int64
	for i, task := range tasks {
		if results[i] == nil {
			done = append(done, task.ID)
		}
	}
	// Whatever was delivered is recorded first, also when the server stops.
	record := context.WithoutCancel(ctx)
	if err := w.cfg.Ledger.Done(record, done); err != nil {
		return false, err
	}
	for i, task := range tasks {
		if results[i] == nil {
			continue
		}
		if ctx.Err() != nil {
			break // interrupted, which is no fault of the outside
		}
		at := w.cfg.Now().Add(backoff(task.Attempts+1, longestPause))
		again.add(at)
		w.cfg.Logger.Warn("delivery failed", "task", task.Key, "attempts", task.Attempts+1, "again", at, "err", results[i])
		if err := w.cfg.Ledger.Retry(record, task.ID, at, results[i].Error()); err != nil {
			return false, err
		}
	}
	return len(tasks) == w.cfg.Batch, nil
}

// deliver calls Deliver in its time and makes one result a task of whatever it
// returns.
func (w *Worker) deliver(ctx context.Context, tasks []ledger.Task) []error {
	ctx, cancel := context.WithTimeoutCause(ctx, w.cfg.Timeout, fmt.Errorf("delivery took longer than %v", w.cfg.Timeout))
	defer cancel()
	results := w.cfg.Deliver(ctx, tasks)
	for len(results) < len(tasks) {
		results = append(results, errors.New("delivery did not say whether it succeeded"))
	}
	return results
}

// backoff is the pause after so many failures: doubling, at most the given
// one, with jitter so that what failed together is not tried again together.
func backoff(failures int, most time.Duration) time.Duration {
	d := min(most, firstPause<<min(max(failures-1, 0), 20))
	return d - rand.N(d/2+1)
}
