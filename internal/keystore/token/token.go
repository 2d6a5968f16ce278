// Package token signs with keys in a PKCS#11 token, and goes on doing so when
// sessions, the token or its library fail.
//
// The vendor's library runs in a process of its own (package child), one for each
// token. This package supervises it from outside: it puts a deadline on every call,
// opens lost sessions anew, restarts a library that hangs or crashed, takes the spare
// token where the first one is gone, and never tries a PIN twice that was refused.
// It knows no URIs and no configuration file.
//
// A token has one or two legs, the primary and the spare. One goroutine of each leg
// (leg.run) opens it, and nobody else does: whoever finds that sessions are lost says
// so (leg.lose) and waits for the change of state.
package token

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// KeyName names a key: by Public where it is known, else by what the URI says.
type KeyName struct {
	ID, Label []byte
	Public    crypto.PublicKey
}

// Token is a supervised token. Its methods may be called concurrently.
type Token struct {
	cfg     Config
	legs    []*leg // primary, then spare
	metrics *metrics

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	start   sync.Once
	running sync.WaitGroup
	close   sync.Once
	onSpare atomic.Bool // the last signature came from the spare

	mu     sync.Mutex
	closed bool
	keys   map[string]*key // those that were opened, by SubjectPublicKeyInfo
}

// key is a key that was opened: it is looked for again each time a leg is.
type key struct {
	public crypto.PublicKey
	spki   string
	ca     atomic.Bool // its attributes must be those of a CA key
	gone   atomic.Bool // it was destroyed
	origins
}

// Open returns a token; it starts no process yet.
func Open(cfg Config) (*Token, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	t := &Token{cfg: cfg, metrics: newMetrics(cfg.Name), keys: make(map[string]*key)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.legs = append(t.legs, newLeg(t, cfg.Primary, false))
	if cfg.Spare != nil {
		t.legs = append(t.legs, newLeg(t, *cfg.Spare, true))
	}
	return t, nil
}

// begin starts the legs at the first use: the spare is kept ready from then on too.
func (t *Token) begin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	t.start.Do(func() {
		for _, l := range t.legs {
			t.running.Go(l.run)
		}
	})
	return nil
}

// Start looks for the token and its spare now, and logs in where nobody has to type a
// PIN, rather than at the first use of a key. It does not wait. ErrClosed after Close.
func (t *Token) Start() error { return t.begin() }

// spawn runs f beside the legs, unless the token is closed.
func (t *Token) spawn(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.running.Go(f)
	return true
}

// Close ends the processes. Signers are of no use after it.
func (t *Token) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.close.Do(func() {
		t.cancel()
		t.running.Wait()
		for _, l := range t.legs {
			l.end()
		}
	})
	return nil
}

// Metrics lists the collectors. Those of several tokens can be in one registry.
func (t *Token) Metrics() []prometheus.Collector { return t.metrics.all() }

// Name is that of the configuration.
func (t *Token) Name() string { return t.cfg.Name }

// register returns the key with that public key. fresh says that it was not known.
func (t *Token) register(public crypto.PublicKey, ca bool) (k *key, fresh bool, err error) {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, false, fmt.Errorf("encoding the public key: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	k = t.keys[string(spki)]
	if k == nil {
		k, fresh = &key{public: public, spki: string(spki)}, true
		t.keys[k.spki] = k
	}
	if ca {
		k.ca.Store(true)
	}
	return k, fresh, nil
}

// forget takes a key out of what is looked for.
func (t *Token) forget(k *key) {
	t.mu.Lock()
	if t.keys[k.spki] == k {
		delete(t.keys, k.spki)
	}
	t.mu.Unlock()
	for _, l := range t.legs {
		l.forget(k)
	}
}

// registered returns the keys that were opened.
func (t *Token) registered() []*key {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := make([]*key, 0, len(t.keys))
	for _, k := range t.keys {
		keys = append(keys, k)
	}
	return keys
}
