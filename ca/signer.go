package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"fmt"
)

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
// signer is dropped, so that the next use opens the key anew.
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
		a.signer.CompareAndSwap(s, nil)
		return nil, fmt.Errorf("authority %q: signing: %w", a.name, err)
	}
	return signature, nil
}

// verify checks a signature of the key over message. A key that makes wrong
// signatures is opened anew at its next use.
func (a *Authority) verify(message, signature []byte) error {
	if err := a.cert.CheckSignature(a.sigAlg, message, signature); err != nil {
		a.signer.Store(nil)
		return fmt.Errorf("authority %q: the key made a signature that does not verify: %w", a.name, err)
	}
	return nil
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
