package keystore

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// The schemes of keys in a TPM, in the KMS of a cloud, and in a YubiKey.
const (
	schemeTPM     = "tpmkms"
	schemeAWS     = "awskms"
	schemeAzure   = "azurekms"
	schemeGoogle  = "cloudkms"
	schemeYubiKey = "yubikey"
)

var kmsSchemes = []string{schemeTPM, schemeAWS, schemeAzure, schemeGoogle, schemeYubiKey}

// cloudPlaces is how many calls one key in a cloud may have under way.
const cloudPlaces = 64

// external is a key outside of files and PKCS#11 tokens, as a URI names it. Its
// methods may hang; only one caller at a time makes or destroys a key.
type external interface {
	// device names what must not be asked by more than places callers at a time.
	device() (name string, places int)
	// algorithms lists the kinds of keys that create makes.
	algorithms() []string
	// create makes a key, never over another one (ErrExists), and returns its URI.
	create(ctx context.Context, alg string) (string, error)
	// open returns the key: ErrNotFound if there is none.
	open(ctx context.Context) (crypto.Signer, error)
	// destroy removes the key, which is pub, or says who can.
	destroy(ctx context.Context, pub crypto.PublicKey) error
}

// externals is the part of a store that keeps the keys outside apart.
type externals struct {
	mu     sync.Mutex
	gates  map[string]*gate
	making sync.Mutex // go.step.sm/crypto/tpm makes keys from templates that it changes
	close  []io.Closer
	closed bool
}

// gate returns the gate before a device, the same one for all of its keys.
func (k *externals) gate(e external) *gate {
	name, places := e.device()
	k.mu.Lock()
	defer k.mu.Unlock()
	g := k.gates[name]
	if g == nil {
		if k.gates == nil {
			k.gates = make(map[string]*gate)
		}
		g = newGate(places)
		k.gates[name] = g
	}
	return g
}

// closeAll ends the connections.
func (k *externals) closeAll() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for _, c := range k.close {
		errs = append(errs, c.Close())
	}
	k.close, k.closed = nil, true
	return errors.Join(errs...)
}

// closeLater keeps a connection until the store is closed, or ends it if it is.
//
//lint:ignore U1000 the files with build tags use it
func (k *externals) closeLater(c io.Closer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		c.Close()
		return
	}
	k.close = append(k.close, c)
}

// isKMS reports whether the scheme is one of this file's.
func (u *keyURI) isKMS() bool { return slices.Contains(kmsSchemes, u.scheme) }

// external returns the key that u names: an existing one, or one to be made.
func (s *Store) external(u *keyURI, creating bool) (external, error) {
	switch u.scheme {
	case schemeTPM:
		return s.tpmKey(u)
	case schemeAWS:
		return awsKeyOf(u, creating)
	case schemeAzure:
		return azureKeyOf(u, creating)
	case schemeGoogle:
		return s.googleKey(u, creating)
	case schemeYubiKey:
		if !s.cfg.AnyModule {
			return nil, errors.New("a server uses a YubiKey as a token: add it to keys.tokens, with the module libykcs11.so")
		}
		return s.yubiKey(u, creating)
	}
	return nil, fmt.Errorf("unknown scheme %q", u.scheme)
}

// openExternal opens the key that u names, and refuses it if it is not want. nil: any.
func (s *Store) openExternal(ctx context.Context, u *keyURI, want crypto.PublicKey) (crypto.Signer, error) {
	e, err := s.external(u, false)
	if err != nil {
		return nil, err
	}
	g := s.kms.gate(e)
	signer, err := do(ctx, g, signWithin, e.open)
	if err != nil {
		return nil, s.outside(u, err)
	}
	if err := checkPublic(signer.Public(), want); err != nil {
		return nil, err
	}
	return &bounded{name: Redact(u.raw), inner: signer, gate: g, within: signWithin}, nil
}

