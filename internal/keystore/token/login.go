package token

import (
	"context"
	"fmt"

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

// logIn opens sessions in p. It looks at the flags of the token first, tries no PIN
// that was refused before, and remembers one that is refused now before anybody else
// can try it.
func (l *leg) logIn(ctx context.Context, p *process, sessions int, r *request) (wire.Token, error) {
	l.login.Lock()
	defer l.login.Unlock()
	info, err := p.probe(ctx, l.src.Module, l.src.Token)
	if err != nil {
		return wire.Token{}, err
	}
	switch {
	case info.Flags&ckfUserPINLocked != 0:
		return wire.Token{}, refusedf("%w: its PIN is locked after too many wrong ones: the security officer of the token must set it anew", ErrPIN)
	case info.Flags&ckfUserPINInitialized == 0 && !l.src.Pad:
		return wire.Token{}, refusedf("no user PIN has been set in the token")
	case info.Flags&ckfUserPINFinalTry != 0 && (r == nil || !r.finalTry):
		return wire.Token{}, refusedf("%w before, and one more wrong one locks it: make sure of the PIN, then say %s --final-try", ErrPIN, l.unlockCommand())
	}
	o := &wire.Open{Module: l.src.Module, Token: l.src.Token, Sessions: sessions, Login: wire.LoginPIN}
	version := ""
	switch {
	case l.src.Pad:
		if r == nil {
			return wire.Token{}, &halt{Locked, fmt.Errorf("somebody must come to its PIN pad: %s", l.unlockCommand())}
		}
		if info.Flags&ckfProtectedPath == 0 {
			return wire.Token{}, refusedf("the token does not ask for its PIN itself: configure where the PIN comes from")
		}
		o.Login = wire.LoginPad
	case l.src.PIN != nil:
		if o.PIN, version, err = l.configuredPIN(r); err != nil {
			return wire.Token{}, err
		}
	default:
		if o.PIN, err = l.typedPIN(r); err != nil {
			return wire.Token{}, err
		}
	}
	defer clear(o.PIN)
	info, err = p.open(ctx, o)
	switch {
	case isRefusedPIN(err):
		return wire.Token{}, l.refusedPIN(version, err)
	case err != nil:
		return wire.Token{}, err
	}
	if r != nil {
		l.accept(r)
	}
	return info, nil
}

// configuredPIN reads the PIN, unless it is one that was refused.
func (l *leg) configuredPIN(r *request) (pin []byte, version string, err error) {
	pin, version, err = l.src.PIN()
	if err == nil && len(pin) == 0 {
		err = fmt.Errorf("it is empty")
	}
	if err == nil && len(pin) > maxPIN {
		err = fmt.Errorf("it is longer than %d bytes", maxPIN)
	}
	if err != nil {
		clear(pin)
		return nil, "", fmt.Errorf("reading the PIN: %w", err)
	}
	if r != nil && r.again {
		return pin, version, nil
	}
	l.mu.Lock()
	refused := l.refused == version
	l.mu.Unlock()
	if !refused && l.t.cfg.Refused != nil {
		refused, err = l.t.cfg.Refused.Refused(l.name, version)
		if err != nil {
			clear(pin)
			return nil, "", refusedf("whether its PIN was refused before cannot be told: %w", err)
		}
	}
	if refused {
		clear(pin)
		return nil, "", refusedf("%w before and is not asked again, or it would lock: correct the PIN, or say %s --again", ErrPIN, l.unlockCommand())
	}
	return pin, version, nil
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
		return nil, &halt{Locked, fmt.Errorf("it waits for its PIN: %s", l.unlockCommand())}
	}
	return typed.copy()
}

// refusedPIN remembers that the PIN was refused.
func (l *leg) refusedPIN(version string, err error) error {
	l.t.metrics.refused.Inc()
	l.mu.Lock()
	if version != "" {
		l.refused = version
	}
	l.typed.wipe()
	l.typed = nil
	l.mu.Unlock()
	err = fmt.Errorf("%w: %w", ErrPIN, err)
	if version == "" {
		return &halt{Locked, fmt.Errorf("%w: once it is known, say %s", err, l.unlockCommand())}
	}
	if l.t.cfg.Refused != nil {
		if e := l.t.cfg.Refused.Put(l.name, version); e != nil {
			l.log.Error("that the PIN was refused could not be recorded: a restart would try it again", "error", e)
		}
	}
	return &halt{Refused, err}
}

// accept keeps the PIN that an operator typed, for when sessions are lost, and forgets
// the refusal of one that an operator had tried once more.
func (l *leg) accept(r *request) {
	l.mu.Lock()
	if r.pin != nil {
		l.typed.wipe()
		l.typed, r.pin = r.pin, nil
	}
	l.refused = ""
	l.mu.Unlock()
	if r.again && l.src.PIN != nil && l.t.cfg.Refused != nil {
		if err := l.t.cfg.Refused.Drop(l.name); err != nil {
			l.log.Error("forgetting that the PIN was refused", "error", err)
		}
	}
}
