package keystore

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// signWithin bounds a signature, and the opening of a key, from the question to
	// the answer.
	signWithin = 5 * time.Second
	// makeWithin bounds the making of a key: a TPM takes up to a minute for RSA.
	makeWithin = 2 * time.Minute
	// restAfter failures in a row a key rests: whoever asks meanwhile is answered at
	// once, and nobody's certificate is recorded in vain.
	restAfter = 3
	// rest is how long.
	rest = time.Second
)

// UnavailableError says that a key outside of this machine's files and PKCS#11 tokens
// cannot be used at the moment.
type UnavailableError struct {
	// Key is its URI, without secrets.
	Key string
	// Wait is when to ask again.
	Wait time.Duration
	Err  error
}

func (e *UnavailableError) Error() string { return fmt.Sprintf("key %s: %v", e.Key, e.Err) }

func (e *UnavailableError) Unwrap() error { return e.Err }

// RetryAfter is when to ask again.
func (e *UnavailableError) RetryAfter() time.Duration { return e.Wait }

// bounded signs with a signer that knows no deadline: crypto.Signer has no context,
// and the backends have long timeouts or none. It may be used concurrently.
type bounded struct {
	name   string // for errors
	inner  crypto.Signer
	gate   *gate
	within time.Duration

	mu       sync.Mutex
	failures int       // in a row
	until    time.Time // it rests until then
	last     error
}

// Public returns the public key.
func (b *bounded) Public() crypto.PublicKey { return b.inner.Public() }

// Sign signs a digest of SHA-256, SHA-384 or SHA-512, with ECDSA or RSA as in PKCS #1
// v1.5. An answer that is late is thrown away; the error is an *UnavailableError then,
// as for every failure of the backend.
func (b *bounded) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if err := checkDigest(b.Public(), digest, opts); err != nil {
		return nil, fmt.Errorf("key %s: %w", b.name, err)
	}
	if err := b.Ready(); err != nil {
		return nil, err
	}
	// The caller may use its digest again while a late call still reads it.
	own := append([]byte(nil), digest...)
	signature, err := do(context.Background(), b.gate, b.within, func(context.Context) ([]byte, error) {
		return b.inner.Sign(random, own, opts)
	})
	if err != nil {
		b.failed(err, 1)
		return nil, b.unavailable(err)
	}
	b.mu.Lock()
	b.failures = 0
	b.mu.Unlock()
	return signature, nil
}

// Ready returns what Sign would fail with at once, or nil: it rests after failures, or
// every call that it may make hangs.
func (b *bounded) Ready() error {
	b.mu.Lock()
	resting, last := time.Now().Before(b.until), b.last
	b.mu.Unlock()
	if resting {
		return b.unavailable(last)
	}
	if b.gate.stuck() {
		return b.unavailable(errHangs)
	}
	return nil
}

// Distrust says that a signature did not verify: the key rests.
func (b *bounded) Distrust([]byte) {
	b.failed(errors.New("it made a signature that does not verify"), restAfter)
}

// failed counts a failure as n.
func (b *bounded) failed(err error, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = err
	if b.failures += n; b.failures >= restAfter {
		b.until = time.Now().Add(rest)
		b.failures = restAfter - 1 // one more, and it rests again
	}
}

func (b *bounded) unavailable(err error) error {
	return &UnavailableError{Key: b.name, Wait: rest, Err: err}
}