// createExternal makes the key that u names, opens it, and has it sign once: a key
// that cannot is found now, and not when the first certificate is asked for.
func (s *Store) createExternal(ctx context.Context, u *keyURI, alg string) (string, crypto.Signer, error) {
	e, err := s.external(u, true)
	if err != nil {
		return "", nil, err
	}
	if known := e.algorithms(); !slices.Contains(known, alg) {
		return "", nil, fmt.Errorf("keys of the scheme %s are %s, not %s", u.scheme, strings.Join(known, ", "), alg)
	}
	s.kms.making.Lock()
	defer s.kms.making.Unlock()
	final, err := do(ctx, s.kms.gate(e), makeWithin, func(ctx context.Context) (string, error) { return e.create(ctx, alg) })
	if err != nil {
		return "", nil, s.outside(u, err)
	}
	made, err := parseURI(final)
	if err != nil {
		return "", nil, fmt.Errorf("a key was made, but not one that can be named: %w", err)
	}
	signer, err := s.openExternal(ctx, made, nil)
	if err == nil {
		err = testSign(signer)
	}
	if err != nil {
		return "", nil, fmt.Errorf("the key %s was made, but does not sign: %w", Redact(final), err)
	}
	return final, signer, nil
}

// destroyExternal destroys the key that u names, if it is want.
func (s *Store) destroyExternal(ctx context.Context, u *keyURI, want crypto.PublicKey) error {
	if want == nil {
		return errors.New("a key is only destroyed by its public key")
	}
	e, err := s.external(u, false)
	if err != nil {
		return err
	}
	s.kms.making.Lock()
	defer s.kms.making.Unlock()
	_, err = do(ctx, s.kms.gate(e), makeWithin, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, e.destroy(ctx, want)
	})
	if err != nil {
		return s.outside(u, err)
	}
	return nil
}

// outside says of a failure that is not the key's that it may pass.
func (s *Store) outside(u *keyURI, err error) error {
	for _, e := range []error{ErrNotFound, ErrExists, ErrMismatch, ErrPIN, errNever} {
		if errors.Is(err, e) {
			return err
		}
	}
	return &UnavailableError{Key: Redact(u.raw), Wait: rest, Err: err}
}

// errNever is what waiting does not change.
var errNever = errors.New("this cannot be done")

// never returns an error that waiting does not change.
func never(format string, args ...any) error { return neverError{fmt.Errorf(format, args...)} }

type neverError struct{ error }

func (e neverError) Unwrap() error      { return e.error }
func (neverError) Is(target error) bool { return target == errNever }

// checkPublic refuses a key that is not want; nil is any.
func checkPublic(public, want crypto.PublicKey) error {
	if want != nil && !equal(public, want) {
		return ErrMismatch
	}
	return nil
}

// testSign has signer sign, and verifies the signature.
func testSign(signer crypto.Signer) error {
	message := []byte("mintmark: first signature of a new key")
	var (
		digest []byte
		opts   crypto.Hash
		alg    x509.SignatureAlgorithm
	)
	switch kindOf(signer.Public()) {
	case "P-384":
		sum := sha512.Sum384(message)
		digest, opts, alg = sum[:], crypto.SHA384, x509.ECDSAWithSHA384
	case "P-521":
		sum := sha512.Sum512(message)
		digest, opts, alg = sum[:], crypto.SHA512, x509.ECDSAWithSHA512
	case "P-256":
		sum := sha256.Sum256(message)
		digest, opts, alg = sum[:], crypto.SHA256, x509.ECDSAWithSHA256
	default:
		sum := sha256.Sum256(message)
		digest, opts, alg = sum[:], crypto.SHA256, x509.SHA256WithRSA
	}
	signature, err := signer.Sign(rand.Reader, digest, opts)
	if err != nil {
		return err
	}
	return (&x509.Certificate{PublicKey: signer.Public()}).CheckSignature(alg, message, signature)
}
