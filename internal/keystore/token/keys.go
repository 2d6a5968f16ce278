package token

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/keystore/token/wire"
)

// Signer opens a key. ErrNotFound if the token has none of that name; ErrPolicy if its
// attributes are not those of a CA key and ca is set. The spare alone will do where the
// public key is known.
func (t *Token) Signer(ctx context.Context, name KeyName, ca bool) (*Signer, error) {
	public := name.Public
	if public == nil {
		var err error
		if public, err = t.Find(ctx, name); err != nil {
			return nil, err
		}
	}
	if err := t.begin(); err != nil {
		return nil, err
	}
	k, fresh, err := t.register(public, ca)
	if err != nil {
		return nil, err
	}
	if err := t.usable(ctx, k, fresh || ca); err != nil {
		// What else is known of the key stays known, so that one that hangs does not do so
		// anew to whoever opens it next.
		if fresh && (errors.Is(err, ErrNotFound) || errors.Is(err, ErrPolicy)) {
			t.forget(k)
		}
		return nil, err
	}
	return &Signer{t, k}, nil
}

// usable waits for the legs and reports whether one of them has the key.
func (t *Token) usable(ctx context.Context, k *key, look bool) error {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Deadline)
	defer cancel()
	var first error
	found := false
	for i, l := range t.legs {
		// The primary is waited for; the spare where the primary will not do.
		if i > 0 && found {
			if s := l.current(); s != nil && look {
				t.spawn(func() { l.resolve(s, k) }) //nolint:errcheck // it is in the status
			}
			break
		}
		patience := t.cfg.Deadline
		if i+1 < len(t.legs) {
			patience = t.cfg.Attempt
			if t.legs[i+1].current() != nil {
				patience = max(grace-l.view(k).age, 0)
			}
		}
		wait, cancel := context.WithTimeout(ctx, patience)
		err := t.usableIn(wait, l, k, look)
		cancel()
		switch {
		case err == nil:
			found = true
		case errors.Is(err, ErrPolicy):
			return err
		default:
			first = worse(first, err)
		}
	}
	if found {
		return nil
	}
	if t.ctx.Err() != nil {
		return ErrClosed
	}
	return first
}

func (t *Token) usableIn(ctx context.Context, l *leg, k *key, look bool) error {
	for range openTries {
		s, err := l.opened(ctx)
		if err != nil {
			return err
		}
		if look {
			err = l.resolve(s, k)
		}
		v := l.view(k)
		switch {
		case err != nil && lossOf(err) == "" && !errors.Is(err, errRetired):
			return fmt.Errorf("token %q: %w", t.cfg.Name, err)
		case err != nil:
		case v.session != nil && !v.unknown:
			return nil
		case v.session == nil && !v.opening:
			return v.err
		default:
			look = true
		}
	}
	return &UnavailableError{Token: t.cfg.Name, State: Opening, Wait: time.Second, Err: errRetired}
}

// opened waits for the leg to be ready.
func (l *leg) opened(ctx context.Context) (*session, error) {
	for {
		l.mu.Lock()
		s, state, changed := l.cur, l.state, l.changed
		err := l.unavailable()
		l.mu.Unlock()
		switch {
		case l.t.ctx.Err() != nil:
			return nil, ErrClosed
		case state == Ready && s != nil:
			return s, nil
		case state != Opening && state != Idle:
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) && l.t.ctx.Err() == nil {
				return nil, ctx.Err()
			}
			return nil, err
		case <-l.t.ctx.Done():
			return nil, ErrClosed
		}
	}
}

// resolve looks for a key in s. What is wrong with the key is noted.
func (l *leg) resolve(s *session, k *key) error {
	return l.do(s, l.t.cfg.Attempt, func(ctx context.Context, _ *process) error { return l.look(ctx, s, k, false) })
}

