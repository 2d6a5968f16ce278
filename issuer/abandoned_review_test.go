package issuer_test

import (
	"sync/atomic"
	"testing"

	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/pkitest"
)

// A certificate whose record became durable although step 9 failed cannot be
// voided any more: it must not be tried again for ever.
func TestAbandonedButIssued(t *testing.T) {
	l, f, _ := faulty(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	var voids atomic.Int32
	only := func(broken string) func(string) ledgertest.Mode {
		return func(op string) ledgertest.Mode {
			if op == "Void" {
				voids.Add(1)
			}
			if op == broken {
				return ledgertest.ButPersist
			}
			return ledgertest.Pass
		}
	}
	f.set(only("Finish"))
	if _, err := enroll(t.Context(), t, ra, pkitest.NewKey(t), "device-1"); err == nil {
		t.Fatal("enrolled without step 9")
	}
	f.set(only("Begin"))
	voids.Store(0)
	if _, err := enroll(t.Context(), t, ra, pkitest.NewKey(t), "device-2"); err == nil {
		t.Fatal("enrolled without step 6")
	}
	if n := voids.Load(); n != 1 {
		t.Errorf("%d serials are voided, want only that of the second device", n)
	}
}
