package faults

import (
	"errors"
	"testing"
	"time"

	"mintmark/internal/keystore/faults/shim"
)

// recovery is how long a token that came back may take to sign again.
const recovery = time.Second

// The numbers of PKCS#11 that tests name.
const (
	ckrDeviceRemoved   = 0x32
	ckrPINIncorrect    = 0xa0
	ckrPINLocked       = 0xa4
	ckrTokenNotPresent = 0xe0

	ckfUserPINFinalTry = 0x20000
	ckfUserPINLocked   = 0x40000
)

// later is an error that says when to ask again.
type later interface{ RetryAfter() time.Duration }

// TestFaultTokenAway takes the token away and brings it back: its directory, and as a
// vendor's library reports it.
func TestFaultTokenAway(t *testing.T) {
	remove := func(rv int64) func(*testing.T, *world) func() {
		return func(t *testing.T, w *world) func() {
			w.Set(shim.Gone, rv)
			if _, err := w.Wipe(shim.CloseAllSessions, patience); err != nil {
				t.Fatal(err)
			}
			return func() { w.Set(shim.Gone, 0) }
		}
	}
	for _, tt := range []struct {
		name  string
		leave func(*testing.T, *world) (back func())
	}{
		{"directory", func(t *testing.T, w *world) func() { return w.leave(t) }},
		{"CKR_DEVICE_REMOVED", remove(ckrDeviceRemoved)},
		{"CKR_TOKEN_NOT_PRESENT", remove(ckrTokenNotPresent)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, false, nil)
			w.must(t, "issuing")
			for range 3 {
				back := tt.leave(t, w)
				wantAway(t, w)
				logins := w.Get(shim.Logins)
				wantAway(t, w)
				if n := w.Get(shim.Logins) - logins; n != 0 {
					t.Errorf("%d logins while the token was away", n)
				}
				wantBack(t, w, back)
				if n := w.Get(shim.Logins) - logins; n > 1 {
					t.Errorf("%d logins when the token came back", n)
				}
			}
			if n := w.Get(shim.Refused); n != 0 {
				t.Errorf("%d refused logins", n)
			}
		})
	}
}

// wantAway wants requests to fail soon and to say when to come back, and the
// authority to say beforehand that it cannot sign.
func wantAway(t *testing.T, w *world) {
	t.Helper()
	a := w.cas["issuing"]
	var err error
	took := eventually(t, "a signature fails", func() bool { err = a.TestSign(t.Context()); return err != nil })
	var l later
	if !errors.As(err, &l) || l.RetryAfter() <= 0 {
		t.Errorf("the error says nothing of when to ask again: %v", err)
	}
	start := time.Now()
	if err := a.Ready(); err == nil {
		t.Errorf("the key is said to be ready %v after it went", took)
	}
	// It is known: nobody waits for what is away.
	if _, err := issue(t.Context(), a, w.device); !errors.As(err, &l) {
		t.Errorf("issuing: %v", err)
	}
	if took := time.Since(start); took > recovery {
		t.Errorf("refusing took %v", took)
	}
}

// wantBack brings the token back and wants it to sign in time.
func wantBack(t *testing.T, w *world, back func()) {
	t.Helper()
	back()
	took := eventually(t, "the token signs again", func() bool { return w.cas["issuing"].TestSign(t.Context()) == nil })
	t.Logf("signed %v after the token had come back", took.Round(time.Millisecond))
	if took > recovery {
		t.Errorf("that is later than %v", recovery)
	}
	w.must(t, "second")
}
