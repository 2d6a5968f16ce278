package issuer_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// awayError is what a token says that is gone.
type awayError struct{ wait time.Duration }

func (e *awayError) Error() string             { return "token factory is absent" }
func (e *awayError) RetryAfter() time.Duration { return e.wait }

// absent is a key store whose signers know that they cannot sign.
type absent struct {
	issuer.KeyStore
	away   atomic.Pointer[awayError]
	silent atomic.Bool // Ready does not tell, Sign fails
	calls  atomic.Int32
}

func (a *absent) Signer(ctx context.Context, uri string, want crypto.PublicKey) (crypto.Signer, error) {
	s, err := a.KeyStore.Signer(ctx, uri, want)
	return &absentSigner{s, a}, err
}

type absentSigner struct {
	crypto.Signer
	a *absent
}

func (s *absentSigner) Ready() error {
	if away := s.a.away.Load(); away != nil && !s.a.silent.Load() {
		return away
	}
	return nil
}

func (s *absentSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.a.calls.Add(1)
	if away := s.a.away.Load(); away != nil {
		return nil, fmt.Errorf("signing: %w", away)
	}
	return s.Signer.Sign(random, digest, opts)
}

// A key that is known to be away costs nothing: no serial number, no signature.
func TestKeyAway(t *testing.T) {
	l := newLedger(t)
	keys := &absent{KeyStore: newKeys(t)}
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) { c.Keys = keys }))
	mustEnroll(t, ra, pkitest.NewKey(t), "press-1")
	before := keys.calls.Load()
	for wait, want := range map[time.Duration]time.Duration{
		7 * time.Second: 7 * time.Second, 0: time.Second, -time.Hour: time.Second, 1000 * time.Hour: time.Hour,
	} {
		keys.away.Store(&awayError{wait})
		_, err := enroll(t.Context(), t, ra, pkitest.NewKey(t), "press-2")
		wantRefused(t, err, issuer.Unavailable, "signer")
		var refusal *issuer.Refusal
		if errors.As(err, &refusal) && refusal.RetryAfter != want {
			t.Errorf("asked to come back after %v, want %v", refusal.RetryAfter, want)
		}
	}
	if n := keys.calls.Load(); n != before {
		t.Errorf("%d signatures were asked of a key that is away", n-before)
	}
	if n := count(t, l); n[ledger.Voided] != 0 || n[ledger.Open] != 0 || n[ledger.Valid] != 1 {
		t.Errorf("serial numbers: %v, want the first certificate's only", n)
	}

	// One that shows it in step 7 is refused with the same words, and void.
	keys.away.Store(&awayError{9 * time.Second})
	keys.silent.Store(true)
	_, err := enroll(t.Context(), t, ra, pkitest.NewKey(t), "press-2")
	wantRefused(t, err, issuer.Unavailable, "signer")
	var refusal *issuer.Refusal
	if errors.As(err, &refusal) && refusal.RetryAfter != 9*time.Second {
		t.Errorf("asked to come back after %v", refusal.RetryAfter)
	}
	if n := count(t, l); n[ledger.Voided] != 1 || n[ledger.Open] != 0 || n[ledger.Valid] != 1 {
		t.Errorf("serial numbers: %v, want one void", n)
	}

	keys.away.Store(nil)
	mustEnroll(t, ra, pkitest.NewKey(t), "press-2")
	// A CA is not made below a key that is away, and no key for it.
	keys.away.Store(&awayError{time.Second})
	keys.silent.Store(false)
	spec := issuer.AuthoritySpec{Issuer: "issuing", Key: "P-256"}
	spec.Name, spec.Subject.CommonName, spec.Validity = "below", "Below", time.Hour
	if _, err := ra.CreateAuthority(t.Context(), spec, admin); err == nil {
		t.Error("a CA was made below a key that is away")
	}
	if _, err := keys.KeyStore.Signer(t.Context(), "softkms:path=keys/below.pem", nil); err == nil {
		t.Error("a key was made for it")
	}
}
