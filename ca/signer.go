package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
)

// recovering is a signer that opens itself anew after a failure, as one in a token
// does: it is kept then, and says beforehand whether it can sign.
type recovering interface {
	// Ready returns what Sign would fail with at once, or nil. It does not wait.
	Ready() error
}

// distrusted is a signer that wants to know which signature of it was wrong.
type distrusted interface{ Distrust(signature []byte) }

// Ready says without waiting why the key is known not to sign at the moment, or nil:
// ErrNoSigner, or what an open signer says of itself. A key that was not opened yet,
// or that does not know, is ready.
func (a *Authority) Ready() error {
	if a.openSigner == nil {
		return fmt.Errorf("authority %q: %w", a.name, ErrNoSigner)
	}
	s := a.signer.Load()
	if s == nil {
		return nil
	}
	if r, ok := (*s).(recovering); ok {
		if err := r.Ready(); err != nil {
			return fmt.Errorf("authority %q: %w", a.name, err)
		}
	}
	return nil
}

// Open opens the key and checks that it is the key of the certificate,
// ErrKeyMismatch if not. Once open it returns nil at once.
func (a *Authority) Open(ctx context.Context) error {
	_, err := a.key(ctx)
	return err
}

// TestSign signs random bytes with the key and verifies the signature with the
// certificate: for readiness, not for certificates.
func (a *Authority) TestSign(ctx context.Context) error {
	message := make([]byte, 32)
	rand.Read(message)
	signature, err := a.sign(ctx, message)
	if err != nil {
		return err
	}
	return a.verify(message, signature)
}

// key returns the open signer, opening it if needed. Concurrent callers share
// one opening; ctx ends the wait.
func (a *Authority) key(ctx context.Context) (*crypto.Signer, error) {
	if s := a.signer.Load(); s != nil {
		return s, nil
	}
	if a.openSigner == nil {
		return nil, fmt.Errorf("authority %q: %w", a.name, ErrNoSigner)
	}
	select {
	case <-a.opening:
	case <-ctx.Done():
		return nil, fmt.Errorf("authority %q: waiting for the key: %w", a.name, ctx.Err())
	}
	defer func() { a.opening <- struct{}{} }()
	if s := a.signer.Load(); s != nil {
		return s, nil
	}
	s, err := a.openSigner(ctx)
	if err != nil {
		return nil, fmt.Errorf("authority %q: opening the key: %w", a.name, err)
	}
	if s == nil || !samePublicKey(s.Public(), a.cert.PublicKey) {
		return nil, fmt.Errorf("authority %q: %w", a.name, ErrKeyMismatch)
	}
	a.signer.Store(&s)
	return &s, nil
}

// sign returns the signature of the key over message. After a failure the
// signer is dropped, unless it recovers itself, so that the next use opens the
// key anew.
func (a *Authority) sign(ctx context.Context, message []byte) ([]byte, error) {
	s, err := a.key(ctx)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("authority %q: signing: %w", a.name, err)
	}
	signature, err := crypto.SignMessage(*s, rand.Reader, message, a.hash)
	if err != nil {
		a.drop(s)
		return nil, fmt.Errorf("authority %q: signing: %w", a.name, err)
	}
	return signature, nil
}

// drop has the key opened anew at its next use, unless the signer sees to that.
func (a *Authority) drop(s *crypto.Signer) {
	if _, ok := (*s).(recovering); !ok {
		a.signer.CompareAndSwap(s, nil)
	}
}

// verify checks a signature of the key over message. A key that makes wrong
// signatures is told so, or opened anew at its next use.
func (a *Authority) verify(message, signature []byte) error {
	if err := a.cert.CheckSignature(a.sigAlg, message, signature); err != nil {
		wrong := &wrongSignatureError{authority: a.name, err: err}
		if s := a.signer.Load(); s != nil {
			if d, ok := (*s).(distrusted); ok {
				d.Distrust(signature)
				wrong.told = true
			}
			a.drop(s)
		}
		return wrong
	}
	return nil
}

// wrongSignatureError says that a signature was thrown away.
type wrongSignatureError struct {
	authority string
	told      bool // the signer was told, and goes on by other means
	err       error
}

func (e *wrongSignatureError) Error() string {
	return fmt.Sprintf("authority %q: the key made a signature that does not verify: %v", e.authority, e.err)
}

func (e *wrongSignatureError) Unwrap() error { return e.err }

// again runs sign, and up to two times more while its signature does not verify and the
// signer was told so: it then signs in other sessions, or in its spare. A library that is
// taken down while it signs may return anything, and the next one may be, too, before
// it is noticed.
func again[T any](sign func() (T, error)) (v T, err error) {
	for range 3 {
		var wrong *wrongSignatureError
		if v, err = sign(); !errors.As(err, &wrong) || !wrong.told {
			return v, err
		}
	}
	return v, err
}

func samePublicKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// selfSigner signs for a root that has no certificate yet.
type selfSigner struct {
	signer crypto.Signer
	sigAlg x509.SignatureAlgorithm
	hash   crypto.Hash
}

func (s *selfSigner) sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("signing the root: %w", err)
	}
	signature, err := crypto.SignMessage(s.signer, rand.Reader, message, s.hash)
	if err != nil {
		return nil, fmt.Errorf("signing the root: %w", err)
	}
	return signature, nil
}

func (s *selfSigner) verify(message, signature []byte) error {
	key := &x509.Certificate{PublicKey: s.signer.Public()}
	if err := key.CheckSignature(s.sigAlg, message, signature); err != nil {
		return fmt.Errorf("the key of the root made a signature that does not verify: %w", err)
	}
	return nil
}
