package awsreg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	retryAttempts = 10
	retryBase     = 200 * time.Millisecond
	retryCap      = 20 * time.Second
)

// passing are the error codes of what passes by itself. Several operations do not
// model ThrottlingException (CreateTopicRule is one) and return it all the same,
// so the codes are compared and not the SDK's types.
var passing = map[string]bool{
	"ThrottlingException":                    true,
	"Throttling":                             true,
	"TooManyRequestsException":               true,
	"RequestLimitExceeded":                   true,
	"ProvisionedThroughputExceededException": true,
	"ConflictingResourceUpdateException":     true,
	"ServiceUnavailableException":            true,
	"ServiceUnavailable":                     true,
	"InternalFailureException":               true,
	"InternalFailure":                        true,
	"InternalException":                      true,
	"InternalServerError":                    true,
	"RequestTimeout":                         true,
	"RequestTimeoutException":                true,
}

// retry runs a step until it succeeds, fails for good, or ctx ends. A step reads
// before it writes: whether a call that failed took effect is never assumed.
func retry(ctx context.Context, step func() error) error {
	for attempt := 0; ; attempt++ {
		err := step()
		if err == nil || !passes(err) || ctx.Err() != nil {
			return err
		}
		if attempt == retryAttempts-1 {
			return fmt.Errorf("giving up after %d attempts: %w", retryAttempts, err)
		}
		if pause(ctx, attempt) != nil {
			return fmt.Errorf("giving up, time is over: %w", err)
		}
	}
}

// pause waits with exponential back-off: between half of the doubled time and all
// of it, so that servers that failed together do not come back together.
func pause(ctx context.Context, attempt int) error {
	d := min(retryBase<<min(attempt, 10), retryCap)
	d = d/2 + rand.N(d/2)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// passes reports whether the same call may succeed later.
func passes(err error) bool {
	if errors.Is(err, errNotYet) {
		return true
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var api smithy.APIError
	if errors.As(err, &api) && passing[api.ErrorCode()] {
		return true
	}
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.HTTPStatusCode() != 0 { // 0: no answer
		status := response.HTTPStatusCode()
		return status == 429 || status >= 500
	}
	if errors.As(err, &api) {
		return false
	}
	// No answer at all: the connection failed, before or after AWS acted.
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// errNotYet: AWS accepted a change and does not show it yet.
var errNotYet = errors.New("AWS does not show the change yet")

// code is AWS's error code, empty if AWS did not answer.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
