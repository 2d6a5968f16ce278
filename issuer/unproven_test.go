package issuer_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// unproven asks for a certificate for a key without a request.
func unproven(t testing.TB, name string) issuer.Request {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pkitest.NewKey(t).Public())
	if err != nil {
		t.Fatal(err)
	}
	return issuer.Request{Profile: "device", Issuer: "issuing", Requester: admin, Authorize: issuer.Trusted, Unproven: &issuer.Unproven{Name: name, Key: der}}
}

func TestUnproven(t *testing.T) {
	ra := withHierarchy(t, newRA(t, newLedger(t), nil))
	r := unproven(t, "pump-1")
	answer, err := ra.Enroll(t.Context(), r)
	if err != nil || answer.Certificate.Subject.CommonName != "pump-1" || !bytes.Equal(answer.Certificate.RawSubjectPublicKeyInfo, r.Unproven.Key) {
		t.Fatalf("%+v, %v", answer.Certificate, err)
	}
	for name, tt := range map[string]struct {
		change func(*issuer.Request)
		rule   string
	}{
		"not an operator": {func(r *issuer.Request) { r.Requester = password }, "requester"},
		"with a request": {func(r *issuer.Request) {
			r.CSR = pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "pump-2"})
		}, "requester"},
		"another's key": {func(r *issuer.Request) { r.Unproven.Key = answer.Certificate.RawSubjectPublicKeyInfo }, "key-shared"},
		"another key":   {func(r *issuer.Request) { r.Unproven.Name = "pump-1" }, "clone"},
		"no key":        {func(r *issuer.Request) { r.Unproven.Key = []byte("key") }, "key-type"},
		"more than one": {func(r *issuer.Request) { r.Unproven.Key = append(r.Unproven.Key, 0) }, "key-type"},
		"no name":       {func(r *issuer.Request) { r.Unproven.Name = "" }, "subject"},
		"long name":     {func(r *issuer.Request) { r.Unproven.Name = string(make([]byte, 1<<20)) }, "csr-size"},
		"CA's own key": {func(r *issuer.Request) {
			r.Unproven.Key = answer.Chain[0].RawSubjectPublicKeyInfo
		}, "template"},
	} {
		t.Run(name, func(t *testing.T) {
			r := unproven(t, "pump-2")
			tt.change(&r)
			_, err := ra.Enroll(t.Context(), r)
			var refusal *issuer.Refusal
			if !errors.As(err, &refusal) || refusal.Rule != tt.rule {
				t.Errorf("got %v, want rule %s", err, tt.rule)
			}
		})
	}
}

// TestAgain: a request that is made again gets the certificate that it has, however old, and
// never one that is revoked.
func TestAgain(t *testing.T) {
	l := newLedger(t)
	now := time.Now()
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		c.Now, c.EpochTTL = func() time.Time { return now }, 10*365*24*time.Hour
	}))
	r := unproven(t, "pump-1")
	first, err := ra.Enroll(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(300 * 24 * time.Hour)
	r.Again = true
	again, err := ra.Enroll(t.Context(), r)
	if err != nil || !again.Prior || again.Serial != first.Serial || len(again.Chain) != 1 {
		t.Errorf("again: %+v, %v", again, err)
	}
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: first.Serial}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	if after, err := ra.Enroll(t.Context(), r); err != nil || after.Prior || after.Serial == first.Serial {
		t.Errorf("after it was revoked: %+v, %v", after, err)
	}
	// Without it the profile's window counts.
	r = unproven(t, "pump-2")
	if first, err = ra.Enroll(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	now = now.Add(24 * time.Hour)
	if later, err := ra.Enroll(t.Context(), r); err != nil || later.Prior {
		t.Errorf("a day later: %+v, %v", later, err)
	}
}
