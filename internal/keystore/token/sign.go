package token

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"time"

	"mintmark/internal/keystore/token/wire"
)

const (
	// maxCalls bounds the calls of the library for one signature, with those that were
	// given up because of another call.
	maxCalls = 16
	// maxFailures is how often one signature is tried in a leg.
	maxFailures = 6
	// grace is how long a signature waits for the primary to be opened anew before it
	// takes the spare.
	grace = 250 * time.Millisecond
)

// Signer is a key in a token. It may be used concurrently.
type Signer struct {
	t *Token
	k *key
}

var _ crypto.Signer = (*Signer)(nil)

// Public returns the public key.
func (s *Signer) Public() crypto.PublicKey { return s.k.public }

// Sign signs a digest of SHA-256, SHA-384 or SHA-512: ECDSA as ASN.1 DER, RSA with
// PKCS #1 v1.5. It returns within Config.Deadline, with an *UnavailableError when no
// token can sign at the moment, and with what the token says of the key or the digest
// where it refuses them. It does not verify the signature.
func (s *Signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	mechanism, input, err := inputOf(s.k.public, digest, opts)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	signature, err := s.t.sign(s.k, mechanism, input)
	s.t.metrics.seconds.Observe(time.Since(began).Seconds())
	return signature, err
}

// Ready returns what Sign would fail with at once, or nil.
func (s *Signer) Ready() error {
	if s.k.gone.Load() {
		return s.t.destroyed()
	}
	var first error
	for _, l := range s.t.legs {
		v := l.view(s.k)
		if v.session != nil || v.opening && v.age < s.t.cfg.Attempt {
			return nil
		}
		first = worse(first, v.err)
	}
	return first
}

// Distrust says that a signature of the key did not verify: the sessions that it came
// from are opened anew, and not used until a test signature verifies. A token that does
// so several times in a minute is out of use for a while. Of more than the last 256
// signatures it is not known where they came from.
func (s *Signer) Distrust(signature []byte) {
	if o := s.k.of(signature); o.leg != nil {
		o.leg.distrust(o.session)
	}
}

// destroyed is what a signer of a key that was destroyed fails with.
func (t *Token) destroyed() error { return fmt.Errorf("token %q: %w", t.cfg.Name, ErrNotFound) }

// sign makes one signature, in whatever leg can.
func (t *Token) sign(k *key, mechanism wire.Mechanism, input []byte) ([]byte, error) {
	if k.gone.Load() {
		return nil, t.destroyed()
	}
	// No call begins later than an attempt before the deadline, so that one that does
	// not end in time can be told to hang.
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.Deadline-t.cfg.Attempt)
	defer cancel()
	var failures [2]int
	var skip [2]bool
	var last error
	for range maxCalls {
		if skip[0] && (skip[1] || len(t.legs) == 1) {
			break
		}
		i, v, err := t.pick(ctx, k, skip)
		if err != nil {
			return nil, t.failed(worse(err, last))
		}
		l := t.legs[i]
		signature, err := l.sign(ctx, v, k, mechanism, input)
		if err == nil {
			t.signedBy(l)
			return signature, nil
		}
		last = err
		switch {
		case errors.Is(err, errRetired):
		case lossOf(err) == "":
			skip[i] = true // the key or the input is what it errs about
		default:
			failures[i]++
			// Where there is another leg, it is not tried for long.
			if failures[i] >= maxFailures || failures[i] >= 2 && len(t.legs) > 1 && t.legs[1-i].view(k).session != nil {
				skip[i] = true
			}
		}
	}
	return nil, t.failed(last)
}

// failed is what a signature fails with in the end.
func (t *Token) failed(err error) error {
	var u *UnavailableError
	switch {
	case t.ctx.Err() != nil:
		return ErrClosed
	case errors.As(err, &u):
		return err
	case lossOf(err) != "" || errors.Is(err, errRetired) || errors.Is(err, context.DeadlineExceeded):
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("there was no signature within %s", t.cfg.Deadline)
		}
		return &UnavailableError{Token: t.cfg.Name, State: t.legs[0].status().State, Wait: time.Second, Err: err}
	}
	return fmt.Errorf("signing in token %q: %w", t.cfg.Name, err)
}

// worse chooses between the errors of two legs the one from which to see when to ask
// again.
func worse(a, b error) error {
	var u *UnavailableError
	if a == nil || b != nil && !errors.As(a, &u) && errors.As(b, &u) {
		return b
	}
	return a
}

// signedBy notes which leg is in use.
func (t *Token) signedBy(l *leg) {
	if t.onSpare.Load() == l.spare || !t.onSpare.CompareAndSwap(!l.spare, l.spare) {
		return
	}
	if l.spare {
		t.metrics.failovers.Inc()
		l.log.Warn("the spare has taken over")
	} else {
		l.log.Info("the primary signs again")
	}
}

// view is how a leg is for one key.
type view struct {
	session   *session // that has the key, or may have it
	handle    uint32
	unknown   bool // it is not known whether it has
	suspect   bool
	opening   bool
	impatient bool // the opening may take longer than a signature should wait
	age       time.Duration
	changed   <-chan struct{}
	err       error // why it cannot sign at the moment
}

