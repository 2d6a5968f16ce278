package faults

import (
	"context"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"mintmark/internal/keystore/faults/shim"
)

var garbage = []struct {
	name string
	how  int64
}{
	{"one byte", shim.GarbageWrong}, {"out of range", shim.GarbageRange}, {"short", shim.GarbageShort},
	{"empty", shim.GarbageEmpty}, {"longer than its buffer", shim.GarbageTooLong}, {"zero", shim.GarbageZero},
}

// TestFaultGarbage spoils a signature. It does not leave the CA, and the token signs
// again.
func TestFaultGarbage(t *testing.T) {
	for _, g := range garbage {
		t.Run(g.name, func(t *testing.T) {
			w := newWorld(t, false, nil)
			w.must(t, "issuing")
			w.SetTimes(shim.Garbage, g.how, 1)
			// Refused at step 8, or never believed by the key store and made again.
			if _, err := issueVerified(t.Context(), w, "issuing"); err != nil {
				t.Log(err)
			}
			if w.Get(shim.GarbageCount) != 0 {
				t.Error("no signature was spoiled")
			}
			took := eventually(t, "the token signs again", func() bool { _, err := issueVerified(t.Context(), w, "issuing"); return err == nil })
			t.Logf("it signed again after %v", took.Round(time.Millisecond))
		})
	}
}

// TestFaultGarbageForGood spoils every signature: nothing comes out, and soon that is
// known before anything is recorded.
func TestFaultGarbageForGood(t *testing.T) {
	w := newWorld(t, false, nil)
	w.must(t, "issuing")
	w.SetTimes(shim.Garbage, shim.GarbageWrong, -1)
	refused := func() bool {
		if _, err := issueVerified(t.Context(), w, "issuing"); err == nil {
			t.Error("a token that makes wrong signatures signed")
		}
		return w.cas["issuing"].Ready() != nil
	}
	eventually(t, "the token is said not to be ready", refused)
	asked := w.Get(shim.Asked)
	for range 50 {
		refused()
	}
	// Its test signatures are all that it is asked for.
	if n := w.Get(shim.Asked) - asked; n > 25 {
		t.Errorf("50 requests asked the token for %d signatures", n)
	}
	w.Mend()
	if long {
		eventually(t, "the token signs again", func() bool { _, err := issueVerified(t.Context(), w, "issuing"); return err == nil })
	}
}

// TestFaultGarbageSpare: the spare serves while the primary makes wrong signatures.
func TestFaultGarbageSpare(t *testing.T) {
	w := newWorld(t, true, nil)
	w.must(t, "issuing")
	l := startLoad(t, 3, func(ctx context.Context, worker int) error {
		_, err := issueVerified(ctx, w, "issuing")
		return err
	})
	if !reached(t, l, 100) {
		t.Fatal("the load stands still")
	}
	w.SetTimes(shim.Garbage, shim.GarbageWrong, -1)
	eventually(t, "the spare signs", func() bool { return w.spare.Get(shim.Signed) > 200 })
	_, _, failures := l.end()
	// What was in flight was refused, before the primary was given up.
	t.Logf("%d requests failed until the spare signed", len(failures))
	if len(failures) > 50 {
		none(t, failures)
	}
	for range 20 {
		w.must(t, "issuing")
	}
}

// issueVerified issues a certificate, and panics if it does not verify.
func issueVerified(ctx context.Context, w *world, name string) (*x509.Certificate, error) {
	a := w.cas[name]
	cert, err := issue(ctx, a, w.device)
	if err != nil {
		return nil, err
	}
	if err := cert.CheckSignatureFrom(a.Certificate()); err != nil {
		panic(fmt.Sprintf("a certificate that does not verify left the CA: %v", err))
	}
	return cert, nil
}
