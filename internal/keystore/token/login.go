package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/keystore/token/wire"
)

// halt is an error that only a person can end.
type halt struct {
	state State // Locked or Refused
	err   error
}

func (h *halt) Error() string { return h.err.Error() }
func (h *halt) Unwrap() error { return h.err }

func refusedf(format string, args ...any) error {
	return &halt{Refused, fmt.Errorf(format, args...)}
}

// credential is what one login is made with.
type credential struct {
	wire.Login
	version string // of a configured PIN
	// known: this process has logged in with it before. A login with one that is not
	// known is one try of a wrong PIN, for all that can be told until it is answered.
	known bool
	// recorded: the version is among those that are not tried again already, and an
	// operator wants it tried once more.
	recorded bool
}

// logIn opens sessions in p and logs in. It looks at the flags of the token first, and
// tries no PIN of which it is not sure that it was not tried before. limit bounds each
// step before the login itself.
func (l *leg) logIn(p *process, limit time.Duration, sessions int, r *request) (info wire.Token, err error) {
	l.login.Lock()
	defer l.login.Unlock()
	err = l.within(limit, func(ctx context.Context) (err error) {
		info, err = p.probe(ctx, l.src.Module, l.src.Token)
		return err
	})
	if err == nil {
		err = l.admit(info, r)
	}
	if err != nil {
		return wire.Token{}, err
	}
	c, err := l.credential(r)
	if err != nil {
		return wire.Token{}, err
	}
	defer clear(c.PIN)
	err = l.within(limit, func(ctx context.Context) (err error) {
		info, err = p.open(ctx, &wire.Open{Module: l.src.Module, Token: l.src.Token, Sessions: sessions})
		return err
	})
	if err == nil {
		err = l.tryPIN(p, c, r)
	}
	if err != nil {
		return wire.Token{}, err
	}
	return info, nil
}

// within bounds a step of an opening.
func (l *leg) within(limit time.Duration, step func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(l.t.ctx, limit)
	defer cancel()
	return hung(ctx, step(ctx))
}

// admit refuses a token in which no login may be tried.
func (l *leg) admit(info wire.Token, r *request) error {
	if other := l.t.cfg.Claims.take(l, info); other != "" {
		return refusedf("it is the token of %s, too (serial number %q): a token is configured once", other, info.Serial)
	}
	switch {
	case info.Flags&ckfUserPINLocked != 0:
		return refusedf("%w: its PIN is locked after too many wrong ones: the security officer of the token must set it anew", ErrPIN)
	case info.Flags&ckfUserPINInitialized == 0 && !l.src.Pad:
		return refusedf("no user PIN has been set in the token")
	case info.Flags&ckfUserPINFinalTry != 0 && (r == nil || !r.finalTry):
		return refusedf("%w before, and one more wrong one locks it: make sure of the PIN, then %s", ErrPIN, l.advice(finalTry))
	case l.src.Pad && r == nil:
		return &halt{Locked, fmt.Errorf("somebody must come to its PIN pad: %s", l.advice(""))}
	case l.src.Pad && info.Flags&ckfProtectedPath == 0:
		return refusedf("the token does not ask for its PIN itself: configure where the PIN comes from")
	}
	return nil
}

// credential returns what to log in with. The caller wipes its PIN.
func (l *leg) credential(r *request) (c *credential, err error) {
	switch {
	case l.src.Pad:
		return &credential{Login: wire.Login{Pad: true}}, nil
	case l.src.PIN != nil:
		return l.configuredPIN(r)
	}
	c = &credential{known: r == nil}
	c.PIN, err = l.typedPIN(r)
	return c, err
}

// configuredPIN reads the PIN, unless it is one that is not to be tried.
func (l *leg) configuredPIN(r *request) (*credential, error) {
	pin, version, err := l.src.PIN()
	if err == nil && len(pin) == 0 {
		err = errors.New("it is empty")
	}
	if err == nil && len(pin) > maxPIN {
		err = fmt.Errorf("it is longer than %d bytes", maxPIN)
	}
	if err != nil {
		clear(pin)
		return nil, fmt.Errorf("reading the PIN: %w", err)
	}
	c := &credential{Login: wire.Login{PIN: pin}, version: version}
	l.mu.Lock()
	c.known = version != "" && version == l.accepted
	c.recorded = version != "" && version == l.refused
	l.mu.Unlock()
	if !c.recorded && !c.known && l.t.cfg.Refused != nil {
		if c.recorded, err = l.t.cfg.Refused.Refused(l.name, version); err != nil {
			clear(pin)
			return nil, refusedf("whether its PIN was refused before cannot be told: %w", err)
		}
	}
	if c.recorded && (r == nil || !r.again) {
		clear(pin)
		return nil, refusedf("%w before, or did not say, and is not asked again, or it would lock: %s", ErrPIN, l.correct())
	}
	return c, nil
}

// typedPIN returns a copy of the PIN that operators type, or typed before.
func (l *leg) typedPIN(r *request) ([]byte, error) {
	if r != nil {
		l.mu.Lock()
		pin := r.pin
		l.mu.Unlock()
		return pin.copy()
	}
	l.mu.Lock()
	typed := l.typed
	l.mu.Unlock()
	if typed == nil {
		return nil, &halt{Locked, fmt.Errorf("it waits for its PIN: %s", l.advice(""))}
	}
	return typed.copy()
}
