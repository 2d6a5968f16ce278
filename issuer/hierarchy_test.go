package issuer_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

func parse(t testing.TB, data []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatal("no PEM")
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// alarms reads the alarm counter of one kind.
func alarms(t testing.TB, ra *issuer.RA, kind string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(ra.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "alarms_total" {
			for _, m := range f.GetMetric() {
				if m.GetLabel()[0].GetValue() == kind {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

// TestHierarchies creates a root and an issuing CA of every key type, and lets
// openssl verify a device's chain.
func TestHierarchies(t *testing.T) {
	for _, algorithm := range []ca.Algorithm{ca.P256, ca.P384, ca.P521, ca.RSA2048, ca.RSA3072, ca.RSA4096} {
		t.Run(string(algorithm), func(t *testing.T) {
			if testing.Short() && strings.HasPrefix(string(algorithm), "RSA") {
				t.Skip("making RSA keys takes seconds")
			}
			l := newLedger(t)
			ra := newRA(t, l, nil)
			zero := 0
			for _, spec := range []issuer.AuthoritySpec{
				{Spec: ca.Spec{Name: "root", Subject: pkix.Name{CommonName: "Root"}, Validity: 3000 * 24 * time.Hour}, Key: algorithm},
				{Spec: ca.Spec{Name: "issuing", Subject: pkix.Name{CommonName: "Issuing"}, Validity: 2000 * 24 * time.Hour, PathLen: &zero}, Key: algorithm, Issuer: "root"},
			} {
				if _, err := ra.CreateAuthority(t.Context(), spec, admin); err != nil {
					t.Fatal(err)
				}
			}
			answer := mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
			root := pkitest.WriteFile(t, "root.pem", pkitest.PEM("CERTIFICATE", ra.Anchors("issuing")[0].Raw))
			above := pkitest.WriteFile(t, "chain.pem", pkitest.PEM("CERTIFICATE", answer.Chain[0].Raw))
			leaf := pkitest.WriteFile(t, "leaf.pem", pkitest.PEM("CERTIFICATE", answer.Certificate.Raw))
			pkitest.OpenSSL(t, "verify", "-x509_strict", "-CAfile", root, "-untrusted", above, leaf)

			// CA certificates are in the ledger like everything that is signed.
			page, err := l.Certificates(t.Context(), ledger.Query{Purpose: ledger.ForCA})
			if err != nil || len(page.Certificates) != 2 {
				t.Errorf("the ledger holds %d CA certificates: %v", len(page.Certificates), err)
			}
		})
	}
}

// TestExternalRoot has openssl sign the request of an issuing CA.
func TestExternalRoot(t *testing.T) {
	ra := newRA(t, newLedger(t), nil)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	pkitest.OpenSSL(t, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-keyout", in("root.key"),
		"-out", in("root.pem"), "-subj", "/CN=Offline Root", "-days", "3650", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
	zero := 0
	spec := issuer.AuthoritySpec{Spec: ca.Spec{Name: "issuing", Subject: pkix.Name{CommonName: "Issuing"}, PathLen: &zero, Validity: time.Hour}, Key: ca.P256}
	csr, err := ra.RequestAuthority(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ra.RequestAuthority(t.Context(), spec)
	if err != nil || !samePublicKey(t, csr, again) {
		t.Errorf("asking again makes another key: %v", err)
	}
	os.WriteFile(in("csr.der"), csr, 0o600)
	os.WriteFile(in("ext"), []byte("basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"), 0o600)
	pkitest.OpenSSL(t, "x509", "-req", "-inform", "DER", "-in", in("csr.der"), "-CA", in("root.pem"), "-CAkey", in("root.key"), "-days", "1800", "-extfile", in("ext"), "-out", in("issuing.pem"))
	read := func(name string) *x509.Certificate {
		data, err := os.ReadFile(in(name))
		if err != nil {
			t.Fatal(err)
		}
		return parse(t, data)
	}
	// A certificate for another key is refused.
	if _, err := ra.ImportAuthority(t.Context(), "issuing", []*x509.Certificate{read("root.pem")}, ""); !errors.Is(err, ca.ErrKeyMismatch) {
		t.Errorf("imported a certificate for another key: %v", err)
	}
	if _, err := ra.ImportAuthority(t.Context(), "issuing", []*x509.Certificate{read("issuing.pem"), read("root.pem")}, ""); err != nil {
		t.Fatal(err)
	}
	answer := mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
	pkitest.OpenSSL(t, "verify", "-CAfile", in("root.pem"), "-untrusted", in("issuing.pem"),
		pkitest.WriteFile(t, "leaf.pem", pkitest.PEM("CERTIFICATE", answer.Certificate.Raw)))
	if len(ra.Waiting()) != 0 {
		t.Error("the authority still waits for its certificate")
	}
}

func samePublicKey(t *testing.T, a, b []byte) bool {
	t.Helper()
	ra, err := x509.ParseCertificateRequest(a)
	if err != nil {
		t.Fatal(err)
	}
	rb, err := x509.ParseCertificateRequest(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(ra.RawSubjectPublicKeyInfo) == string(rb.RawSubjectPublicKeyInfo)
}

// TestShortLivedIssuer: an issuing CA that ends before a certificate would is
// refused by name, and says so beforehand.
func TestShortLivedIssuer(t *testing.T) {
	ra := newRA(t, newLedger(t), nil)
	if _, err := ra.CreateAuthority(t.Context(), issuer.AuthoritySpec{
		Spec: ca.Spec{Name: "issuing", Subject: pkix.Name{CommonName: "Short"}, Validity: 24 * time.Hour}, Key: ca.P256,
	}, admin); err != nil {
		t.Fatal(err)
	}
	if err := ra.Usable("device", "issuing"); err == nil || !strings.Contains(err.Error(), "expires") {
		t.Errorf("Usable says %v", err)
	}
	_, err := enroll(t.Context(), t, ra, pkitest.NewKey(t), "device-1")
	var refusal *issuer.Refusal
	if !errors.As(err, &refusal) || refusal.Kind != issuer.Unavailable || refusal.Rule != "issuer-lifetime" {
		t.Errorf("got %v", err)
	}
}

func TestBadProfiles(t *testing.T) {
	zero := time.Duration(0)
	long := 1000 * time.Hour
	https := []string{"https://ca.example/x.crl"}
	for name, c := range map[string]issuer.ProfileConfig{
		"preset":             {Preset: "vpn"},
		"keys":               {Preset: "device", Keys: []string{"Ed25519"}},
		"device_id":          {Preset: "device", DeviceID: "organization"},
		"subject":            {Preset: "device", Subject: map[string]issuer.Attribute{"commonName": {Value: "all the same"}}},
		"unknown attribute":  {Preset: "device", Subject: map[string]issuer.Attribute{"commonName": {Pattern: "a"}, "title": {Value: "x"}}},
		"value and pattern":  {Preset: "device", Subject: map[string]issuer.Attribute{"commonName": {Pattern: "a", Value: "a"}}},
		"bad pattern":        {Preset: "device", Subject: map[string]issuer.Attribute{"commonName": {Pattern: "("}}},
		"optional in JITP":   {Preset: "aws-jitp", Subject: map[string]issuer.Attribute{"commonName": {Pattern: "a"}, "serialNumber": {Pattern: "a", Optional: true}}},
		"validity":           {Preset: "device", Validity: time.Second},
		"no_expiry":          {Preset: "device", NoExpiry: true},
		"repeat":             {Preset: "device", Validity: time.Hour, Repeat: &long},
		"https CRL":          {Preset: "device", CRL: &https},
		"extended_key_usage": {Preset: "device", ExtendedKeyUsage: []string{"codeSigning"}},
	} {
		if _, err := issuer.NewProfile("p", c, ""); err == nil {
			t.Errorf("%s: accepted", name)
		} else if !strings.HasPrefix(err.Error(), `profile "p": `) {
			t.Errorf("%s: the error names no profile: %v", name, err)
		}
	}
	if _, err := issuer.NewProfile("verification", issuer.ProfileConfig{Preset: "device"}, ""); err == nil {
		t.Error("took a reserved name")
	}
	// IEEE 802.1AR: no expiry, past the issuing CA's own.
	p, err := issuer.NewProfile("idevid", issuer.ProfileConfig{Preset: "device", NoExpiry: true, OutliveIssuer: true, Repeat: &zero}, "")
	if err != nil {
		t.Fatal(err)
	}
	ra := withHierarchy(t, newRA(t, newLedger(t), func(c *issuer.Config) { c.Profiles["idevid"] = p }))
	answer, err := ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: "idevid", Issuer: "issuing", Requester: password,
		CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "device-1"})})
	if err != nil {
		t.Fatal(err)
	}
	if y := answer.Certificate.NotAfter.Year(); y != 9999 {
		t.Errorf("notAfter is in %d", y)
	}
}
