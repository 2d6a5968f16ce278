package issuer_test

import (
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestApprovalOfRenewal: a renewal never goes back, whatever was issued for its
// key before, and a certificate that was revoked renews nothing.
func TestApprovalOfRenewal(t *testing.T) {
	now := time.Now()
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		c.Now = func() time.Time { return now }
		c.EpochTTL = 100 * time.Hour
	}))
	key := pkitest.NewKey(t)
	first := mustEnroll(t, ra, key, "press-1")
	now = now.Add(time.Minute)
	r := approved(t, key, "press-1")
	r.Renews, r.Device = first.Certificate, "press-1"
	r.Requester = ledger.Requester{Kind: "certificate", Name: string(first.Serial)}
	_, err := ra.Enroll(t.Context(), r) // and not the certificate that it renews
	wantRefused(t, err, issuer.Pending, "approval-pending")
	decideAt(t, l, enrollments(t, l)[0].ID, true, now)
	second, err := ra.Enroll(t.Context(), r)
	if err != nil || second.Prior || second.Serial == first.Serial {
		t.Fatalf("renewed: %s, prior %v, %v", second.Serial, second.Prior, err)
	}
	now = now.Add(time.Minute)
	if again, err := ra.Enroll(t.Context(), r); err != nil || again.Serial != second.Serial {
		t.Errorf("repeated: %s, want %s, %v", again.Serial, second.Serial, err)
	}
	// By the new one it is another renewal.
	r.Renews, r.Requester.Name = second.Certificate, string(second.Serial)
	_, err = ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	decideAt(t, l, enrollments(t, l)[1].ID, true, now)
	if third, err := ra.Enroll(t.Context(), r); err != nil || third.Serial == second.Serial {
		t.Errorf("renewed again: %v", err)
	}

	rekey := approved(t, pkitest.NewKey(t), "press-1")
	rekey.Renews, rekey.Device, rekey.Requester = r.Renews, r.Device, r.Requester
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: second.Serial}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	_, err = ra.Enroll(t.Context(), rekey)
	wantRefused(t, err, issuer.Forbidden, "certificate-revoked")
	if n := len(enrollments(t, l)); n != 2 {
		t.Errorf("%d entries", n)
	}
}
