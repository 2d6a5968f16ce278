package hsm

import (
	"context"
	"crypto"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

type signer func() error

func (s signer) Public() crypto.PublicKey { return nil }

func (s signer) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, s() }

func TestRate(t *testing.T) {
	if r, err := rate(t.Context(), signer(func() error { return nil }), 2, time.Millisecond); err != nil || r <= 0 {
		t.Errorf("%v, %v", r, err)
	}
	// One failure makes all of it worthless, and ends it long before the time.
	var n atomic.Int64
	failed := errors.New("token has gone")
	if r, err := rate(t.Context(), signer(func() error {
		if n.Add(1) == 10 {
			return failed
		}
		return nil
	}), 2, time.Hour); err != failed || r != 0 {
		t.Errorf("%v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if r, err := rate(ctx, signer(func() error { cancel(); return nil }), 2, time.Hour); !errors.Is(err, context.Canceled) || r != 0 {
		t.Errorf("interrupted: %v, %v", r, err)
	}
}

func TestInTurn(t *testing.T) {
	var order []string
	side := func(name string, rates ...float64) func() (float64, error) {
		return func() (float64, error) {
			order = append(order, name)
			r := rates[0]
			rates = rates[1:]
			return r, nil
		}
	}
	a, b, err := inTurn(side("a", 1, 2, 3, 6), side("b", 10, 20, 30, 60))
	if err != nil || a != 3 || b != 30 || !slices.Equal(order, []string{"a", "b", "a", "b", "a", "b", "a", "b"}) {
		t.Errorf("%v, %v, %v, in the order %v", a, b, err, order)
	}
	failed := errors.New("token has gone")
	if _, _, err := inTurn(side("a", 1), func() (float64, error) { return 0, failed }); err != failed {
		t.Errorf("%v", err)
	}
}
