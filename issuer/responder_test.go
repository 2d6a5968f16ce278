package issuer_test

import (
	"crypto/x509/pkix"
	"errors"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestResponder: a responder's certificate is issued through the cycle, recorded as what it is,
// and to nobody who asks for it.
func TestResponder(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	certificate, key, err := ra.Responder(t.Context(), "issuing", 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	record, err := l.Certificate(t.Context(), issuer.SerialOf(certificate.SerialNumber))
	if err != nil || record.Purpose != ledger.ForResponder || record.State != ledger.Valid || record.Issuer != "issuing" || record.Device != "" {
		t.Errorf("recorded as %+v, %v", record, err)
	}
	if kind, err := ca.AlgorithmOf(key.Public()); err != nil || kind != ca.P256 {
		t.Errorf("a key of type %s, %v", kind, err)
	}
	if certificate.Subject.CommonName != "OCSP issuing" || certificate.NotAfter.After(time.Now().Add(24*time.Hour)) {
		t.Errorf("%s until %v", certificate.Subject, certificate.NotAfter)
	}
	for _, requester := range []ledger.Requester{admin, password} {
		_, err := ra.Enroll(t.Context(), issuer.Request{
			Authorize: issuer.Trusted, Profile: "ocsp-responder", Issuer: "issuing", Requester: requester,
			CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "OCSP issuing"}),
		})
		var refusal *issuer.Refusal
		if !errors.As(err, &refusal) || refusal.Rule != "purpose" {
			t.Errorf("%s asks for one: %v", requester.Kind, err)
		}
	}
	if _, err := issuer.NewProfile("ocsp-responder", issuer.ProfileConfig{Preset: "device"}, ""); err == nil {
		t.Error("the name of its profile is not reserved")
	}
	if _, _, err := ra.Responder(t.Context(), "nobody", time.Hour); !errors.Is(err, issuer.ErrNoAuthority) {
		t.Errorf("of an authority that is not there: %v", err)
	}
}
