package faults

import (
	"context"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/keystore"
	"mintmark/internal/keystore/faults/shim"
	"mintmark/internal/pkitest"
)

// takeover is how long a request may wait for the spare.
const takeover = 2 * time.Second

// TestFaultHangSpare lets each function of the library hang that stands between a
// request and its signature. The spare answers.
func TestFaultHangSpare(t *testing.T) {
	for _, tt := range []struct {
		name string
		hang int64
		lose bool // the sessions, so that new ones are opened
	}{
		{"C_Sign", shim.HangSign, false},
		{"C_OpenSession", shim.HangOpen, true},
		{"C_Login", shim.HangLogin, true},
		{"C_Initialize", shim.HangInitialize, true},
		{"C_FindObjectsInit", shim.HangFind, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, true, nil)
			w.must(t, "issuing")
			w.must(t, "second")
			eventually(t, "the spare is open", func() bool { return w.spare.Get(shim.Logins) > 0 })
			w.Set(shim.Hang, tt.hang)
			if tt.lose {
				if _, err := w.Wipe(shim.Finalize, patience); err != nil {
					t.Fatal(err)
				}
			}
			start := time.Now()
			w.must(t, "issuing")
			took := time.Since(start)
			t.Logf("the spare answered after %v", took.Round(time.Millisecond))
			if took > takeover {
				t.Errorf("that is later than %v", takeover)
			}
			if w.spare.Get(shim.Signed) == 0 {
				t.Error("the spare did not sign")
			}
			// Nobody waits for longer, and soon nobody waits.
			eventually(t, "the primary is given up", func() bool {
				start := time.Now()
				w.must(t, "second")
				w.must(t, "issuing")
				took := time.Since(start)
				if took > 2*takeover {
					t.Errorf("two requests took %v", took)
				}
				return took < takeover/4
			})
			w.Mend()
			signed := w.Get(shim.Signed)
			eventually(t, "the primary signs again", func() bool { w.must(t, "issuing"); return w.Get(shim.Signed) > signed+3 })
		})
	}
}

// TestFaultHangKey lets the signatures of one key hang. The other keys of the token
// and other tokens go on.
func TestFaultHangKey(t *testing.T) {
	w := newWorld(t, false, nil)
	w.must(t, "issuing")
	w.must(t, "second")
	other := otherToken(t, w)
	other.must(t, "issuing")

	l := startLoad(t, 2, func(ctx context.Context, worker int) error { return w.cas["second"].TestSign(ctx) })
	far := startLoad(t, 1, func(ctx context.Context, worker int) error { return other.cas["issuing"].TestSign(ctx) })
	w.Set(shim.Key, shim.KeyID(w.id(t, "issuing")))
	w.Set(shim.Hang, shim.HangSign)
	hung := startLoad(t, 3, func(ctx context.Context, worker int) error {
		_, err := issue(ctx, w.cas["issuing"], w.device)
		return err
	})
	// Until it is known that it hangs, and long after.
	usable := func(a *ca.Authority) error {
		if err := a.Open(t.Context()); err != nil {
			return err
		}
		return a.Ready()
	}
	eventually(t, "the key that hangs is given up", func() bool { return usable(w.cas["issuing"]) != nil })
	restarts := w.Get(shim.Loads)
	if !reached(t, l, l.asked.Load()+2000) || !reached(t, far, far.asked.Load()+2000) {
		t.Fatal("other keys stand still")
	}
	if n := w.Get(shim.Loads) - restarts; n > 2 {
		t.Errorf("the library was restarted %d times for a key that was given up", n)
	}
	if usable(w.cas["second"]) != nil || usable(other.cas["issuing"]) != nil {
		t.Error("the other keys are not ready")
	}
	asked, worst, failures := l.end()
	t.Logf("second key: %d asked, %d failed, worst %v", asked, len(failures), worst.Round(time.Millisecond))
	none(t, failures)
	asked, worst, failures = far.end()
	t.Logf("other token: %d asked, %d failed, worst %v", asked, len(failures), worst.Round(time.Millisecond))
	none(t, failures)
	if worst > time.Second {
		t.Errorf("another token waited %v", worst)
	}
	w.Mend()
	_, worst, _ = hung.end()
	t.Logf("the key that hangs: worst %v", worst.Round(time.Millisecond))
	if worst > 6*time.Second { // the deadline is 5 s
		t.Errorf("a request waited %v for the key that hangs", worst)
	}
	eventually(t, "the key signs again", func() bool { return w.cas["issuing"].TestSign(t.Context()) == nil })
}

// otherToken is a world of its own in the same store.
func otherToken(t *testing.T, w *world) *world {
	t.Helper()
	pkitest.AddToken(t, "other")
	o := *w
	o.soft = newModule(t, &soft{real: w.real, conf: w.conf, tokens: w.tokens, pinFile: w.pinFile})
	o.uris, o.cas = map[string]string{}, map[string]*ca.Authority{}
	w.cfg.Tokens = append(w.cfg.Tokens, keystore.TokenConfig{
		Name: "other", URI: "pkcs11:module-path=" + o.Path + ";token=other", PIN: keystore.PIN{File: w.pinFile},
	})
	w.reopen(t)
	o.store = w.store
	o.make(t, "other", "issuing")
	return &o
}
