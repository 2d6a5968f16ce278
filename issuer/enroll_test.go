package issuer_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

func TestEnroll(t *testing.T) {
	l := newLedger(t)
	states := make(map[int]map[ledger.State]int)
	var during *testing.T
	ra := newRA(t, l, func(c *issuer.Config) {
		c.Step = func(step int) {
			if during != nil && step >= 5 {
				states[step] = count(during, l)
			}
		}
	})
	withHierarchy(t, ra)
	during = t
	key := pkitest.NewKey(t)
	answer := mustEnroll(t, ra, key, "device-1")

	// Nothing is in the ledger before step 6; the intent is before the
	// signature; the certificate is before the answer.
	if n := len(states[5]); n != 0 {
		t.Errorf("after step 5 the ledger holds %v", states[5])
	}
	if states[6][ledger.Open] != 1 || states[8][ledger.Open] != 1 || states[8][ledger.Valid] != 0 {
		t.Errorf("after step 6: %v, after step 8: %v", states[6], states[8])
	}
	if states[9][ledger.Valid] != 1 || states[9][ledger.Open] != 0 {
		t.Errorf("after step 9: %v", states[9])
	}

	record, err := l.Certificate(t.Context(), answer.Serial)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(record.DER, answer.Certificate.Raw) || record.Device != "device-1" || record.Requester.Name != "line-1" {
		t.Errorf("the ledger holds another certificate than the answer: %+v", record)
	}
	c := answer.Certificate
	if c.CRLDistributionPoints[0] != "http://ca.example:8080/crl/issuing.crl" || c.IssuingCertificateURL[0] != "http://ca.example:8080/ca/issuing.crt" {
		t.Errorf("URLs: %v %v", c.CRLDistributionPoints, c.IssuingCertificateURL)
	}
	if len(c.SubjectKeyId) == 0 || !bytes.Equal(c.AuthorityKeyId, answer.Chain[0].SubjectKeyId) {
		t.Error("key identifiers do not chain")
	}
	if age := time.Since(c.NotBefore); age < 50*time.Minute {
		t.Errorf("backdated by %v", age)
	}

	// An independent judge.
	root := pkitest.WriteFile(t, "root.pem", pkitest.PEM("CERTIFICATE", ra.Anchors("issuing")[0].Raw))
	above := pkitest.WriteFile(t, "chain.pem", pkitest.PEM("CERTIFICATE", answer.Chain[0].Raw))
	leaf := pkitest.WriteFile(t, "leaf.pem", pkitest.PEM("CERTIFICATE", c.Raw))
	pkitest.OpenSSL(t, "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", root, "-untrusted", above, leaf)
}

