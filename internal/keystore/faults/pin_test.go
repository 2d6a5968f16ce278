package faults

import (
	"errors"
	"os"
	"testing"

	"mintmark/internal/keystore"
	"mintmark/internal/keystore/faults/shim"
	"mintmark/internal/keystore/token"
	"mintmark/internal/pkitest"
)

// wantRefused wants requests to fail.
func (w *world) wantRefused(t *testing.T, what string, requests int) {
	t.Helper()
	for range requests {
		if err := w.cas["issuing"].TestSign(t.Context()); err == nil {
			t.Fatalf("%s: it signs", what)
		}
	}
}

// TestFaultPIN refuses the PIN. It is asked for once, however many requests come, keys
// are opened and servers started.
func TestFaultPIN(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fail   func(*world)
		logins int64
	}{
		{"refused", func(w *world) { w.Set(shim.Login, ckrPINIncorrect) }, 1},
		{"locked", func(w *world) { w.Set(shim.Login, ckrPINLocked) }, 1},
		{"wrong", func(w *world) { w.pin(t, "00000000") }, 1},
		{"the last try", func(w *world) { w.Set(shim.FlagsOn, ckfUserPINFinalTry) }, 0},
		{"known to be locked", func(w *world) { w.Set(shim.FlagsOn, ckfUserPINLocked) }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, false, nil)
			w.Set(shim.LockAfter, 3)
			tt.fail(w)
			before := w.Get(shim.Logins)
			for range 3 { // servers
				w.reopen(t)
				w.wantRefused(t, tt.name, 5)
			}
			if n := w.Get(shim.Logins) - before; n != tt.logins {
				t.Errorf("%d logins, want %d", n, tt.logins)
			}
			if tt.logins == 0 {
				return
			}
			// Another PIN is another question.
			w.Set(shim.Login, 0)
			w.pin(t, pkitest.SoftHSMPIN)
			w.reopen(t)
			w.must(t, "issuing")
			if n := w.Get(shim.Logins) - before; n != tt.logins+1 {
				t.Errorf("%d logins, want %d", n, tt.logins+1)
			}
		})
	}
}

// pin writes another file in the place of the one with the PIN.
func (w *world) pin(t testing.TB, pin string) {
	t.Helper()
	if err := os.WriteFile(w.pinFile+".new", []byte(pin+"\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(w.pinFile+".new", w.pinFile); err != nil {
		t.Fatal(err)
	}
}

// TestFaultPINLater refuses the PIN when sessions are opened anew.
func TestFaultPINLater(t *testing.T) {
	w := newWorld(t, false, nil)
	w.must(t, "issuing")
	w.Set(shim.Login, ckrPINIncorrect)
	logins := w.Get(shim.Logins)
	if _, err := w.Wipe(shim.CloseAllSessions, patience); err != nil {
		t.Fatal(err)
	}
	w.wantRefused(t, "after the wipe", 5)
	if err := w.cas["issuing"].TestSign(t.Context()); !errors.Is(err, keystore.ErrPIN) {
		t.Errorf("the error is %v, not that the PIN was refused", err)
	}
	for range 2 {
		w.reopen(t)
		w.wantRefused(t, "after the restart", 3)
	}
	if n := w.Get(shim.Logins) - logins; n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	// An operator who has seen to it says so.
	w.Set(shim.Login, 0)
	w.unlock(t, token.Unlock{By: "alice", Again: true})
	eventually(t, "the token signs", func() bool { return w.cas["issuing"].TestSign(t.Context()) == nil })
	if n := w.Get(shim.Logins) - logins; n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
}

// TestFaultPINSpare: the spare serves while the primary refuses the PIN.
func TestFaultPINSpare(t *testing.T) {
	w := newWorld(t, true, nil)
	w.Set(shim.Login, ckrPINLocked)
	logins := w.Get(shim.Logins)
	for range 2 {
		w.reopen(t)
		w.must(t, "issuing")
	}
	if n := w.Get(shim.Logins) - logins; n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

// TestFaultFinalTry: the last try is an operator's.
func TestFaultFinalTry(t *testing.T) {
	w := newWorld(t, false, nil)
	w.Set(shim.FlagsOn, ckfUserPINFinalTry)
	logins := w.Get(shim.Logins)
	w.reopen(t)
	w.wantRefused(t, "the last try", 2)
	w.unlock(t, token.Unlock{By: "alice", FinalTry: true})
	eventually(t, "the token signs", func() bool { return w.cas["issuing"].TestSign(t.Context()) == nil })
	if n := w.Get(shim.Logins) - logins; n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

// TestFaultPINPad logs in at the token, when an operator says so.
func TestFaultPINPad(t *testing.T) {
	w := newWorld(t, false, func(c *keystore.TokenConfig) { c.PIN = keystore.PIN{Pad: true} })
	w.Set(shim.Pad, 1)
	w.Module.PIN(pkitest.SoftHSMPIN)
	logins := w.Get(shim.Logins)
	w.wantRefused(t, "before anybody stands there", 3)
	if n := w.Get(shim.Logins) - logins; n != 0 {
		t.Errorf("%d logins that nobody asked for", n)
	}
	w.unlock(t, token.Unlock{By: "alice"})
	w.must(t, "issuing")
	if n := w.Get(shim.Logins) - logins; n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

func (w *world) unlock(t testing.TB, u token.Unlock) {
	t.Helper()
	tokens := w.store.Tokens()
	if len(tokens) != 1 {
		t.Fatalf("the store has %d tokens", len(tokens))
	}
	status, err := tokens[0].Unlock(t.Context(), u)
	if err != nil {
		t.Fatalf("unlocking: %v; %+v", err, status)
	}
}
