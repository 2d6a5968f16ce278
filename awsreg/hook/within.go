package hook

import (
	"context"
	"errors"
	"time"
)

// AWS waits 5 seconds for a hook and for a certificate provider. A function that
// answers within Within leaves a second for the way back. margin is what is left of
// Lambda's own time-out where that is shorter.
// https://docs.aws.amazon.com/iot/latest/developerguide/pre-provisioning-hook.html
const (
	Within = 4 * time.Second
	margin = 500 * time.Millisecond
)

// errTooLate is the cause of a context that within has ended.
var errTooLate = errors.New("no decision in time, so refused")

// within bounds a decision: limit (Within if zero), or what is left to the
// function, less a margin.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		limit = Within
	}
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(end)-margin)
	}
	return context.WithTimeoutCause(ctx, limit, errTooLate)
}
