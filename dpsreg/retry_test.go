package dpsreg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"mintmark/dpsreg/rest"
)

func TestPasses(t *testing.T) {
	refused := func(status int) error { return fmt.Errorf("doing: %w", &rest.Error{Status: status}) }
	token := func(answer *http.Response) error {
		return fmt.Errorf("token: %w", &tokenError{&azidentity.AuthenticationFailedError{RawResponse: answer}})
	}
	for _, test := range []struct {
		name string
		err  error
		want bool
	}{
		{"no answer", rest.Lost(t.Context(), io.ErrUnexpectedEOF), true},
		{"throttled", refused(429), true},
		{"server error", refused(503), true},
		{"another version", refused(412), true},
		{"not shown yet", fmt.Errorf("x: %w", errNotYet), true},
		{"there is one", refused(409), false},
		{"not there", refused(404), false},
		{"not allowed", refused(401), false},
		{"wrong", refused(400), false},
		{"the caller has gone", context.Canceled, false},
		{"anything else", errors.New("x"), false},
		{"no token: no network", token(nil), true},
		{"no token: busy", token(&http.Response{StatusCode: 503}), true},
		{"no token: wrong secret", token(&http.Response{StatusCode: 401}), false},
		{"no token: no credential", &tokenError{errors.New("none")}, false},
	} {
		if got := passes(test.err); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// TestRetry: a step is tried while its error may pass, a bounded number of times, and
// waits as long as the service says.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := 0
		err := retry(t.Context(), func() error {
			if steps++; steps == 3 {
				return nil
			}
			return &rest.Error{Status: 500}
		})
		if err != nil || steps != 3 {
			t.Errorf("passed: %v after %d", err, steps)
		}

		steps = 0
		err = retry(t.Context(), func() error { steps++; return &rest.Error{Status: 412} })
		if statusOf(err) != 412 || steps != retryAttempts {
			t.Errorf("does not pass: %v after %d", err, steps)
		}

		steps = 0
		err = retry(t.Context(), func() error { steps++; return &rest.Error{Status: 403} })
		if statusOf(err) != 403 || steps != 1 {
			t.Errorf("refused: %v after %d", err, steps)
		}

		begin := time.Now()
		steps = 0
		err = retry(t.Context(), func() error {
			if steps++; steps == 2 {
				return nil
			}
			return &rest.Error{Status: 503, RetryAfter: 90 * time.Second}
		})
		if waited := time.Since(begin); err != nil || waited < 90*time.Second {
			t.Errorf("waited %v: %v", waited, err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		steps = 0
		err = retry(ctx, func() error { steps++; return &rest.Error{Status: 500} })
		if statusOf(err) != 500 || ctx.Err() == nil || steps >= retryAttempts {
			t.Errorf("out of time: %v after %d", err, steps)
		}
	})
}

func TestReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 1
		for readAgain(t.Context(), attempts, &rest.Error{Status: 500}) == nil {
			attempts++
		}
		if attempts != readAttempts {
			t.Errorf("read %d times", attempts)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := readAgain(ctx, 1, &rest.Error{Status: 500}); statusOf(err) != 500 {
			t.Errorf("the error that was met is lost: %v", err)
		}
	})
}
