//go:build cgo && !nopkcs11

package keystore

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/pkcs11"
	"go.step.sm/crypto/kms/apiv1"
	p11 "go.step.sm/crypto/kms/pkcs11"
)

// closeWait is how long Close waits for a session in which the library hangs.
const closeWait = 5 * time.Second

// tokens is the tokens in use. All keys of a token share one login.
type tokens struct {
	mu     sync.Mutex
	open   map[string]*token
	refuse map[string][sha256.Size]byte // hash of the PIN that a token refused
}

// token is an open token.
type token struct {
	kms   *p11.PKCS11
	stale atomic.Bool // a signature failed: open it anew before the next use
}

// tokenKey tells tokens apart: the module and what selects the token in it.
func (u *keyURI) tokenKey() string {
	return strings.Join([]string{u.Get("module-path"), u.Get("token"), u.Get("serial"), u.Get("slot-id")}, "\x00")
}

// checkToken refuses what the library would take for something else.
func (u *keyURI) checkToken() error {
	module := u.Get("module-path")
	if module == "" {
		return errors.New("the URI names no PKCS#11 module: add module-path=")
	}
	if _, err := os.Stat(module); err != nil {
		return fmt.Errorf("PKCS#11 module: %w", err)
	}
	if u.Get("token") == "" && u.Get("serial") == "" && u.Get("slot-id") == "" {
		return errors.New("the URI names no token: add token=, serial= or slot-id=")
	}
	return nil
}

// tokenName names the token in a text for people.
func (u *keyURI) tokenName() string {
	for _, name := range []string{"token", "serial", "slot-id"} {
		if v := u.Get(name); v != "" {
			return v
		}
	}
	return ""
}

// pin returns the PIN for the token of u. The library would read pin-source
// itself, ignore that it cannot, and log in with an empty PIN.
func (s *Store) pin(u *keyURI) ([]byte, error) {
	if v := u.Get("pin-value"); v != "" {
		return []byte(v), nil
	}
	if source := u.Get("pin-source"); source != "" {
		pin, err := readSecret(strings.TrimPrefix(strings.TrimPrefix(source, "file://"), "file:"), 0o077, maxSecret)
		if err != nil {
			return nil, fmt.Errorf("reading the PIN: %w", err)
		}
		return pin, nil
	}
	if s.cfg.PIN == nil {
		return nil, fmt.Errorf("no PIN for token %q: add ?pin-source= to the URI", u.tokenName())
	}
	pin, err := s.cfg.PIN(u.tokenName())
	if err != nil {
		return nil, fmt.Errorf("reading the PIN: %w", err)
	}
	if len(pin) == 0 {
		return nil, fmt.Errorf("the PIN for token %q is empty", u.tokenName())
	}
	return pin, nil
}

// login returns the token of u, opening it if needed.
func (s *Store) login(u *keyURI) (*token, error) {
	if err := u.checkToken(); err != nil {
		return nil, err
	}
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	key := u.tokenKey()
	if t := s.tokens.open[key]; t != nil {
		if !t.stale.Load() {
			return t, nil
		}
		// Closing first matters: while a session is left, another login in the
		// same process is answered with "logged in already", whatever it is.
		s.log.Warn("opening the token anew after a failed signature", "token", u.tokenName())
		delete(s.tokens.open, key)
		if err := closeKMS(t.kms); err != nil {
			s.log.Warn("closing the token failed", "token", u.tokenName(), "error", err)
		}
	}
	pin, err := s.pin(u)
	if err != nil {
		return nil, err
	}
	defer clear(pin)
	sum := sha256.Sum256(pin)
	if s.tokens.refuse[key] == sum {
		return nil, fmt.Errorf("%w of %q before and is not asked again, or it would lock: correct the PIN", ErrPIN, u.tokenName())
	}
	kms, err := p11.New(context.Background(), apiv1.Options{
		URI: u.without("pin-value", "pin-source", "pin-prompt", "id", "object"),
		Pin: string(pin),
	})
	if err != nil {
		if refusedPIN(err) {
			if s.tokens.refuse == nil {
				s.tokens.refuse = make(map[string][sha256.Size]byte)
			}
			s.tokens.refuse[key] = sum
			return nil, fmt.Errorf("%w of %q: %w", ErrPIN, u.tokenName(), err)
		}
		return nil, fmt.Errorf("opening token %q: %w", u.tokenName(), err)
	}
	delete(s.tokens.refuse, key)
	if s.tokens.open == nil {
		s.tokens.open = make(map[string]*token)
	}
	t := &token{kms: kms}
	s.tokens.open[key] = t
	return t, nil
}

// refusedPIN reports whether err is an answer of C_Login that counts as a try.
func refusedPIN(err error) bool {
	var code pkcs11.Error
	if !errors.As(err, &code) {
		return false
	}
	switch code {
	case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_LOCKED, pkcs11.CKR_PIN_INVALID,
		pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_PIN_EXPIRED:
		return true
	}
	return false
}

// openInToken opens the key that u names in its token.
func (s *Store) openInToken(u *keyURI) (crypto.Signer, error) {
	if u.Get("id") == "" && u.Get("object") == "" {
		return nil, errors.New("the URI names no key: add object= or id=")
	}
	t, err := s.login(u)
	if err != nil {
		return nil, err
	}
	signer, err := t.kms.CreateSigner(&apiv1.CreateSignerRequest{SigningKey: u.without("pin-value", "pin-source", "pin-prompt")})
	if err != nil {
		if errors.Is(err, apiv1.NotFoundError{}) {
			return nil, fmt.Errorf("%w in token %q", ErrNotFound, u.tokenName())
		}
		t.stale.Store(true)
		return nil, err
	}
	return &tokenSigner{Signer: signer, token: t}, nil
}

// tokenSigner signs in a token. When that fails it says so to the store, which
// then opens the token anew for the next Signer: the library never recovers a
// session that was lost.
type tokenSigner struct {
	crypto.Signer
	token *token
}

func (s *tokenSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	signature, err := s.Signer.Sign(rand, digest, opts)
	if err != nil {
		s.token.stale.Store(true)
		return nil, fmt.Errorf("signing in the token: %w", err)
	}
	return signature, nil
}

func (t *tokens) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for key, open := range t.open {
		errs = append(errs, closeKMS(open.kms))
		delete(t.open, key)
	}
	return errors.Join(errs...)
}

// closeKMS closes a token. The library waits for every session to come back,
// for ever if one hangs.
func closeKMS(kms *p11.PKCS11) error {
	done := make(chan error, 1)
	go func() { done <- kms.Close() }()
	select {
	case err := <-done:
		return err
	case <-time.After(closeWait):
		return fmt.Errorf("a session with the token did not end within %s", closeWait)
	}
}
