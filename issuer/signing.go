package issuer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mintmark/ca"
)

const (
	// openTimeout bounds how long a request waits for a key to be opened: what hangs
	// there must not keep requests for other keys out of the cycle.
	openTimeout = 10 * time.Second
	// keyRetry is when to ask again where a key does not say itself, and mostKeyRetry
	// the longest time that one can ask for.
	keyRetry, mostKeyRetry = 5 * time.Second, time.Hour
)

// signable opens the key of an authority, unless it is open, and asks whether it can
// sign now. It comes before anything is recorded: a key that is away must not cost a
// serial number a request, because void ones stay on the CRL for as long as their
// certificates would have lived.
func signable(ctx context.Context, authority *ca.Authority) error {
	ctx, cancel := context.WithTimeoutCause(ctx, openTimeout, fmt.Errorf("the key did not open within %v", openTimeout))
	defer cancel()
	err := authority.Open(ctx)
	if err == nil {
		err = authority.Ready()
	}
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// keyUnavailable refuses a request because of what the key of its issuer said.
func keyUnavailable(err error) *Refusal {
	refusal := unavailable("signer", "the key of the issuing CA cannot be used at the moment", err)
	refusal.RetryAfter = keyRetry
	var temporary interface{ RetryAfter() time.Duration }
	if errors.As(err, &temporary) {
		refusal.RetryAfter = min(max(temporary.RetryAfter(), time.Second), mostKeyRetry)
	}
	return refusal
}
