package server

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"mintmark/internal/jobs"
	"mintmark/internal/ledger"
	"mintmark/internal/outbox"
)

const (
	// cloudLease is how long after a server's end another one takes over telling a
	// target of a cloud.
	cloudLease = time.Minute
	// firstComparison is how long after its start a server compares the ledger with
	// a cloud for the first time: what has to be told first is told by then.
	firstComparison = 10 * time.Minute
)

// holding runs work while this server, of all that share the ledger, has the lease
// of that name, again and again until ctx ends.
func (s *Server) holding(ctx context.Context, name string, work func(context.Context) error) {
	jobs.Run(ctx, jobs.Config{
		Ledger: s.ledger, Name: name, Holder: s.config.Server, TTL: cloudLease, Every: cloudLease / 4,
		Now: s.ra.Now, Logger: s.log,
	}, func(ctx context.Context, _ ledger.Fence) error { return work(ctx) })
}

// deliverAll runs the workers of one target until one of them ends, which takes the
// others with it: the lease is for all.
func deliverAll(ctx context.Context, workers []*outbox.Worker) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error)
	for _, worker := range workers {
		go func() { ended <- worker.Run(ctx) }()
	}
	var errs []error
	for range workers {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			errs = append(errs, err)
		}
		cancel()
	}
	return errors.Join(errs...)
}

// keepCompared compares a target with the ledger at an interval, 0 for never, if it
// is this server that delivers to it: then ours is true.
func (s *Server) keepCompared(ctx context.Context, kind string, every time.Duration, ours *atomic.Bool, compare func(context.Context) error) {
	if every <= 0 {
		return
	}
	timer := time.NewTimer(min(firstComparison, every))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
	}
	jobs.Run(ctx, jobs.Config{
		Ledger: s.ledger, Name: kind + "/compare", Holder: s.config.Server, TTL: cloudLease, Every: every,
		Now: s.ra.Now, Logger: s.log,
	}, func(ctx context.Context, _ ledger.Fence) error {
		if !ours.Load() {
			return nil // another server delivers to it, and compares it, too
		}
		if err := compare(ctx); !errors.Is(err, errComparing) {
			return err
		}
		return nil // a person was quicker
	})
}
