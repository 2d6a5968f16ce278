package dpsreg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"mintmark/dpsreg/rest"
)

const (
	retryAttempts = 8
	readAttempts  = 4
	retryCap      = 20 * time.Second
)

// retryBase is the first pause; tests that fail every call shorten it.
var retryBase = 200 * time.Millisecond

// retry runs a step until it succeeds, fails for good, or ctx ends. A step reads
// before it writes: whether a call that failed took effect is never assumed, and what
// another changed in between (412, 409) is read again.
func retry(ctx context.Context, step func() error) error {
	for attempts := 1; ; attempts++ {
		err := step()
		if err == nil || !passes(err) || ctx.Err() != nil {
			return err
		}
		if attempts == retryAttempts {
			return fmt.Errorf("giving up after %d attempts: %w", attempts, err)
		}
		if pause(ctx, attempts, err) != nil {
			return fmt.Errorf("giving up, time is over: %w", err)
		}
	}
}

// readAgain is rest.Client.Again of all clients: listings are long, and one page that
// failed must not begin them anew.
func readAgain(ctx context.Context, attempts int, err error) error {
	if attempts >= readAttempts {
		return fmt.Errorf("giving up after %d attempts: %w", attempts, err)
	}
	if pause(ctx, attempts, err) != nil {
		return fmt.Errorf("giving up, time is over: %w", err)
	}
	return nil
}

// pause waits with exponential back-off: between half of the doubled time and all of
// it, so that servers that failed together do not come back together; longer if the
// service says so.
func pause(ctx context.Context, attempts int, err error) error {
	d := min(retryBase<<min(attempts-1, 10), retryCap)
	d = d/2 + rand.N(d/2)
	var refused *rest.Error
	if errors.As(err, &refused) {
		d = max(d, refused.RetryAfter)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// passes reports whether a step may succeed later: no answer at all, 429, 5xx, and what
// another changed in between.
func passes(err error) bool {
	var token *tokenError
	if errors.As(err, &token) {
		return token.passing()
	}
	return errors.Is(err, errNotYet) || rest.Temporary(err) || changed(err)
}

// errNotYet: Azure accepted a change and does not show it yet.
var errNotYet = errors.New("DPS does not show the change yet")

// missing reports that what was asked for is not there.
func missing(err error) bool { return statusOf(err) == http.StatusNotFound }

// exists reports that what was to be created is there already.
func exists(err error) bool { return statusOf(err) == http.StatusConflict }

// changed reports that it is not the version that was read.
func changed(err error) bool { return statusOf(err) == http.StatusPreconditionFailed }