// TestRefusedRequests: each gets the right kind and rule, and nothing is
// recorded.
func TestRefusedRequests(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	key := pkitest.Key(t, "P-256")
	csr := func(subject pkix.Name, change func(*x509.CertificateRequest)) []byte {
		return signed(t, key, subject, change)
	}
	cn := func(name string) pkix.Name { return pkix.Name{CommonName: name} }
	good := csr(cn("device-1"), nil)
	tampered := bytes.Clone(good)
	tampered[len(tampered)-5] ^= 1
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Logf("no 1024-bit RSA here: %v", err)
	}
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	ca := func(r *x509.CertificateRequest) {
		der, _ := asn1.Marshal(struct{ CA bool }{true})
		r.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: der}}
	}
	uri, _ := url.Parse("urn:dev:x")
	for _, test := range []struct {
		name    string
		csr     []byte
		profile string
		kind    issuer.Kind
		rule    string
	}{
		{"empty", nil, "device", issuer.Malformed, "csr-syntax"},
		{"garbage", []byte("not a request"), "device", issuer.Malformed, "csr-syntax"},
		{"trailing garbage", append(bytes.Clone(good), 0), "device", issuer.Malformed, "csr-syntax"},
		{"a certificate instead", ra.Anchors("issuing")[0].Raw, "device", issuer.Malformed, "csr-syntax"},
		{"oversized", append(bytes.Clone(good), make([]byte, issuer.MaxRequest)...), "device", issuer.Malformed, "csr-size"},
		{"wrong signature", tampered, "device", issuer.Malformed, "csr-signature"},
		{"weak RSA", signedBy(t, weak, cn("device-1")), "device", issuer.Malformed, "key-type"},
		{"P-224", signedBy(t, p224, cn("device-1")), "device", issuer.Malformed, "key-type"},
		{"Ed25519", signedBy(t, ed, cn("device-1")), "device", issuer.Malformed, "key-type"},
		{"key type not in the profile", signedBy(t, pkitest.Key(t, "P-521"), cn("dev-1")), "fixed", issuer.Malformed, "key-type"},
		{"asks for a CA", csr(cn("device-1"), ca), "device", issuer.Forbidden, "csr-ca"},
		{"no subject", csr(pkix.Name{}, nil), "device", issuer.Malformed, "subject"},
		{"no common name", csr(pkix.Name{Organization: []string{"x"}}, nil), "device", issuer.Malformed, "subject"},
		{"two common names", csr(pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "a"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "b"},
		}}, nil), "device", issuer.Malformed, "subject"},
		{"name of 65 characters", csr(cn(strings.Repeat("a", 65)), nil), "device", issuer.Malformed, "subject"},
		{"name with a line break", csr(cn("device\n1"), nil), "device", issuer.Malformed, "subject"},
		{"name with a wildcard", csr(cn("device-*"), nil), "device", issuer.Malformed, "subject"},
		{"name with a NUL", csr(cn("device\x001"), nil), "device", issuer.Malformed, "subject"},
		{"name outside the pattern", csr(cn("device-1"), nil), "fixed", issuer.Malformed, "subject"},
		{"server without names", csr(pkix.Name{}, nil), "server", issuer.Malformed, "subject"},
		{"server with a bad DNS name", csr(cn("a"), func(r *x509.CertificateRequest) { r.DNSNames = []string{"under_score"} }), "server", issuer.Malformed, "san"},
		{"server with too many names", csr(cn("a"), func(r *x509.CertificateRequest) {
			for i := range 40 {
				r.DNSNames = append(r.DNSNames, "a"+strings.Repeat("b", i)+".example")
			}
		}), "server", issuer.Malformed, "san"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: test.profile, Issuer: "issuing", Requester: password, CSR: test.csr})
			var refusal *issuer.Refusal
			if !errors.As(err, &refusal) {
				t.Fatalf("got %v, want a refusal", err)
			}
			if refusal.Kind != test.kind || refusal.Rule != test.rule {
				t.Errorf("refused as %d %s (%s), want %d %s", refusal.Kind, refusal.Rule, refusal.Text, test.kind, test.rule)
			}
		})
	}
	// What the profile does not name is left out, not refused.
	answer, err := ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", Requester: password,
		CSR: csr(pkix.Name{CommonName: "device-9", Organization: []string{"Somebody"}}, func(r *x509.CertificateRequest) {
			r.DNSNames, r.URIs = []string{"ca.example"}, []*url.URL{uri}
		})})
	if err != nil {
		t.Fatal(err)
	}
	if c := answer.Certificate; len(c.DNSNames)+len(c.URIs)+len(c.Subject.Organization) != 0 {
		t.Errorf("copied what the profile does not allow: %v %v %v", c.DNSNames, c.URIs, c.Subject)
	}
	if got := count(t, l); got[ledger.Valid] != 1 || len(got) != 1 {
		t.Errorf("the ledger holds %v after refusals and one certificate", got)
	}
	if _, err := ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", CSR: good}); err == nil {
		t.Error("enrolled an unauthenticated requester")
	}
}

