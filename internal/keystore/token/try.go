package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/keystore/token/wire"
)

// typedPauses are how long no further PIN is taken after one that people typed and the
// token did not take, the last one from then on. Tokens lock after a few.
var typedPauses = [...]time.Duration{10 * time.Second, time.Minute, 10 * time.Minute, time.Hour}

// tryPIN makes one login. That a PIN which is not known to be good is tried is recorded
// before it is, and the record taken back when it turns out to be good, or not to have
// been looked at: whatever else becomes of the login, or of this process, it is not
// repeated.
func (l *leg) tryPIN(p *process, c *credential, r *request) error {
	if c.version != "" && !c.known {
		if err := l.record(c); err != nil {
			return refusedf("that its PIN is tried cannot be recorded, so that it is not: %w", err)
		}
	}
	ctx, cancel := l.loginContext(c)
	defer cancel()
	err := hung(ctx, p.login(ctx, &c.Login))
	switch {
	case err == nil:
		l.accept(c, r)
		return nil
	case isRefusedPIN(err):
		return l.refusedPIN(c, err)
	case isUntried(err):
		l.takeBack(c)
		return err
	case c.known:
		return err
	}
	return l.inDoubt(c, err)
}

// loginContext bounds a login. Tokens answer a wrong PIN slowly at times, and who does
// not wait for the answer cannot tell; it is waited for also when the server ends, or
// the next start would not try a good PIN.
func (l *leg) loginContext(c *credential) (context.Context, context.CancelFunc) {
	switch {
	case c.Pad:
		return context.WithTimeout(l.t.ctx, l.t.cfg.KeyMaking)
	case c.known:
		return context.WithTimeout(l.t.ctx, l.t.cfg.Attempt)
	}
	return context.WithTimeout(context.WithoutCancel(l.t.ctx), l.openTime())
}

// isUntried reports whether err says that no PIN was looked at, because of the state in
// which the library or the session was when C_Login was called (PKCS #11 v2.40, base
// specification, Section 5.1).
func isUntried(err error) bool {
	if troubleOf(err) != 0 {
		return true
	}
	var e *wire.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case ckrSessionClosed, ckrSessionHandleInvalid, ckrTokenNotPresent, ckrCryptokiNotInitialized:
		return true
	}
	return false
}

// record notes, durably, that a version of the PIN is tried.
func (l *leg) record(c *credential) error {
	if !c.recorded && l.t.cfg.Refused != nil {
		if err := l.t.cfg.Refused.Put(l.name, c.version); err != nil {
			return err
		}
	}
	l.mu.Lock()
	l.refused = c.version
	l.mu.Unlock()
	return nil
}

// takeBack undoes record, but for a version that was on record before.
func (l *leg) takeBack(c *credential) {
	if c.version == "" || c.known || c.recorded {
		return
	}
	l.mu.Lock()
	l.refused = ""
	l.mu.Unlock()
	l.drop(c.version)
}

func (l *leg) drop(version string) {
	if l.t.cfg.Refused == nil {
		return
	}
	if err := l.t.cfg.Refused.Drop(l.name, version); err != nil {
		l.log.Error("forgetting that the PIN was tried: the next start of the server will not try it", "error", err)
	}
}

// accept notes that the PIN is good, and keeps one that operators typed for when
// sessions are lost.
func (l *leg) accept(c *credential, r *request) {
	l.mu.Lock()
	if r != nil && r.pin != nil {
		l.typed.wipe()
		l.typed, r.pin = r.pin, nil
	}
	l.refused, l.accepted = "", c.version
	l.wrong, l.nextTyped = 0, time.Time{}
	l.mu.Unlock()
	if c.version != "" && !c.known {
		l.drop(c.version)
	}
}

// refusedPIN remembers that the PIN was refused.
func (l *leg) refusedPIN(c *credential, err error) error {
	l.t.metrics.refused.Inc()
	err = fmt.Errorf("%w: %w", ErrPIN, err)
	if c.known && c.version != "" {
		// It was good before, and is not on record yet.
		if e := l.record(c); e != nil {
			l.log.Error("that the PIN was refused could not be recorded: a restart would try it again", "error", e)
		}
	}
	l.mu.Lock()
	l.accepted = ""
	l.mu.Unlock()
	return l.lockedOut(c, err)
}

// inDoubt is what comes of a login of which nobody knows whether the PIN was wrong.
func (l *leg) inDoubt(c *credential, err error) error {
	return l.lockedOut(c, fmt.Errorf("logging in failed, which may have counted as a wrong PIN, and is not tried again: %w", err))
}

// lockedOut forgets the PIN that operators typed, and says what they can do.
func (l *leg) lockedOut(c *credential, err error) error {
	if c.version != "" {
		// The record was made before.
		return &halt{Refused, fmt.Errorf("%w: %s", err, l.correct())}
	}
	l.mu.Lock()
	l.typed.wipe()
	l.typed = nil
	if !c.Pad {
		l.nextTyped = time.Now().Add(typedPauses[min(l.wrong, len(typedPauses)-1)])
		l.wrong++
	}
	l.mu.Unlock()
	return &halt{Locked, fmt.Errorf("%w: once it is known, %s", err, l.advice(""))}
}