// do makes calls of the library in s that are no signatures. They are not ended with
// the caller: limit is how long they may take.
func (l *leg) do(s *session, limit time.Duration, calls func(ctx context.Context, p *process) error) error {
	f := &flight{long: limit > l.t.cfg.Attempt}
	if !l.launch(s, f) {
		return errRetired
	}
	defer l.land(s, f, false)
	ctx, cancel := context.WithTimeout(l.t.ctx, limit)
	defer cancel()
	err := hung(ctx, calls(ctx, s.proc))
	if err != nil {
		_, err = l.blame(s, f, err)
		if l.t.ctx.Err() != nil {
			return ErrClosed
		}
		return err
	}
	return nil
}

// again runs f in the leg, once more where the sessions are lost under it. f must be
// one that can be repeated.
func (l *leg) again(ctx context.Context, limit time.Duration, f func(ctx context.Context, p *process) error) error {
	var err error
	for range openTries {
		s, e := l.opened(ctx)
		if e != nil {
			return e
		}
		if err = l.do(s, limit, f); err == nil || lossOf(err) == "" && !errors.Is(err, errRetired) {
			return err
		}
	}
	return &UnavailableError{Token: l.t.cfg.Name, State: Opening, Wait: time.Second, Err: err}
}

// Find returns the public key of the one private key that has the name, in the primary.
// ErrNotFound if there is none.
func (t *Token) Find(ctx context.Context, name KeyName) (crypto.PublicKey, error) {
	if err := t.begin(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Deadline)
	defer cancel()
	found, err := t.legs[0].find(ctx, wire.Find{ID: name.ID, Label: name.Label})
	if err != nil {
		return nil, err
	}
	public, err := x509.ParsePKIXPublicKey(found.Public)
	if err != nil {
		return nil, fmt.Errorf("token %q: reading the public key: %w", t.cfg.Name, err)
	}
	return public, nil
}

func (l *leg) find(ctx context.Context, f wire.Find) (found wire.Key, err error) {
	err = l.again(ctx, l.t.cfg.Attempt, func(ctx context.Context, p *process) (err error) {
		found, err = p.find(ctx, f)
		return err
	})
	if problem := keyProblem(err); problem != nil {
		err = fmt.Errorf("token %q: %w", l.t.cfg.Name, problem)
	}
	return found, err
}

// Create makes a key, reads its attributes back and refuses (and removes) one that
// could leave the token or do more than sign. ErrExists if there is one of the ID
// or label. It is made in the primary: a spare gets it by the means of its vendor, and
// until then the status says that it lacks it.
func (t *Token) Create(ctx context.Context, name KeyName, algorithm string) (*Signer, error) {
	if len(name.ID) == 0 || len(name.Label) == 0 {
		return nil, errors.New("a new key in a token has an id and a label")
	}
	if err := t.begin(); err != nil {
		return nil, err
	}
	l := t.legs[0]
	for _, by := range []wire.Find{{Label: name.Label}, {ID: name.ID}} {
		_, err := l.find(ctx, by)
		what := "label"
		if by.ID != nil {
			what = "id"
		}
		switch {
		case errors.Is(err, ErrNotFound):
		case err == nil || troubleOf(err) == wire.ManyKeys || troubleOf(err) == wire.BadKey:
			return nil, fmt.Errorf("%w in token %q with that %s", ErrExists, t.cfg.Name, what)
		default:
			return nil, err
		}
	}
	s, err := l.opened(ctx)
	if err != nil {
		return nil, err
	}
	var made wire.Key
	// Once it has begun it is not repeated, and does not end with ctx: nobody could
	// tell whether there is a key then.
	err = l.do(s, t.cfg.KeyMaking, func(ctx context.Context, p *process) error {
		var err error
		made, err = p.generate(ctx, wire.Generate{ID: name.ID, Label: name.Label, Algorithm: algorithm})
		if err != nil {
			return fmt.Errorf("generating the key: %w", err)
		}
		return t.inspect(ctx, p, made)
	})
	if err != nil {
		return nil, fmt.Errorf("token %q: %w", t.cfg.Name, err)
	}
	public, err := x509.ParsePKIXPublicKey(made.Public)
	if err != nil {
		return nil, fmt.Errorf("token %q: reading the public key: %w", t.cfg.Name, err)
	}
	return t.Signer(ctx, KeyName{Public: public}, true)
}

