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
	"sync/atomic"
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
	// Every is how often the ledger is asked without being poked, for tasks that another
	// server has enqueued: one query by an index. 0 means 5 s. It is shortened by up to a
	// quarter at random, so that workers do not ask together.
	Every time.Duration
	// Succeeded is told of each batch of which something was delivered: what else is told to
	// the same place may be Freed then. nil for nobody.
	Succeeded func()
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger is told of deliveries that fail; nil means slog.Default.
	Logger *slog.Logger
}

// A Worker delivers the tasks of one kind.
type Worker struct {
	cfg   Config
	poke  chan struct{}
	away  atomic.Bool // outage.away, for Free
	freed atomic.Bool
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
		cfg.Every = 5 * time.Second
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

// Free says that the outside takes tasks again: those that failed while it took none are
// tried at once. It does not block, and changes nothing for a worker whose tasks are taken.
func (w *Worker) Free() {
	if w.away.Load() {
		w.freed.Store(true)
		w.Poke()
	}
}

// Run delivers tasks until ctx ends and returns the cause. It runs one batch
// at a time. More than one server may run workers of a kind: then tasks may be
// delivered twice.
func (w *Worker) Run(ctx context.Context) error {
	failures := 0
	again := make(retries)
	out := outage{away: true} // for all that is known
	w.away.Store(out.away)
	for {
		again.passed(w.cfg.Now())
		more, err := w.once(ctx, again, &out)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		wait := w.cfg.Every - rand.N(w.cfg.Every/4+1)
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
func (w *Worker) once(ctx context.Context, again retries, out *outage) (more bool, err error) {
	now := w.cfg.Now()
	if w.freed.Swap(false) && out.away {
		out.end(now)
		w.away.Store(out.away)
	}
	tasks, err := w.cfg.Ledger.Due(ctx, w.cfg.Kind, out.until(now), w.cfg.Batch)
	if err != nil {
		return false, err
	}
	if tasks = out.left(tasks); len(tasks) == 0 {
		more = out.freeing()
		out.freed()
		return more, nil
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
	if ctx.Err() == nil {
		out.note(w.cfg.Now(), tasks, results)
		w.away.Store(out.away)
		if len(done) > 0 && w.cfg.Succeeded != nil {
			w.cfg.Succeeded()
		}
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
	return len(tasks) == w.cfg.Batch || out.freeing(), nil
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
