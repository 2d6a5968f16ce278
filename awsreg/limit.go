package awsreg

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/smithy-go/middleware"
)

// AWS IoT Core counts the calls of each operation by account and region. These are
// its default quotas in calls a second; QuotaScale of a target multiplies them
// where they were raised.
// https://docs.aws.amazon.com/general/latest/gr/iot-core.html#thing-limits
//
// An operation that is not listed gets slowQuota, the smallest that AWS gives any
// of ours. DynamoDB and the data plane have no such quota.
const (
	slowQuota = 10
	fastQuota = 15
)

var quotas = map[string]float64{
	"AttachPolicy":             fastQuota,
	"AttachThingPrincipal":     fastQuota,
	"CreateThing":              fastQuota,
	"CreateCertificateFromCsr": fastQuota,
}

const (
	// headroom is what is left of a quota for whoever else calls: the console, the
	// functions, clocks that differ.
	headroom = 0.97
	// limitBurst is how many calls may leave at once after a silence.
	limitBurst = 3
	// A bucket looks every limitWindow at how much of its calls AWS throttled, and
	// gives up that share of its rate. Recovery is the part of the full rate that
	// it takes back each time, so that single answers, which are not about the
	// rate, cost nothing, while a quota that others use up is followed down to
	// limitFloor.
	limitWindow = 10 * time.Second
	recovery    = 0.1
	limitFloor  = 0.1
)

// throttled are the error codes by which AWS says that calls come too fast.
var throttled = map[string]bool{
	"ThrottlingException":      true,
	"Throttling":               true,
	"TooManyRequestsException": true,
	"RequestLimitExceeded":     true,
}

// limits holds one bucket for each operation of a target. It may be used
// concurrently.
type limits struct {
	scale float64

	mu      sync.Mutex
	buckets map[string]*bucket
}

func newLimits(scale float64) *limits {
	if scale <= 0 {
		scale = 1
	}
	return &limits{scale: scale, buckets: make(map[string]*bucket)}
}

func (l *limits) bucket(operation string) *bucket {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[operation]
	if b == nil {
		quota, listed := quotas[operation]
		if !listed {
			quota = slowQuota
		}
		b = &bucket{rate: quota * l.scale * headroom, share: 1, turn: make(chan struct{}, 1)}
		l.buckets[operation] = b
	}
	return b
}

// limit makes each call wait for its turn before anything else happens to it, so
// that a signature is never old when it is sent.
func limit(l *limits) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		b := l.bucket(stack.ID())
		wait := middleware.InitializeMiddlewareFunc("mintmark-rate", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			if err := b.wait(ctx); err != nil {
				return middleware.InitializeOutput{}, middleware.Metadata{}, fmt.Errorf("waiting for the rate limit: %w", err)
			}
			out, metadata, err := next.HandleInitialize(ctx, in)
			b.answered(throttled[code(err)])
			return out, metadata, err
		})
		return stack.Initialize.Add(wait, middleware.Before)
	}
}

// bucket paces the calls of one operation. Callers are served in the order in
// which they came, and one that gives up leaves its turn to the next.
type bucket struct {
	rate float64 // calls a second, at most
	// turn is held by the caller who is next. A channel's waiters are served in
	// their order.
	turn chan struct{}

	mu        sync.Mutex
	next      time.Time // when the next call would leave at an even pace
	share     float64   // of rate that is used, limitFloor to 1
	since     time.Time // when the window began
	calls     int       // answered in the window
	throttled int       // of them
}

// wait returns when the caller may call, or when ctx ends.
func (b *bucket) wait(ctx context.Context) error {
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-b.turn }()
	pause := b.take(false)
	if pause <= 0 {
		b.take(true)
		return ctx.Err()
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		b.take(true)
		return nil
	case <-ctx.Done():
		return ctx.Err() // nothing was taken
	}
}

// take returns how long the next call has to wait, or counts it as leaving now.
// Whoever wakes up late does not delay those behind: they are due as they were.
func (b *bucket) take(leaves bool) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	interval := time.Duration(float64(time.Second) / (b.rate * b.share))
	now := time.Now()
	due := b.next
	if earliest := now.Add(-(limitBurst - 1) * interval); due.Before(earliest) {
		due = earliest
	}
	if leaves {
		b.next = due.Add(interval)
	}
	return due.Sub(now)
}

// answered counts an answer and, at the end of a window, adjusts the pace.
func (b *bucket) answered(throttled bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if now.Sub(b.since) >= limitWindow {
		if b.calls > 0 {
			// Where half of the calls were not made that could have been, the pace is not what AWS refused.
			half := b.rate * b.share * limitWindow.Seconds() / 2
			refused := float64(b.throttled) / max(float64(b.calls), half)
			b.share = min(1, max(limitFloor, b.share*(1-refused)+recovery))
		}
		if now.Sub(b.since) >= 10*limitWindow {
			b.share = 1 // what was so long ago says nothing of now
		}
		b.since, b.calls, b.throttled = now, 0, 0
	}
	b.calls++
	if throttled {
		b.throttled++
	}
}
