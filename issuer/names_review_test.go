package issuer_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"testing"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestHolderAddsNoNames enrolls by a certificate of the same profile, which
// proves the device and no other name that the profile's patterns take.
func TestHolderAddsNoNames(t *testing.T) {
	ra := withHierarchy(t, newRA(t, newLedger(t), func(c *issuer.Config) {
		c.Profiles["named"] = profile(t, "named", issuer.ProfileConfig{Preset: "device", SAN: issuer.SANConfig{
			DNS: `press-[0-9]\.example`, IP: `.*`, URI: `urn:press:[0-9]`, Email: `.*`,
		}})
	}))
	request := func(r issuer.Request, serial string, dns ...string) error {
		r.Profile, r.Issuer = "named", "issuing"
		r.CSR = signed(t, pkitest.NewKey(t), pkix.Name{CommonName: "press-1", SerialNumber: serial}, func(r *x509.CertificateRequest) { r.DNSNames = dns })
		_, err := ra.Enroll(t.Context(), r)
		return err
	}
	first, err := ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: "named", Issuer: "issuing", Requester: password,
		CSR: signed(t, pkitest.NewKey(t), pkix.Name{CommonName: "press-1", SerialNumber: "4711"}, func(r *x509.CertificateRequest) { r.DNSNames = []string{"press-1.example"} })})
	if err != nil {
		t.Fatal(err)
	}
	own := issuer.Request{Authorize: issuer.Trusted, Requester: ledger.Requester{Kind: "certificate", Name: string(first.Serial)}, Device: "press-1", Holds: first.Certificate}
	if err := request(own, "4711", "press-1.example"); err != nil {
		t.Errorf("its own names: %v", err)
	}
	if err := request(own, ""); err != nil {
		t.Errorf("names left out: %v", err)
	}
	var refusal *issuer.Refusal
	if err := request(own, "4711", "press-2.example"); !errors.As(err, &refusal) || refusal.Rule != "identity" {
		t.Errorf("another alternative name: %v", err)
	}
	if err := request(own, "4712"); !errors.As(err, &refusal) || refusal.Rule != "identity" {
		t.Errorf("another serial number: %v", err)
	}
}
