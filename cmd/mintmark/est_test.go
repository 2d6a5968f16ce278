package main

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"mintmark/issuer/est"
)

func TestRepeat(t *testing.T) {
	again := &est.PendingError{RetryAfter: 10 * time.Second}
	busy := &est.StatusError{Code: 503, RetryAfter: 20 * time.Second}
	refused := &est.StatusError{Code: 403}
	for _, c := range []struct {
		name    string
		wait    time.Duration
		answers []error
		calls   int
		want    error
	}{
		{"at once", time.Minute, []error{nil}, 1, nil},
		{"after a 202 and a 503", time.Minute, []error{again, busy, nil}, 3, nil},
		{"refused", time.Minute, []error{refused, nil}, 1, refused},
		{"beyond the wait", 15 * time.Second, []error{again, again, nil}, 2, again},
		{"without waiting", 0, []error{busy, nil}, 1, busy},
		{"503 that does not say when", time.Minute, []error{&est.StatusError{Code: 503}, nil}, 2, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				a := &app{err: io.Discard}
				err := a.repeat(t.Context(), c.wait, func() error {
					calls++
					return c.answers[calls-1]
				})
				if !errors.Is(err, c.want) || calls != c.calls {
					t.Errorf("%d calls and %v, want %d and %v", calls, err, c.calls, c.want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		a := &app{err: io.Discard}
		if err := a.repeat(ctx, time.Minute, func() error { return again }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("interrupted: %v", err)
		}
	})
}
