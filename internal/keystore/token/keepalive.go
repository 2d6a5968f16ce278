package token

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/keystore/token/wire"
)

// lookEvery is how often a key is looked for that the token lacks, or has with attributes
// that no CA key may have.
const lookEvery = 2 * time.Second

// idle does what is due while the leg is ready: test signatures, trials, and the search
// for keys that are missing. It returns when to look again.
func (l *leg) idle() time.Duration {
	now := time.Now()
	next := time.Hour
	due := func(when time.Time) bool {
		wait := when.Sub(now)
		if wait > 0 {
			next = min(next, wait)
		}
		return wait <= 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.cur
	if s == nil {
		return 0
	}
	var task func()
	if every := l.t.cfg.KeepAlive; every > 0 && due(time.Unix(0, max(l.used.Load(), l.since.UnixNano())).Add(every)) {
		task = func() { l.keepAlive(s) }
	}
	for k, lk := range l.keys {
		b := &lk.breaker
		switch {
		case b.tripped() && l.src.Pad:
			// Nobody is at the pad for a trial in a process of its own.
			if b.granted && due(b.until) {
				l.half(k)
			}
		case b.tripped():
			if due(b.until) {
				task = func() { l.trial(k) }
			}
		case s.missing[k]:
			if due(lk.looked.Add(lookEvery)) {
				task = func() { l.lookAgain(s, k) }
			}
		}
	}
	if task == nil || l.busy || s.making() {
		return next // it is poked when what is under way has ended
	}
	l.busy = true
	done := func() {
		l.mu.Lock()
		l.busy = false
		l.mu.Unlock()
		l.poke()
	}
	if !l.t.spawn(func() { defer done(); task() }) {
		l.busy = false
	}
	return next
}

// keepAlive makes a test signature with each key, so that a token that was lost while
// nobody wanted anything is opened anew before somebody does.
func (l *leg) keepAlive(s *session) {
	defer func() { l.used.Store(time.Now().UnixNano()) }()
	for _, k := range l.t.registered() {
		v := l.view(k)
		if v.session == s && v.unknown {
			l.resolve(s, k) //nolint:errcheck // it is in the view
			v = l.view(k)
		}
		if v.session != s || v.unknown {
			continue
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
		if err == nil {
			continue
		}
		l.log.Warn("a test signature failed", "key", keyHash(k), "error", err)
		if answer := (*wire.Error)(nil); errors.As(err, &answer) && lossOf(err) == "" {
			l.refuses(k, err)
		}
	}
}

// refuses notes that a token that is well otherwise does not sign with k.
func (l *leg) refuses(k *key, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lk := l.keys[k]; lk != nil {
		lk.refusal = err
	}
}

// lookAgain looks for a key that is missing: it may have been copied there since.
func (l *leg) lookAgain(s *session, k *key) {
	l.mu.Lock()
	if lk := l.keys[k]; lk != nil {
		lk.looked = time.Now()
	}
	l.mu.Unlock()
	l.resolve(s, k) //nolint:errcheck // it is in the status
}

// testKeys makes a test signature with each key before s is used. The error is of the
// token, not of a single key.
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
		err := l.testKey(s.proc, k, handle)
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
		case l.t.ctx.Err() != nil || lossOf(err) != "":
			return err
		case err != nil:
			l.log.Warn("a test signature failed", "key", keyHash(k), "error", err)
			l.refuses(k, err)
		default:
			l.refuses(k, nil)
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
func (l *leg) testKey(p *process, k *key, handle uint32) error {
	digest, mechanism, input, err := testInput(k.public)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(l.t.ctx, l.t.cfg.Attempt)
	defer cancel()
	signature, err := p.sign(ctx, wire.Sign{Handle: handle, Mechanism: mechanism, Input: input})
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
	if isFull(err) {
		l.half(k)
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

// half lets a key that is out of use sign again, where no trial can be made: its next
// signature is the trial. l.mu is held.
func (l *leg) half(k *key) {
	l.keys[k].breaker.half()
	l.log.Info("the next signature with a key is its trial", "key", keyHash(k))
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
	if _, err := l.logIn(p, l.openTime(), 1, nil); err != nil {
		return fmt.Errorf("opening the token to try it: %w", err)
	}
	found, err := p.find(ctx, wire.Find{Public: []byte(k.spki)})
	if err != nil {
		return err
	}
	return l.testKey(p, k, found.Handle)
}
