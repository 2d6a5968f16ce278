package dpsreg

import (
	"context"
	"sync"
	"time"

	"mintmark/dpsreg/dps"
)

const (
	// defaultOps is a service's quota of operations a minute.
	// https://learn.microsoft.com/azure/iot-dps/about-iot-dps, quotas and limits
	defaultOps = 1000
	// hubOps is the quota of identity registry operations a minute of a hub with one
	// unit of the smallest tiers.
	// https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling
	hubOps = 100
	// headroom is what is left of a quota for whoever else calls: the portal, scripts,
	// clocks that differ.
	headroom = 0.97
)

// quiet is how long calls stop after a 429 that does not say; tests that fail every
// call shorten it.
var quiet = 10 * time.Second

// limiter paces operations so that no minute has more of them than the quota, wherever
// the minute begins. It may be used concurrently; what is urgent is served first, and
// callers of either kind in the order in which they came. One that gives up leaves its
// turn to the next.
type limiter struct {
	rate  float64 // operations a second
	burst float64 // that may leave at once after a silence
	// turn is held by the caller who is next, hurry by the next urgent one. A channel's
	// waiters are served in their order.
	turn, hurry chan struct{}

	mu    sync.Mutex
	left  float64   // operations that may leave at the time at
	at    time.Time // zero until the first
	pause time.Time // nothing leaves before
}

// newLimiter returns a limiter for a quota of operations a minute. What leaves in a
// minute is at most the burst and a minute of the rate, which together are the quota.
func newLimiter(quota int) *limiter {
	usable := float64(quota) * headroom
	// A bulk call leaves as a whole.
	burst := min(max(usable/50, dps.MaxBulk), max(usable/2, 1))
	return newBucket((usable-burst)/60, burst)
}

// newBucket returns a limiter for a quota that is a bucket: burst operations at once,
// and rate a second afterwards.
func newBucket(rate, burst float64) *limiter {
	return &limiter{rate: rate, burst: burst, left: burst, turn: make(chan struct{}, 1), hurry: make(chan struct{}, 1)}
}

// urgentKey marks a context whose calls are urgent.
type urgentKey struct{}

// urgent is for calls that somebody waits for: a device with an open connection, or
// whoever keeps a device out. They leave before bulk calls and listings, which may keep a
// service's quota busy for hours.
func urgent(ctx context.Context) context.Context { return context.WithValue(ctx, urgentKey{}, true) }

// wait returns when n operations may be called, or when ctx ends. With n zero it waits
// only while everything is stopped.
func (l *limiter) wait(ctx context.Context, n int) error {
	turn, claimed := l.turn, ctx.Value(urgentKey{}) != nil
	if claimed {
		turn = l.hurry
	}
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-turn }()
	next := func() time.Duration { return l.take(float64(n)) }
	if claimed {
		l.claim(float64(n))
		next = l.paid
	}
	for {
		pause := next()
		if pause <= 0 {
			return ctx.Err()
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if claimed {
				l.claim(-float64(n))
			}
			return ctx.Err() // nothing was taken
		}
	}
}

// claim takes n operations before they may leave: until they do, take has nothing to give.
func (l *limiter) claim(n float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill(time.Now())
	l.left -= n
}

// paid returns how long what was claimed has to wait; zero if it may leave now.
func (l *limiter) paid() time.Duration { return l.take(0) }

// take counts n operations as leaving now and returns zero, or returns how long they
// have to wait.
func (l *limiter) take(n float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if wait := l.pause.Sub(now); wait > 0 {
		return wait
	}
	l.refill(now)
	// More than a burst waits for a burst and is paid off by those behind.
	if need := min(n, l.burst); l.left < need {
		return time.Duration((need-l.left)/l.rate*float64(time.Second)) + time.Microsecond
	}
	l.left -= n
	return 0
}

// refill adds what has come since the last time. The caller holds mu.
func (l *limiter) refill(now time.Time) {
	if !now.After(l.at) {
		return // stopped
	}
	if !l.at.IsZero() {
		l.left = min(l.burst, l.left+now.Sub(l.at).Seconds()*l.rate)
	}
	l.at = now
}

// stop keeps everything from leaving for d, because the service said so; zero for as
// long as it takes when the service does not say.
func (l *limiter) stop(d time.Duration) {
	if d <= 0 {
		d = quiet
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := time.Now().Add(d); until.After(l.pause) {
		l.pause = until
		l.left, l.at = min(l.left, 0), until // and then at the even pace
	}
}
