package ca

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"io"
	"math/big"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// supervised is a signer that recovers itself.
type supervised struct {
	spy
	ready      atomic.Pointer[error]
	distrusted atomic.Int64
	last       atomic.Pointer[[]byte] // that it made
	wrong      atomic.Pointer[[]byte] // that it was told of last
	mends      atomic.Int64           // so many times distrusted, it ends the lies
}

func (s *supervised) Ready() error {
	if err := s.ready.Load(); err != nil {
		return *err
	}
	return nil
}

func (s *supervised) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	signature, err := s.spy.Sign(rand, digest, opts)
	s.last.Store(&signature)
	return signature, err
}

func (s *supervised) Distrust(signature []byte) {
	s.wrong.Store(&signature)
	if s.distrusted.Add(1) == s.mends.Load() {
		s.lie.Store(false)
	}
}

func TestRecoveringSigner(t *testing.T) {
	key := &supervised{spy: spy{Signer: pkitest.Key(t, "P-256")}}
	root := makeRoot(t, rootSpec(), key)
	opened := 0
	a, err := New(Config{Name: "root", Certificate: root.Certificate(), Signer: func(context.Context) (crypto.Signer, error) {
		opened++
		return key, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	away := errors.New("the token is away")
	key.ready.Store(&away)
	if err := a.Ready(); err != nil {
		t.Errorf("before the key was opened: %v", err)
	}
	if err := a.Open(background); err != nil {
		t.Fatal(err)
	}
	if err := a.Ready(); !errors.Is(err, away) {
		t.Errorf("ready: %v", err)
	}
	key.ready.Store(nil)

	// A failure is the signer's to repair: it is not opened anew.
	key.fail.Store(&away)
	if err := a.TestSign(background); !errors.Is(err, away) {
		t.Errorf("signing: %v", err)
	}
	key.fail.Store(nil)
	if err := a.TestSign(background); err != nil || opened != 1 {
		t.Errorf("signing again: %v; opened %d times", err, opened)
	}

	// A wrong signature is reported to it.
	if n := key.distrusted.Load(); n != 0 {
		t.Errorf("distrusted %d times without a reason", n)
	}
	key.lie.Store(true)
	if err := a.TestSign(background); err == nil || key.distrusted.Load() != 1 || opened != 1 {
		t.Errorf("a wrong signature: %v; distrusted %d times, opened %d times", err, key.distrusted.Load(), opened)
	}
	if wrong, made := key.wrong.Load(), key.last.Load(); wrong == nil || made == nil || !bytes.Equal(*wrong, *made) {
		t.Errorf("it was told of another signature than the one that it made")
	}
	key.lie.Store(false)
	if err := a.TestSign(background); err != nil || key.distrusted.Load() != 1 || opened != 1 {
		t.Errorf("after it: %v; distrusted %d times, opened %d times", err, key.distrusted.Load(), opened)
	}
}

// TestSignsAgain: a wrong signature is thrown away, and what was wanted comes from the
// next one or the one after it; three wrong ones are an error, and nothing leaves.
func TestSignsAgain(t *testing.T) {
	key := &supervised{spy: spy{Signer: pkitest.Key(t, "P-256")}}
	made := makeRoot(t, rootSpec(), key)
	a, err := New(Config{Name: "root", Certificate: made.Certificate(), Signer: func(context.Context) (crypto.Signer, error) { return key, nil }})
	if err != nil {
		t.Fatal(err)
	}
	device := pkitest.Key(t, "P-384").Public() // not the key of the CA
	issue := map[string]func() ([]byte, error){
		"certificate": func() ([]byte, error) {
			p, err := a.Prepare(deviceTemplate(), device, Rules{})
			if err != nil {
				t.Fatal(err)
			}
			p.Recorded()
			cert, err := p.Issue(background)
			if err != nil {
				return nil, err
			}
			return cert.Raw, cert.CheckSignatureFrom(a.Certificate())
		},
		"CRL": func() ([]byte, error) {
			return a.SignCRL(background, CRL{Number: big.NewInt(1), ThisUpdate: testNow, NextUpdate: testNow.Add(time.Hour)})
		},
	}
	for what, issue := range issue {
		for wrong := range int64(3) {
			told := key.distrusted.Load()
			key.mends.Store(told + wrong)
			key.lie.Store(wrong > 0)
			if der, err := issue(); err != nil || len(der) == 0 || key.distrusted.Load() != told+wrong {
				t.Errorf("%s after %d wrong signatures: %v; distrusted %d times", what, wrong, err, key.distrusted.Load()-told)
			}
		}
		told := key.distrusted.Load()
		key.mends.Store(0)
		key.lie.Store(true)
		if der, err := issue(); err == nil || der != nil || key.distrusted.Load() != told+3 {
			t.Errorf("%s with wrong signatures: %x, %v; distrusted %d times", what, der, err, key.distrusted.Load()-told)
		}
		key.lie.Store(false)
	}
}

func TestReadyElsewhere(t *testing.T) {
	key := &spy{Signer: pkitest.Key(t, "P-256")}
	root := makeRoot(t, rootSpec(), key)
	if err := root.Ready(); err != nil {
		t.Errorf("a signer that does not know: %v", err)
	}
	cold, err := New(Config{Name: "root", Certificate: root.Certificate()})
	if err != nil {
		t.Fatal(err)
	}
	if err := cold.Ready(); !errors.Is(err, ErrNoSigner) {
		t.Errorf("a key that is elsewhere: %v", err)
	}
}