func signed(t *testing.T, key crypto.Signer, subject pkix.Name, change func(*x509.CertificateRequest)) []byte {
	t.Helper()
	template := &x509.CertificateRequest{Subject: subject}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func signedBy(t *testing.T, key crypto.Signer, subject pkix.Name) []byte {
	t.Helper()
	return signed(t, key, subject, nil)
}

func TestRepeatedRequest(t *testing.T) {
	l := newLedger(t)
	now := time.Now()
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		c.Now = func() time.Time { return now }
		c.EpochTTL = 100 * time.Hour
	}))
	key := pkitest.NewKey(t)
	first := mustEnroll(t, ra, key, "device-1")
	again := mustEnroll(t, ra, key, "device-1")
	if !again.Prior || again.Serial != first.Serial || !bytes.Equal(again.Certificate.Raw, first.Certificate.Raw) {
		t.Errorf("a repeated request got %s, want %s", again.Serial, first.Serial)
	}
	// Renewing with the same key makes a new certificate, and repeating that
	// gives the new one again.
	renew := issuer.Request{Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", Device: "device-1", Renews: first.Certificate,
		Requester: ledger.Requester{Kind: "certificate", Name: string(first.Serial)},
		CSR:       pkitest.CSR(t, key, pkix.Name{CommonName: "device-1"})}
	now = now.Add(time.Minute)
	renewed, err := ra.Enroll(t.Context(), renew)
	if err != nil || renewed.Prior || renewed.Serial == first.Serial {
		t.Errorf("renewing with the same key: prior %v, %v", renewed.Prior, err)
	}
	now = now.Add(time.Minute)
	if repeated, err := ra.Enroll(t.Context(), renew); err != nil || repeated.Serial != renewed.Serial {
		t.Errorf("repeating the renewal: %s, want %s, %v", repeated.Serial, renewed.Serial, err)
	}
	now = now.Add(2 * time.Hour)
	later := mustEnroll(t, ra, key, "device-1")
	if later.Prior || later.Serial == first.Serial {
		t.Error("the repeat window does not end")
	}
}

func TestSecondKey(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	first := mustEnroll(t, ra, pkitest.NewKey(t), "device-1")

	var refusal *issuer.Refusal
	_, err := enroll(t.Context(), t, ra, pkitest.NewKey(t), "device-1")
	if !errors.As(err, &refusal) || refusal.Kind != issuer.Conflict || refusal.Rule != "clone" {
		t.Fatalf("a second key by password: %v", err)
	}
	// By its own certificate a device changes its key as it likes.
	own := ledger.Requester{Kind: "certificate", Name: string(first.Serial)}
	_, err = ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", Requester: own, Device: "device-1",
		Renews: first.Certificate, CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "device-1"})})
	if err != nil {
		t.Errorf("re-keying: %v", err)
	}
	// But only in its own name.
	_, err = ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", Requester: own, Device: "device-1",
		CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "device-2"})})
	if !errors.As(err, &refusal) || refusal.Kind != issuer.Forbidden || refusal.Rule != "identity" {
		t.Errorf("another device's name: %v", err)
	}
	// Once revoked, it may come back by password.
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Device: "device-1"}, ledger.Superseded, "test"); err != nil {
		t.Fatal(err)
	}
	mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
}

func TestRenewalKeepsIdentity(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	key := pkitest.NewKey(t)
	first := mustEnroll(t, ra, key, "device-1")
	own := ledger.Requester{Kind: "certificate", Name: string(first.Serial)}
	renew := func(csr []byte) error {
		_, err := ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", Requester: own, Device: "device-1", Renews: first.Certificate, CSR: csr})
		return err
	}
	utf8 := pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte("device-1")}}}}
	if err := renew(signed(t, pkitest.NewKey(t), utf8, nil)); err != nil {
		t.Errorf("the same name as UTF8String: %v", err)
	}
	if err := renew(signed(t, key, pkix.Name{CommonName: "device-1", Organization: []string{"x"}}, nil)); err == nil {
		t.Error("renewed with another subject")
	}
	if err := renew(signed(t, key, pkix.Name{CommonName: "device-1"}, func(r *x509.CertificateRequest) { r.DNSNames = []string{"x.example"} })); err == nil {
		t.Error("renewed with another alternative name")
	}
}
