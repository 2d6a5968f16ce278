package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/keystore/token/wire"
)

// openTries is how often a leg is opened without a pause, where the sessions are lost
// while it is.
const openTries = 5

// impatience is how much shorter than Attempt the waiting is for what can be made again
// elsewhere.
const impatience = 10

// freshEvery says after how many failures the library is started anew.
const freshEvery = 3

// believeAfter is how many of them find a key missing that was there before it is
// believed.
const believeAfter = 3

// run opens the leg, and opens it anew when that is asked for, until the token is
// closed.
func (l *leg) run() {
	for {
		timer := time.NewTimer(l.step())
		var died <-chan struct{}
		s := l.current()
		if s != nil {
			died = s.proc.died()
		}
		select {
		case <-l.t.ctx.Done():
			timer.Stop()
			return
		case <-l.wake:
		case <-timer.C:
		case <-died:
			l.crashed(s)
		}
		timer.Stop()
	}
}

func (l *leg) current() *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cur
}

// step does what is due and returns when to look again.
func (l *leg) step() time.Duration {
	l.mu.Lock()
	state, wait := l.state, time.Until(l.retryAt)
	r := l.request
	l.request = nil
	l.parts.expire()
	if state == Idle {
		l.set(Opening, nil)
		state = Opening
	}
	l.mu.Unlock()
	switch {
	case l.t.ctx.Err() != nil:
		if r != nil {
			r.done <- ErrClosed
		}
		return 0
	case r != nil:
		l.mu.Lock()
		l.retire(false)
		if l.state != Opening {
			l.set(Opening, l.err)
		}
		l.mu.Unlock()
		err := l.open(r)
		r.done <- err
	case state == Ready:
		return l.idle()
	case state == Opening || wait <= 0:
		l.open(nil) //nolint:errcheck // it is in the state
	default:
		l.drain() // what the sessions were that failed
		return wait
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == Ready || l.state == Opening {
		return 0
	}
	return time.Until(l.retryAt)
}

// drain waits for the calls under way in the sessions that were given up, and kills the
// process with those that do not end: none may be under way when it is opened anew.
func (l *leg) drain() {
	l.mu.Lock()
	s, cause := l.old, l.cause
	l.old = nil
	making := s != nil && s.making()
	l.mu.Unlock()
	switch {
	case s == nil:
		return
	case s.kill:
	case making:
		l.abandon(s, cause)
		return
	default:
		cause = causeHang
		// What is killed here is made again in the next process, so that patience would
		// only prolong the pause.
		timer := time.NewTimer(l.t.cfg.Attempt / impatience)
		defer timer.Stop()
		select {
		case <-s.idle:
			return
		case <-l.t.ctx.Done():
			return
		case <-s.proc.died():
			cause = causeCrash
		case <-timer.C:
		}
	}
	l.kill(cause)
}

// abandon leaves a process alone until the key is made that is being made in it, so that
// the next opening, which cannot wait for it, is in another.
func (l *leg) abandon(s *session, cause string) {
	if l.proc != s.proc {
		return
	}
	l.proc, l.served = nil, false
	l.t.metrics.restarts.WithLabelValues(l.label, cause).Inc()
	ok := l.t.spawn(func() {
		select {
		case <-s.idle:
		case <-s.proc.died():
		case <-l.t.ctx.Done():
		}
		s.proc.kill()
	})
	if !ok {
		s.proc.kill()
	}
}

// openTime bounds each step of an opening.
func (l *leg) openTime() time.Duration { return max(4*l.t.cfg.Attempt, 6*time.Second) }

// reopenTime does so in a process that has served: one that takes much longer than the
// last opening hangs, for all we know, and a fresh process costs little.
func (l *leg) reopenTime() time.Duration {
	return max(l.t.cfg.Attempt/impatience, impatience*l.took)
}

// open opens the leg and sets its state. r is what an operator asked for, or nil.
func (l *leg) open(r *request) error {
	l.drain()
	l.mu.Lock()
	tries := 1 // it is looked at again and again
	if l.state == Opening && r == nil {
		tries = openTries
	}
	failed := l.failed
	l.mu.Unlock()
	var s *session
	var err error
	for i := range tries {
		served := l.served && r == nil
		limit := l.openTime()
		if served {
			limit = l.reopenTime()
		}
		before, began := l.proc, time.Now()
		s, err = l.tryOpen(limit, r, failed+i >= believeAfter)
		if err == nil {
			l.served, l.took = true, time.Since(began)
		}
		if err == nil || l.t.ctx.Err() != nil {
			break
		}
		cause := lossOf(err)
		l.log.Debug("opening the token failed", "try", i, "error", err)
		// A library that has served and now hangs, or that sees no token after it did
		// anything else, may be in disorder itself: it is believed when it is fresh. Its PIN
		// was good before.
		used := l.proc != nil && l.proc == before
		disorder := used && tries > 1 && (served && cause == causeHang || isAbsent(err))
		if disorder || cause == causeHang || errors.Is(err, errKeyAtFault) || cause != "" && !isAbsent(err) && (failed+i)%freshEvery == freshEvery-1 {
			l.kill(cause) // a fresh library may do better
		}
		if h := (*halt)(nil); errors.As(err, &h) {
			break
		}
		if disorder || errors.Is(err, errKeyAtFault) {
			continue // without that key
		}
		// A login that failed otherwise than by a refusal is not repeated at once.
		if cause == "" || cause == causeHang || cause == causeDistrust || isAbsent(err) || isLogin(err) && cause != causeSession && cause != causeLibrary {
			break
		}
	}
	if err != nil {
		l.fail(err)
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cur = s
	l.failed = 0
	l.test = false
	if l.state != Ready {
		l.log.Info("the token is open", "cause", l.cause, "sessions", l.info.Sessions, "label", l.info.Label, "serial", l.info.Serial)
	}
	l.set(Ready, nil)
	return nil
}

// kill ends the process, so that the next opening starts another.
func (l *leg) kill(cause string) {
	if l.proc == nil {
		return
	}
	l.proc.kill()
	l.proc, l.served = nil, false
	l.t.metrics.restarts.WithLabelValues(l.label, cause).Inc()
}

// failure is a kind of failures to open a leg: the state that they end in, and the longest
// pause after them.
type failure struct {
	state State
	last  time.Duration
}

// fail notes that the leg could not be opened.
func (l *leg) fail(err error) {
	if l.t.ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	state, wait := Failing, absentProbe
	var first, last time.Duration // of the pauses, where they grow
	var h *halt
	switch {
	case errors.As(err, &h):
		state, wait = h.state, haltProbe
	case isAbsent(err):
		state = Absent
	case isLogin(err):
		first, last = haltProbe, 2*time.Minute
	case lossOf(err) == causeHang || lossOf(err) == causeCrash || errors.Is(err, errBadSignature):
		first, last = firstPause, lastPause
	}
	// Pauses grow with failures of one kind, and an absence is none.
	if kind := (failure{state, last}); l.failure != kind {
		l.failure, l.failed = kind, 0
	}
	if last > 0 {
		wait = pause(l.failed, first, last)
	}
	if state == Failing {
		l.failed++
	}
	if state != Locked {
		// Whatever it was, it is only used again after a signature that verifies.
		l.test = true
	}
	l.retryAt = time.Now().Add(wait)
	if l.state != state || l.err == nil || l.err.Error() != err.Error() {
		l.log.Warn("the token cannot be used", "state", string(state), "error", err)
	}
	l.set(state, err)
}

// tryOpen opens sessions and finds the keys in them. It takes the token's word that a
// key is gone if believe is set. limit bounds each step but the login.
func (l *leg) tryOpen(limit time.Duration, r *request, believe bool) (*session, error) {
	if l.proc != nil {
		select {
		case <-l.proc.died():
			l.kill(causeCrash)
		default:
		}
	}
	if l.proc == nil {
		err := l.within(limit, func(ctx context.Context) (err error) {
			l.proc, err = l.starts.start(ctx)
			return err
		})
		if err != nil {
			l.proc = nil
			return nil, err
		}
	}
	info, err := l.logIn(l.proc, limit, l.t.cfg.Sessions, r)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.info = info
	test := l.test
	if r != nil {
		for _, lk := range l.keys {
			lk.breaker.granted = lk.breaker.tripped()
		}
	}
	l.mu.Unlock()
	s := newSession(l.proc, info.Sessions)
	err = l.within(limit, func(ctx context.Context) error {
		for _, k := range l.t.registered() {
			if err := l.look(ctx, s, k, believe); err != nil && !k.gone.Load() {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if test {
		if err := l.testKeys(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// look finds k in the token and judges it. What is wrong with the key is noted; the
// error is of the token. A key that was there before is only gone if believe is set.
func (l *leg) look(ctx context.Context, s *session, k *key, believe bool) error {
	found, err := s.proc.find(ctx, wire.Find{Public: []byte(k.spki)})
	if err == nil && string(found.Public) != k.spki {
		err = errOtherKey
	}
	var warnings []string
	if err == nil && k.ca.Load() {
		var attributes []wire.Attribute
		if attributes, err = s.proc.attributes(ctx, found.Handle); err == nil {
			warnings, err = judge(attributes, l.t.cfg.Accept, false)
		}
		if err == nil {
			err = l.match(s, k, found.Handle)
		}
	}
	problem := keyProblem(err)
	if err != nil && problem == nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.gone.Load() {
		return ErrNotFound
	}
	lk := l.keyOf(k)
	lk.looked = time.Now()
	if lk.seen && problem == ErrNotFound && !believe {
		return errKeyGone
	}
	// Where nobody else can have it, whoever asks for the key is told.
	told := problem == ErrNotFound && !lk.seen && len(l.t.legs) == 1
	lk.seen = problem == nil
	if problem != nil && lk.problem == nil && !told {
		l.log.Error("a key cannot be used in the token", "key", keyHash(k), "error", problem)
	}
	for _, w := range warnings {
		if len(lk.warnings) == 0 {
			l.log.Warn("the key is not as one that is made here", "key", keyHash(k), "attribute", w)
		}
	}
	lk.problem, lk.warnings = problem, warnings
	delete(s.missing, k)
	delete(s.handles, k)
	if problem != nil {
		s.missing[k] = true
		l.poke() // it is looked for again
	} else {
		s.handles[k] = found.Handle
	}
	return nil
}

// match makes sure, the first time that a key is seen, that it is the private key of k:
// most tokens say which keys are a pair by nothing but an id that they share, and anybody
// can give one twice.
func (l *leg) match(s *session, k *key, handle uint32) error {
	l.mu.Lock()
	lk := l.keyOf(k)
	skip := lk.matches || lk.breaker.suspect()
	l.mu.Unlock()
	if skip {
		return nil
	}
	err := l.testKey(s.proc, k, handle)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch cause := lossOf(err); {
	case err == nil:
		l.keyOf(k).matches = true
		return nil
	case errors.Is(err, errBadSignature) || cause == causeDistrust:
		return errOtherPrivate
	case cause == causeHang:
		// It has never signed here: it is tried again where no other key waits for it.
		l.keyOf(k).breaker.strike(tripAt, "its signatures hang", time.Now())
		return fmt.Errorf("%w: %w", errKeyAtFault, err)
	case cause == causeCrash:
		l.keyOf(k).breaker.strike(crashStrikes, "its signatures end the token's library", time.Now())
		return fmt.Errorf("%w: %w", errKeyAtFault, err)
	case cause == "":
		return nil // a token that refuses to sign says so again, to who wants a signature
	}
	return err
}

// errKeyAtFault says that an opening failed by one key, which was put out of use for it.
var errKeyAtFault = errors.New("a key that was looked at for the first time did not sign")

// keyProblem returns what is wrong with a key, or nil if err is about something else.
func keyProblem(err error) error {
	switch {
	case errors.Is(err, ErrPolicy):
		return err
	case troubleOf(err) == wire.NoKey:
		return ErrNotFound
	case troubleOf(err) == wire.ManyKeys, troubleOf(err) == wire.BadKey:
		return fmt.Errorf("finding the key: %w", err)
	}
	return nil
}

// end gives up the leg for ever. run has returned.
func (l *leg) end() {
	l.mu.Lock()
	l.retire(true)
	l.old = nil
	l.parts.wipe()
	l.typed.wipe()
	l.typed = nil
	if r := l.request; r != nil {
		r.done <- ErrClosed
		l.request = nil
	}
	l.set(Idle, ErrClosed)
	l.mu.Unlock()
	l.t.cfg.Claims.release(l)
	l.starts.close()
	if l.proc != nil {
		l.proc.kill()
		l.proc = nil
	}
}
