//go:build linux && cgo && !nopkcs11

package token

import (
	"testing"
	"time"

	"mintmark/internal/keystore/faults/shim"
)

// making reports whether a key is being made in the leg.
func making(l *leg) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range []*session{l.cur, l.old} {
		if s == nil {
			continue
		}
		for f := range s.flights {
			if f.key == nil && time.Since(f.began) > 100*time.Millisecond {
				return true
			}
		}
	}
	return false
}

// Signatures that wait for the only session while a key is made there do not end it,
// and neither do test signatures.
func TestMakingIsNotDisturbed(t *testing.T) {
	p := newPair(t, 1)
	token := p.open(t, false, Config{Sessions: 1, KeepAlive: 50 * time.Millisecond, Attempt: 400 * time.Millisecond, Deadline: time.Second})
	s := p.signer(t, token, 0)
	done := make(chan error, 1)
	go func() {
		_, err := token.Create(t.Context(), KeyName{ID: []byte("new"), Label: []byte("new")}, "RSA-4096")
		done <- err
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("making a key: %v", err)
			}
			if n := token.Status().Legs[0].Reopens; len(n) != 0 {
				t.Errorf("opened anew: %v", n)
			}
			eventually(t, "it signs", func() bool { return signOnce(s) == nil })
			return
		default:
		}
		if err := signOnce(s); err != nil && !unavailable(err) {
			t.Errorf("signing meanwhile: %v", err)
		}
	}
}

// Sessions that are lost while a key is made are opened anew in another process: the
// signatures do not wait for it, and it is made.
func TestLossWhileMaking(t *testing.T) {
	p := newPair(t, 1)
	token := p.open(t, false, Config{Sessions: 2, KeepAlive: -1})
	s := p.signer(t, token, 0)
	pid := childOf(t, token.legs[0])
	done := make(chan error, 1)
	go func() {
		_, err := token.Create(t.Context(), KeyName{ID: []byte("new"), Label: []byte("new")}, "RSA-4096")
		done <- err
	}()
	ended := false
	eventually(t, "the key is being made", func() bool { ended = len(done) > 0; return ended || making(token.legs[0]) })
	if ended {
		t.Skip("the key was made too quickly")
	}
	p.primary.SetTimes(shim.Fail, ckrSessionHandleInvalid, 1)
	eventually(t, "it signs in another process", func() bool {
		return signOnce(s) == nil && childOf(t, token.legs[0]) != pid
	})
	if err := <-done; err != nil {
		t.Errorf("making a key: %v", err)
	}
	if n := token.Status().Legs[0].Reopens; n[causeSession] != 1 || len(n) != 1 {
		t.Errorf("opened anew: %v", n)
	}
	eventually(t, "the process in which it was made has ended", func() bool { return gone(pid) })
}

// A key that cannot be looked for in the primary, which makes another one, is used in the
// spare.
func TestSpareWhileMaking(t *testing.T) {
	p := newPair(t, 1)
	token := p.open(t, true, Config{KeepAlive: -1, Attempt: 400 * time.Millisecond, Deadline: 2 * time.Second})
	s := p.signer(t, token, 0)
	primary, spare := token.legs[0], token.legs[1]
	eventually(t, "the spare has the key", func() bool {
		v := spare.view(s.k)
		return v.session != nil && !v.unknown
	})
	primary.mu.Lock()
	delete(primary.cur.handles, s.k)
	primary.cur.enter(&flight{long: true})
	primary.mu.Unlock()
	p.primary.Set(shim.Hang, shim.HangFind)
	if err := signOnce(s); err != nil {
		t.Error(err)
	}
	if n := token.Status().Legs[0].Reopens; !token.onSpare.Load() || len(n) != 0 {
		t.Errorf("the spare signed: %t; opened anew: %v", token.onSpare.Load(), n)
	}
}
