package adminhttp_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"mintmark/internal/keystore"
)

// memory is a key store without files.
type memory struct {
	mu   sync.Mutex
	keys map[string]crypto.Signer
	uses atomic.Int64 // keys made, keys opened, signatures
	full atomic.Bool  // no key can be made
}

// counted is a key whose uses are counted.
type counted struct {
	crypto.Signer
	uses *atomic.Int64
}

func (k counted) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.uses.Add(1)
	return k.Signer.Sign(rand, digest, opts)
}

func (m *memory) Create(_ context.Context, uri, algorithm string) (string, crypto.Signer, error) {
	m.uses.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full.Load() {
		return "", nil, errors.New("the disk is full")
	}
	if !strings.HasPrefix(uri, "softkms:") {
		return "", nil, fmt.Errorf("unknown scheme in %s", keystore.Redact(uri))
	}
	if m.keys[uri] != nil {
		return "", nil, keystore.ErrExists
	}
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()}[algorithm]
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return "", nil, err
	}
	if m.keys == nil {
		m.keys = make(map[string]crypto.Signer)
	}
	m.keys[uri] = counted{key, &m.uses}
	return uri, m.keys[uri], nil
}

func (m *memory) Signer(_ context.Context, uri string, _ crypto.PublicKey) (crypto.Signer, error) {
	m.uses.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if key := m.keys[uri]; key != nil {
		return key, nil
	}
	return nil, keystore.ErrNotFound
}
