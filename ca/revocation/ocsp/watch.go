package ocsp

import (
	"context"
	"errors"
	"sync"
	"time"

	"mintmark/internal/ledger"
)

const (
	// every is how often changes are listed: a revocation by another server shows here
	// that much later.
	every = time.Second
	// listing bounds one listing, so that a ledger that hangs is one that is away.
	listing = 3 * time.Second
	// page is how many changes are listed at a time.
	page = 1000
	// refreshEvery is how often answers are looked for that are about to end.
	refreshEvery = time.Minute
	// refreshMost bounds the answers that are signed anew in one go.
	refreshMost = 2000
)

// Wake has changes listed now: something was revoked in this process. It never
// blocks.
func (r *Responder) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Seen returns when the changes were last listed: no revocation from before is
// answered by "good" here. Zero for never.
func (r *Responder) Seen() time.Time {
	if ns := r.seen.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// watched reports whether kept answers may be given out: changes are being listed,
// or were until a while ago that is no longer than Outage.
func (r *Responder) watched(now time.Time) bool {
	ns := r.seen.Load()
	return ns != 0 && now.Sub(time.Unix(0, ns)) <= max(r.Outage, every+listing)
}

// Run lists what changes, drops the answers about it, and signs those anew that
// are about to end and are asked for, until ctx ends.
func (r *Responder) Run(ctx context.Context) {
	var wait sync.WaitGroup
	wait.Go(func() { r.refresh(ctx) })
	defer wait.Wait()
	defer r.cache.watch(false)
	position := ""
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		next, err := r.follow(ctx, position)
		position = next
		if err != nil && ctx.Err() == nil && position != "" && (errors.Is(err, ledger.ErrStale) || !r.watched(r.Now())) {
			// What is kept cannot be relied on any more, and the position may be one that a
			// ledger which was restored does not know.
			position = ""
			r.cache.watch(false)
			r.Logger.Error("OCSP answers that were signed before are not given out any more: the ledger cannot say what was revoked", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-r.wake:
		}
	}
}

// follow drops everything that has changed since a position, and returns the next.
func (r *Responder) follow(ctx context.Context, position string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, listing)
	defer cancel()
	for {
		began := r.Now()
		serials, next, err := r.Ledger.ChangedSince(ctx, position, page)
		if err != nil {
			return position, err
		}
		if position == "" {
			r.cache.watch(true)
		}
		r.cache.drop(serials)
		r.dismiss(serials)
		position = next
		if len(serials) < page {
			r.seen.Store(began.UnixNano())
			return position, nil
		}
	}
}

// refresh signs answers anew in the last quarter of their life, if somebody has
// asked for them in the last half.
func (r *Responder) refresh(ctx context.Context) {
	ticker := time.NewTicker(min(refreshEvery, r.Lifetime/16))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := r.Now()
		for _, k := range r.cache.due(now, now.Add(r.Lifetime/4), now.Add(-r.Lifetime/2), refreshMost) {
			a, err := r.Authority(k.issuer)
			if err != nil || !r.answersFor(a, nil) {
				continue
			}
			s, err := r.keep(ctx, a, question{k.issuer, string(k.id.raw)}, k.id, r.enter)
			if err != nil {
				break // too many wait, and there is time left
			}
			select {
			case <-ctx.Done():
				return
			case <-s.done:
			}
			if s.err != nil {
				r.failed(k.issuer, s.err)
				break // the others would fail alike, and there is time left
			}
		}
	}
}
