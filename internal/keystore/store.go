// Package keystore opens and creates the private keys that URIs name: the
// encrypted files and hardware tokens in which the keys of the authorities,
// of the server and of the officers are.
//
// The URIs are those of go.step.sm/crypto/kms, such as
//
//	softkms:path=keys/issuing.pem
//	    a PKCS #8 file, encrypted with the passphrase of the store
//	pkcs11:token=factory;object=issuing;id=%a1%02
//	    a key in a token (RFC 7512) of the configuration, in builds with cgo
//
// Passphrases and PINs come from functions and files, are wiped after use and
// never reach a log or an error text.
package keystore

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"mintmark/internal/keystore/token"
)

var (
	// ErrNotFound is returned by Signer when there is no such key.
	ErrNotFound = token.ErrNotFound

	// ErrExists is returned by Create when there is such a key already.
	ErrExists = token.ErrExists

	// ErrMismatch is returned when the key that a URI names is not the one that is
	// wanted.
	ErrMismatch = errors.New("the key that the URI names is another one: the public keys differ")

	// ErrPolicy is returned when the attributes of a key in a token are not those of a
	// CA key.
	ErrPolicy = token.ErrPolicy

	// ErrPassphrase is returned when an encrypted file does not open.
	ErrPassphrase = errors.New("the passphrase is wrong or the file is damaged")

	// ErrPIN is returned when a token refused the PIN. The same PIN is not
	// tried again, because tokens lock after a few wrong ones.
	ErrPIN = token.ErrPIN

	// ErrClosed is returned by a store after Close.
	ErrClosed = errors.New("the key store is closed")
)

// Config is what Open makes a Store of.
type Config struct {
	// Dir is where key files with a relative path are. Required for those.
	Dir string

	// Passphrase returns the passphrase of the encrypted files. It is called
	// each time a file is opened or written; what it returns is wiped after
	// use. Without it no file can be opened.
	Passphrase func() ([]byte, error)

	// PIN returns the user PIN of a token that a URI names and Tokens does not, where
	// the URI has no pin-source; the result is wiped after use. Optional.
	PIN func(token string) ([]byte, error)

	// Tokens are the tokens that keys may be in.
	Tokens []TokenConfig

	// AnyModule lets a URI name a token that is not in Tokens, with its module-path
	// and pin-source: for a person's own keys, never for a server.
	AnyModule bool

	// TPMDevice is the one TPM that keys may be in: a device, or the socket of an
	// emulator. /dev/tpmrm0 if empty.
	TPMDevice string

	// State is a directory of the store's own, for what must survive a restart: which
	// PIN a token refused. In memory only if empty.
	State string

	// Logger receives what an operator should see. Optional.
	Logger *slog.Logger
}

// Store opens and creates keys. It may be used concurrently, and so may the
// signers it returns.
type Store struct {
	cfg    Config
	log    *slog.Logger
	tokens tokens
	kms    externals

	closed atomic.Bool
}

// Open returns a store. It opens no key and loads no library yet.
func Open(cfg Config) (*Store, error) {
	s := &Store{cfg: cfg, log: cfg.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.openTokens(); err != nil {
		return nil, err
	}
	return s, nil
}

// Create makes a new key of the kind alg ("P-256", "P-384", "P-521",
// "RSA-2048", "RSA-3072", "RSA-4096") where uri says, durably. It never
// overwrites a key: ErrExists if there is one. It returns the URI to open the
// key with, which is uri with what Create added, such as the id of a key in a
// token.
func (s *Store) Create(ctx context.Context, uri, alg string) (string, crypto.Signer, error) {
	final, signer, err := s.create(ctx, uri, alg)
	if err != nil {
		return "", nil, fmt.Errorf("creating key %s: %w", Redact(uri), err)
	}
	s.log.Info("key created", "key", Redact(final), "algorithm", alg)
	return final, signer, nil
}

// Signer opens the key that uri names: ErrNotFound if there is none. In a token it is the
// one with the public key want, under whatever name it has there now; nil for any.
func (s *Store) Signer(ctx context.Context, uri string, want crypto.PublicKey) (crypto.Signer, error) {
	signer, err := s.open(ctx, uri, want)
	if err != nil {
		return nil, fmt.Errorf("opening key %s: %w", Redact(uri), err)
	}
	return signer, nil
}

func (s *Store) create(ctx context.Context, uri, alg string) (string, crypto.Signer, error) {
	u, err := s.begin(ctx, uri)
	if err != nil {
		return "", nil, err
	}
	if !known(alg) {
		return "", nil, fmt.Errorf("unknown key algorithm %q: known are %s", alg, strings.Join(algorithms, ", "))
	}
	if u.scheme == schemePKCS11 {
		return s.createInToken(ctx, u, alg)
	}
	if u.isKMS() {
		return s.createExternal(ctx, u, alg)
	}
	signer, err := s.createFile(u, alg)
	return uri, signer, err
}

func (s *Store) open(ctx context.Context, uri string, want crypto.PublicKey) (crypto.Signer, error) {
	u, err := s.begin(ctx, uri)
	if err != nil {
		return nil, err
	}
	if u.scheme == schemePKCS11 {
		return s.openInToken(ctx, u, want)
	}
	if u.isKMS() {
		return s.openExternal(ctx, u, want)
	}
	signer, err := s.openFile(u)
	if err == nil && want != nil && !equal(signer.Public(), want) {
		return nil, ErrMismatch
	}
	return signer, err
}

// begin parses uri for a store that is open.
func (s *Store) begin(ctx context.Context, uri string) (*keyURI, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.closed.Load() {
		return nil, ErrClosed
	}
	return parseURI(uri)
}

// Close ends the sessions with all tokens, and what is under way with them. It does not wait
// for a TPM or a cloud. Signers of tokens are of no use after it; signers of files are.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return errors.Join(s.tokens.close(), s.kms.closeAll())
}
