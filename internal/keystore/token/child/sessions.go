//go:build linux && cgo && !nopkcs11

package child

import (
	"errors"
	"sync"

	"github.com/miekg/pkcs11"

	"mintmark/internal/keystore/token/wire"
)

// session is a session with the token. One thread uses it at a time.
type session struct {
	handle pkcs11.SessionHandle
	keys   map[uint32]pkcs11.ObjectHandle // where the private keys are for it
	lost   bool                           // it returned an error that is not one of the input
}

// pool hands out sessions. A session that is lost never comes back: the next Open
// replaces them all.
type pool struct {
	mu   sync.Mutex
	idle sync.Cond
	free []*session
	size int // at the beginning
	live int
}

// openSessions opens n sessions, or as many as the token has.
func (l *library) openSessions(n int) (*pool, error) {
	p := new(pool)
	p.idle.L = &p.mu
	for range n {
		s, err := l.openSession(pkcs11.CKF_SERIAL_SESSION)
		if err != nil {
			if len(p.free) > 0 && hasCode(err, pkcs11.CKR_SESSION_COUNT) {
				break
			}
			return nil, err
		}
		p.free = append(p.free, s)
	}
	p.size = len(p.free)
	p.live = p.size
	return p, nil
}

func (l *library) openSession(flags uint) (*session, error) {
	h, err := l.ctx.OpenSession(l.slot, flags)
	if err != nil {
		return nil, failed("C_OpenSession", err)
	}
	return &session{handle: h, keys: make(map[uint32]pkcs11.ObjectHandle)}, nil
}

// login does what wire.Login says. It calls C_Login once, but for a token that says that
// it is logged in although every session of it was closed. The PIN is wiped. If it fails
// the token is not open any more.
func (l *library) login(r *wire.Login) error {
	defer clear(r.PIN)
	l.opening.Lock()
	defer l.opening.Unlock()
	if l.sessions == nil || len(l.sessions.free) == 0 {
		return trouble(wire.NotOpen, "the token is not open")
	}
	s := l.sessions.free[0]
	var pin []byte // a null pointer asks for a login at the token itself
	if !r.Pad {
		pin = r.PIN
	}
	code := l.functions.login(uint(s.handle), pin)
	if code == pkcs11.CKR_USER_ALREADY_LOGGED_IN {
		// Not by this process, all of whose sessions were closed. Without the PIN being
		// looked at, nobody knows whether it is the right one.
		l.ctx.Logout(s.handle) //nolint:errcheck
		code = l.functions.login(uint(s.handle), pin)
		if code == pkcs11.CKR_USER_ALREADY_LOGGED_IN {
			code = pkcs11.CKR_OK
		}
	}
	if code != pkcs11.CKR_OK {
		l.forget()
		return &wire.Error{Call: "C_Login", Code: code}
	}
	l.user = true
	return nil
}

// use has f use a session, and waits for one to be free.
func (l *library) use(f func(*session) error) error {
	l.opening.RLock()
	defer l.opening.RUnlock()
	p := l.sessions
	if p == nil {
		return trouble(wire.NotOpen, "the token is not open")
	}
	s := p.get()
	if s == nil {
		return &wire.Error{Call: "C_Sign", Code: pkcs11.CKR_SESSION_HANDLE_INVALID}
	}
	err := f(s)
	if err == nil {
		l.worked.Store(true)
	} else if suspicious(err) {
		l.suspect.Store(true)
	}
	p.put(s)
	return err
}

// suspicious reports whether more may be lost than the sessions: a library may go on
// believing in a token, or a list of slots, that was so when it was initialized.
func suspicious(err error) bool {
	var e *wire.Error
	var t *wire.Trouble
	if errors.As(err, &t) {
		return t.Kind != wire.BadRequest
	}
	return errors.As(err, &e) && !inputErrors[e.Code] && !sessionErrors[e.Code]
}

// get returns a free session, or nil if all are lost.
func (p *pool) get() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) == 0 {
		if p.live == 0 {
			return nil
		}
		p.idle.Wait()
	}
	s := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	return s
}

func (p *pool) put(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.lost {
		p.live--
		p.idle.Broadcast() // those who wait may wait in vain
		return
	}
	p.free = append(p.free, s)
	p.idle.Signal()
}

// inputErrors are those that say nothing bad about the session.
var inputErrors = map[uint]bool{
	pkcs11.CKR_DATA_INVALID:               true,
	pkcs11.CKR_DATA_LEN_RANGE:             true,
	pkcs11.CKR_MECHANISM_INVALID:          true,
	pkcs11.CKR_MECHANISM_PARAM_INVALID:    true,
	pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED: true,
	pkcs11.CKR_KEY_TYPE_INCONSISTENT:      true,
	pkcs11.CKR_KEY_SIZE_RANGE:             true,
	pkcs11.CKR_ATTRIBUTE_TYPE_INVALID:     true,
	pkcs11.CKR_ATTRIBUTE_VALUE_INVALID:    true,
	pkcs11.CKR_ATTRIBUTE_SENSITIVE:        true,
	pkcs11.CKR_TEMPLATE_INCOMPLETE:        true,
	pkcs11.CKR_TEMPLATE_INCONSISTENT:      true,
}

// sessionErrors are those of sessions that were closed or logged out.
var sessionErrors = map[uint]bool{
	pkcs11.CKR_OPERATION_NOT_INITIALIZED: true,
	pkcs11.CKR_SESSION_CLOSED:            true,
	pkcs11.CKR_SESSION_HANDLE_INVALID:    true,
	pkcs11.CKR_USER_NOT_LOGGED_IN:        true,
}

// broken returns the error of a call with the session, and takes the session out of
// use unless the error is one of the input.
func (s *session) broken(call string, err error) error {
	if err == nil {
		return nil
	}
	err = failed(call, err)
	var e *wire.Error
	if !errors.As(err, &e) || !inputErrors[e.Code] {
		s.lost = true
	}
	return err
}
