package token

import (
	"context"
	"crypto"
	"crypto/rand"
	"fmt"
	"time"

	"mintmark/internal/keystore/token/wire"
)

// idle does what is due while the leg is ready: test signatures and trials. It returns
// when to look again.
func (l *leg) idle() time.Duration {
	now := time.Now()
	l.mu.Lock()
	s, busy := l.cur, l.busy
	next := time.Hour
	var trial *key
	for k, lk := range l.keys {
		if !lk.breaker.tripped() || l.src.Pad {
			continue // nobody is at the pad
		}
		if wait := lk.breaker.until.Sub(now); wait > 0 {
			next = min(next, wait)
		} else {
			trial = k
		}
	}
	keepAlive := l.t.cfg.KeepAlive
	due := false
	if keepAlive > 0 {
		wait := keepAlive - now.Sub(time.Unix(0, max(l.used.Load(), l.since.UnixNano())))
		due = wait <= 0
		next = min(next, max(wait, 0))
	}
	if s == nil {
		l.mu.Unlock()
		return 0
	}
	if busy {
		l.mu.Unlock()
		return max(next, 100*time.Millisecond) // it pokes when it is done
	}
	if trial == nil && !due {
		l.mu.Unlock()
		return next
	}
	l.busy = true
	l.mu.Unlock()
	done := func() {
		l.mu.Lock()
		l.busy = false
		l.mu.Unlock()
		l.poke()
	}
	ok := l.t.spawn(func() {
		defer done()
		if trial != nil {
			l.trial(trial)
		} else {
			l.keepAlive(s)
		}
	})
	if !ok {
		done()
	}
	return max(next, 100*time.Millisecond)
}

// keepAlive makes a test signature with each key, so that a token that was lost while
// nobody wanted anything is opened anew before somebody does.
func (l *leg) keepAlive(s *session) {
	for _, k := range l.t.registered() {
		v := l.view(k)
		if v.session == nil && v.err != nil && l.lacks(s, k) {
			l.resolve(s, k) //nolint:errcheck // it may have been copied there since
			continue
		}
		if v.session != s {
			continue
		}
		if v.unknown {
			if l.resolve(s, k) != nil {
				return
			}
			if v = l.view(k); v.session != s || v.unknown {
				continue
			}
		}
		digest, mechanism, input, err := testInput(k.public)
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(l.t.ctx, l.t.cfg.Deadline)
		signature, err := l.sign(ctx, v, k, mechanism, input)
		cancel()
		if err == nil && verifies(k.public, digest, signature) != nil {
			l.distrust(s)
			return
		}
		if err != nil {
			l.log.Warn("a test signature failed", "key", keyHash(k), "error", err)
			return
		}
	}
	l.used.Store(time.Now().UnixNano())
}

// lacks reports whether the key was looked for in s and cannot be used.
func (l *leg) lacks(s *session, k *key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cur == s && s.missing[k]
}

// testKeys makes a test signature with each key before s is used.
func (l *leg) testKeys(s *session) error {
	var good int
	var bad []*key
	for k, handle := range s.handles {
		l.mu.Lock()
		tripped := l.keyOf(k).breaker.tripped()
		l.mu.Unlock()
		if tripped {
			continue
		}
		err := l.testKey(s, k, handle)
		switch {
		case err == errHung:
			l.mu.Lock()
			l.keyOf(k).breaker.strike(tripAt, "its signatures hang", time.Now())
			l.mu.Unlock()
			return err
		case lossOf(err) == causeCrash:
			l.mu.Lock()
			l.keyOf(k).breaker.strike(crashStrikes, "its signatures end the token's library", time.Now())
			l.mu.Unlock()
			return err
		case err == errBadSignature || troubleOf(err) == wire.BadSignature:
			bad = append(bad, k)
		case err != nil:
			return err
		default:
			good++
		}
	}
	if len(bad) > 0 && good == 0 {
		return errBadSignature
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range bad {
		l.keyOf(k).breaker.strike(tripAt, errBadSignature.Error(), time.Now())
	}
	return nil
}

// testKey makes one test signature and verifies it.
func (l *leg) testKey(s *session, k *key, handle uint32) error {
	digest, mechanism, input, err := testInput(k.public)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(l.t.ctx, l.t.cfg.Attempt)
	defer cancel()
	signature, err := s.proc.sign(ctx, wire.Sign{Handle: handle, Mechanism: mechanism, Input: input})
	if err != nil {
		return hung(ctx, err)
	}
	return verifies(k.public, digest, signature)
}

// testInput makes what a test signature is over: random, so that it is of no use.
func testInput(public crypto.PublicKey) (digest []byte, mechanism wire.Mechanism, input []byte, err error) {
	digest = make([]byte, crypto.SHA256.Size())
	rand.Read(digest)
	mechanism, input, err = inputOf(public, digest, crypto.SHA256)
	return digest, mechanism, input, err
}

// trial tries a key that is out of use, in a process of its own: if it still hangs,
// nothing else does.
func (l *leg) trial(k *key) {
	err := l.try(k)
	l.mu.Lock()
	defer l.mu.Unlock()
	lk := l.keys[k]
	if lk == nil || !lk.breaker.tripped() {
		return
	}
	if err != nil {
		lk.breaker.again(time.Now())
		l.log.Warn("a key stays out of use", "key", keyHash(k), "error", err)
		return
	}
	lk.breaker.signed()
	l.log.Info("a key is in use again", "key", keyHash(k))
	l.set(l.state, l.err)
}

func (l *leg) try(k *key) error {
	ctx, cancel := context.WithTimeout(l.t.ctx, l.openTime())
	defer cancel()
	p, err := startProcess(ctx, l.t.cfg.Command, l.log)
	if err != nil {
		return err
	}
	defer p.kill()
	if _, err := l.logIn(ctx, p, 1, nil); err != nil {
		return fmt.Errorf("opening the token to try it: %w", err)
	}
	s := newSession(p, 1)
	found, err := p.find(ctx, wire.Find{Public: []byte(k.spki)})
	if err != nil {
		return err
	}
	return l.testKey(s, k, found.Handle)
}
