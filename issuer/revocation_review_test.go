package issuer_test

import (
	"crypto/x509/pkix"
	"errors"
	"testing"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestRevokedWhileAsking revokes a certificate after it was authenticated and
// while it renews itself, once after each step: no successor may come of it.
func TestRevokedWhileAsking(t *testing.T) {
	for _, step := range []int{1, 5, 6, 8, 9} {
		l := newLedger(t)
		var ra *issuer.RA
		armed := false
		ra = withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
			c.Step = func(n int) {
				if armed && n == step {
					armed = false
					if _, err := ra.Revoke(t.Context(), ledger.Selector{Device: "device-1"}, ledger.KeyCompromise, "test"); err != nil {
						t.Error(err)
					}
				}
			}
		}))
		first := mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
		if _, err := ra.Holder(t.Context(), first.Certificate); err != nil {
			t.Fatal(err)
		}
		armed = true
		_, err := ra.Enroll(t.Context(), issuer.Request{
			Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", Device: "device-1", Renews: first.Certificate,
			Requester: ledger.Requester{Kind: "certificate", Name: string(first.Serial)},
			CSR:       pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "device-1"}),
		})
		var refusal *issuer.Refusal
		if step < 6 && (!errors.As(err, &refusal) || refusal.Rule != "certificate-revoked") {
			t.Errorf("revoked after step %d: %v", step, err)
		}
		if step < 9 && err == nil {
			t.Errorf("revoked after step %d: the successor left", step)
		}
		if valid := count(t, l)[ledger.Valid]; valid != 0 {
			t.Errorf("revoked after step %d: the device has %d valid certificates", step, valid)
		}
	}
}
