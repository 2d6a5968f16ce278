package issuer_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"strings"
	"testing"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestManifestSigner: the certificate is on record, is no device's, and authenticates nobody.
func TestManifestSigner(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	id := strings.Repeat("0a", 16)
	answer, key, err := ra.ManifestSigner(t.Context(), "issuing", id, admin)
	if err != nil {
		t.Fatal(err)
	}
	record, err := l.Certificate(t.Context(), answer.Serial)
	if err != nil || record.Purpose != ledger.ForManifest || record.State != ledger.Valid || record.Device != "" || record.Requester != admin {
		t.Errorf("recorded as %+v, %v", record, err)
	}
	if public, ok := key.Public().(interface{ Equal(any) bool }); ok && !public.Equal(answer.Certificate.PublicKey) {
		t.Error("the key is not that of the certificate")
	}
	if _, err := ra.Holder(t.Context(), answer.Certificate); err == nil {
		t.Error("it authenticates")
	}
	roots := x509.NewCertPool()
	root, err := ra.Authority("root")
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(root.Certificate())
	above := x509.NewCertPool()
	above.AddCert(answer.Chain[0])
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if _, err := answer.Certificate.Verify(x509.VerifyOptions{Roots: roots, Intermediates: above, KeyUsages: []x509.ExtKeyUsage{usage}}); err == nil {
			t.Errorf("it is good for TLS (usage %d)", usage)
		}
	}
	for _, requester := range []ledger.Requester{admin, password} {
		_, err := ra.Enroll(t.Context(), issuer.Request{
			Authorize: issuer.Trusted, Profile: "manifest", Issuer: "issuing", Requester: requester,
			CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "Manifest " + id}),
		})
		var refusal *issuer.Refusal
		if !errors.As(err, &refusal) || refusal.Rule != "purpose" {
			t.Errorf("%s asks for one: %v", requester.Kind, err)
		}
	}
	if _, err := issuer.NewProfile("manifest", issuer.ProfileConfig{Preset: "device"}, ""); err == nil {
		t.Error("the name of its profile is not reserved")
	}
	if _, _, err := ra.ManifestSigner(t.Context(), "issuing", "WO-1", admin); err == nil {
		t.Error("any text names a batch")
	}
	if _, _, err := ra.ManifestSigner(t.Context(), "nobody", id, admin); !errors.Is(err, issuer.ErrNoAuthority) {
		t.Errorf("of nobody: %v", err)
	}
}
