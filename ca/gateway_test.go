package ca

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// gatewayTemplate is that of a CA on a device, which signs no CRLs.
func gatewayTemplate() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(0x6006), Subject: pkix.Name{CommonName: "gateway CA"},
		NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.AddDate(0, 6, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
}

// TestNoCRL issues the certificate of a CA without cRLSign where that is
// wanted, and nowhere else.
func TestNoCRL(t *testing.T) {
	one := 1
	root := makeRoot(t, rootSpec(), pkitest.Key(t, "P-384"))
	spec := issuingSpec()
	spec.PathLen = &one
	issuing := makeSub(t, root, spec, 0x2002, &spy{Signer: pkitest.Key(t, "P-256")})
	for _, kind := range []string{"P-256", "P-384", "RSA-2048", "RSA-4096"} {
		key := pkitest.Key(t, kind)
		if kind == "P-256" || kind == "P-384" {
			key = pkitest.SecondKey(t, kind)
		}
		p, err := issuing.Prepare(gatewayTemplate(), key.Public(), Rules{CA: true, NoCRL: true})
		cert := issue(t, p, err)
		if !cert.IsCA || cert.MaxPathLen != 0 || !cert.MaxPathLenZero || cert.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign {
			t.Errorf("%s: CA %v, path length %d, usage %b", kind, cert.IsCA, cert.MaxPathLen, cert.KeyUsage)
		}
	}
	pub := pkitest.SecondKey(t, "P-256").Public()
	for _, test := range []struct {
		name  string
		spoil func(*x509.Certificate)
		rules Rules
		want  string
	}{
		{"another CA", nil, Rules{CA: true}, "keyUsage lacks cRLSign"},
		{"no CA", nil, Rules{NoCRL: true}, "cA is set"},
		{"with cRLSign", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, Rules{CA: true, NoCRL: true}, "signs no CRLs"},
		{"without keyCertSign", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }, Rules{CA: true, NoCRL: true}, "keyCertSign"},
		{"a path length that cannot be", func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 1, false }, Rules{CA: true, NoCRL: true}, "cannot be reached"},
	} {
		template := gatewayTemplate()
		if test.spoil != nil {
			test.spoil(template)
		}
		if _, err := issuing.Prepare(template, pub, test.rules); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestRoom counts what is above, too.
func TestRoom(t *testing.T) {
	zero, one, two := 0, 1, 2
	for _, test := range []struct {
		name      string
		root, sub *int
		ok        bool
	}{
		{"no constraints", nil, nil, true},
		{"one below", &two, &one, true},
		{"none below", &two, &zero, false},
		{"none below, by the root", &one, nil, false},
		{"one below, by the root", &two, nil, true},
	} {
		spec := rootSpec()
		spec.PathLen = test.root
		root := makeRoot(t, spec, pkitest.Key(t, "P-384"))
		spec = issuingSpec()
		spec.PathLen = test.sub
		sub := makeSub(t, root, spec, 0x2002, &spy{Signer: pkitest.Key(t, "P-256")})
		if err := sub.Room(); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
		template := gatewayTemplate()
		if _, err := sub.Prepare(template, pkitest.SecondKey(t, "P-256").Public(), Rules{CA: true, NoCRL: true}); (err == nil) != test.ok {
			t.Errorf("%s: Prepare says %v", test.name, err)
		}
	}
}