func (l *leg) view(k *key) view {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := view{changed: l.changed}
	lk := l.keys[k]
	tripped := lk != nil && lk.breaker.tripped()
	switch {
	case tripped:
		wait := max(time.Second, time.Until(lk.breaker.until).Round(time.Second))
		v.err = &UnavailableError{Token: l.t.cfg.Name, State: Failing, Wait: wait, Err: fmt.Errorf("the key is out of use: %s", lk.breaker.reason)}
	case l.state == Ready && l.cur != nil:
		handle, has := l.cur.handles[k]
		if !has && l.cur.missing[k] {
			v.err = fmt.Errorf("token %q: %w", l.t.cfg.Name, lk.problem)
			return v
		}
		v.session, v.handle, v.unknown = l.cur, handle, !has
		v.suspect = lk != nil && lk.breaker.suspect()
	case l.state == Opening || l.state == Idle:
		v.opening, v.age = true, time.Since(l.since)
		v.impatient = l.cause == causeHang || l.cause == causeCrash
		v.err = l.unavailable()
	default:
		v.err = l.unavailable()
	}
	return v
}

// pick returns a leg that can sign with k, the primary if it can, and waits for one
// that is being opened until ctx ends.
func (t *Token) pick(ctx context.Context, k *key, skip [2]bool) (int, view, error) {
	for {
		var changed [2]<-chan struct{}
		var first error
		timer := time.Duration(-1)
		for i, l := range t.legs {
			if skip[i] {
				continue
			}
			v := l.view(k)
			switch {
			case v.session != nil && v.unknown:
				err := l.resolve(v.session, k)
				if ctx.Err() != nil {
					return 0, view{}, worse(first, ctx.Err())
				}
				if err != nil && !errors.Is(err, errRetired) && lossOf(err) == "" {
					first = worse(first, err) // another leg may know the key
					continue
				}
				v = l.view(k)
				if v.session == nil || v.unknown {
					closed := make(chan struct{})
					close(closed)
					changed[i] = closed // look again
					continue
				}
				return i, v, nil
			case v.session != nil:
				return i, v, nil
			case v.opening:
				changed[i] = v.changed
				if !v.impatient && v.age < grace && i == 0 && len(t.legs) > 1 {
					timer = grace - v.age
				}
			}
			first = worse(first, v.err)
			if timer >= 0 {
				break // the spare is not needed yet
			}
		}
		if changed[0] == nil && changed[1] == nil {
			if first == nil {
				first = errRetired
			}
			return 0, view{}, first
		}
		var patience <-chan time.Time
		var stop func() bool
		if timer >= 0 {
			t := time.NewTimer(timer)
			patience, stop = t.C, t.Stop
		}
		select {
		case <-changed[0]:
		case <-changed[1]:
		case <-patience:
		case <-ctx.Done():
			return 0, view{}, worse(first, ctx.Err())
		}
		if stop != nil {
			stop()
		}
	}
}

// sign makes one call for a signature in the session of v.
func (l *leg) sign(ctx context.Context, v view, k *key, mechanism wire.Mechanism, input []byte) ([]byte, error) {
	s := v.session
	if v.suspect {
		select {
		case l.probation <- struct{}{}:
			defer func() { <-l.probation }()
		case <-s.retired:
			return nil, errRetired
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if l.view(k).session != s {
			return nil, errRetired // it went wrong for the one before
		}
	}
	select {
	case s.slots <- struct{}{}:
	case <-s.retired:
		return nil, errRetired
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.slots }()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	last, _ := ctx.Deadline()
	signature, result, err := l.call(s, v.handle, k, v.suspect, last.Add(l.t.cfg.Attempt), mechanism, input)
	l.t.metrics.signatures.WithLabelValues(l.label, result).Inc()
	if err == nil && s.gone() && verifiesInput(k.public, input, signature) != nil {
		// What a library signs while its sessions are taken away from it may be anything.
		return nil, errRetired
	}
	if err == nil {
		k.put(signature, l, s)
	}
	return signature, err
}

// call makes one call for a signature, and says what came of it. It hangs if it takes
// longer than an attempt, and is given up at the deadline.
func (l *leg) call(s *session, handle uint32, k *key, suspect bool, deadline time.Time, mechanism wire.Mechanism, input []byte) (signature []byte, result string, err error) {
	ctx, cancel := context.WithDeadline(l.t.ctx, deadline)
	defer cancel()
	f := &flight{key: k, probation: suspect, cancel: cancel}
	if !l.launch(s, f) {
		return nil, "lost", errRetired
	}
	defer func() { l.land(s, f, err == nil) }()
	signature, err = s.proc.sign(ctx, wire.Sign{Handle: handle, Mechanism: mechanism, Input: input})
	if err == nil {
		l.used.Store(time.Now().UnixNano())
		return signature, "ok", nil
	}
	if f.late.Load() {
		err = hung(ctx, err)
	}
	result, err = l.blame(s, f, err)
	return nil, result, err
}

// blame does what the error of the call f in s asks for. It returns the label of it, and
// what to say to the caller.
func (l *leg) blame(s *session, f *flight, err error) (string, error) {
	switch cause := lossOf(err); {
	case l.t.ctx.Err() != nil:
	case cause == causeCrash && s.gone():
		return "lost", errRetired // on account of another call: it is made again
	case cause == causeCrash:
		l.crashed(s)
		return "crash", errRetired
	case cause == causeHang:
		if !l.hangs(s, f) {
			return "error", &UnavailableError{Token: l.t.cfg.Name, State: Ready, Wait: time.Second, Err: errMaking}
		}
		return "hang", err
	case cause == causeDistrust:
		l.distrust(s)
	case cause != "":
		l.lose(s, cause, err)
		return "lost", err
	}
	return "error", err
}