// inspect reads back what the token made of the attributes, for some ignore what they do
// not like, and removes a key that is none for a CA.
func (t *Token) inspect(ctx context.Context, p *process, made wire.Key) error {
	attributes, err := p.attributes(ctx, made.Handle)
	if err != nil {
		err = fmt.Errorf("reading the attributes of the new key: %w", err)
	} else if _, err = judge(attributes, t.cfg.Accept, true); err == nil {
		return nil
	}
	if e := p.destroy(ctx, made.Handle); e != nil {
		err = fmt.Errorf("%w (and removing the key failed: %w)", err, e)
	}
	return err
}

// Destroy removes a key pair, from the spare too, after a signature that shows that it is
// that one. ErrNotFound if there is none. It removes nothing while one of the two cannot
// be used.
func (t *Token) Destroy(ctx context.Context, name KeyName) error {
	public := name.Public
	if public == nil {
		var err error
		if public, err = t.Find(ctx, name); err != nil {
			return err
		}
	}
	if err := t.begin(); err != nil {
		return err
	}
	k, fresh, err := t.register(public, false)
	if err != nil {
		return err
	}
	var in []*leg
	for _, l := range t.legs {
		err := l.again(ctx, t.cfg.Attempt, func(ctx context.Context, p *process) error {
			_, err := l.own(ctx, p, k, l.saw(k))
			return err
		})
		switch problem := keyProblem(err); {
		case err == nil:
			in = append(in, l)
			continue
		case problem == ErrNotFound:
			continue
		case problem != nil:
			err = fmt.Errorf("token %q (%s): %w", t.cfg.Name, l.label, problem)
		}
		if fresh {
			t.forget(k)
		}
		return err
	}
	// Nobody looks for it from now on.
	k.gone.Store(true)
	t.forget(k)
	if len(in) == 0 {
		return fmt.Errorf("token %q: %w", t.cfg.Name, ErrNotFound)
	}
	for _, l := range in {
		if err := l.destroy(ctx, k); err != nil {
			k.gone.Store(false)
			return fmt.Errorf("destroying the key in token %q (%s): %w", t.cfg.Name, l.label, err)
		}
		l.log.Info("key destroyed", "key", keyHash(k))
	}
	return nil
}

// own finds the private key of k, which proves that it is by a signature. With there, it
// is in the token: that it is not found is the token's fault.
func (l *leg) own(ctx context.Context, p *process, k *key, there bool) (wire.Key, error) {
	found, err := p.find(ctx, wire.Find{Public: []byte(k.spki)})
	switch {
	case troubleOf(err) == wire.NoKey && there:
		return wire.Key{}, errKeyGone
	case err != nil:
		return wire.Key{}, err
	case string(found.Public) != k.spki:
		return wire.Key{}, errOtherKey
	}
	err = l.testKey(p, k, found.Handle)
	if errors.Is(err, errBadSignature) || troubleOf(err) == wire.BadSignature {
		return wire.Key{}, errOtherPrivate
	}
	return found, err
}

// saw reports whether the leg has seen the key.
func (l *leg) saw(k *key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	lk := l.keys[k]
	return lk != nil && lk.seen
}

// destroy removes a key that is there. It is gone when it is not found after a try.
func (l *leg) destroy(ctx context.Context, k *key) error {
	tried := false
	return l.again(ctx, l.t.cfg.KeyMaking, func(ctx context.Context, p *process) error {
		found, err := l.own(ctx, p, k, !tried)
		if tried && troubleOf(err) == wire.NoKey {
			return nil
		}
		if err != nil {
			return err
		}
		tried = true
		return p.destroy(ctx, found.Handle)
	})
}
