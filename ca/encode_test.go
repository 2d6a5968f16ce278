package ca

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// FuzzEncode: what is encoded here is what crypto/x509 makes of the same template, byte for byte.
func FuzzEncode(f *testing.F) {
	key := pkitest.SecondKey(f, "P-256").Public()
	_, a, _ := hierarchy(f, "P-256")
	_, of384, _ := hierarchy(f, "P-384")
	_, ofRSA, _ := hierarchy(f, "RSA-2048")
	issuers := []*Authority{a, of384, ofRSA}
	now := testNow.Unix()
	f.Add([]byte{1, 2, 3}, "press-000142", now, int64(5*365*86400), uint16(1), byte(1), "http://pki.example.com/a.crl", byte(0))
	f.Add([]byte{0x80}, "press-000142", now, int64(50*365*86400), uint16(0x110), byte(0xff), "http://pki.example.com/", byte(1))
	f.Add([]byte{0xff, 0}, strings.Repeat("x", 130), int64(2524607999), int64(1), uint16(0x100), byte(6), "", byte(0))
	f.Add(bytes.Repeat([]byte{0x7f}, 20), "\xc3\xa4", int64(-631152001), int64(2), uint16(0x180), byte(0xf9), strings.Repeat("u", 300), byte(2))
	f.Add([]byte{0}, "", int64(253402300799), int64(1), uint16(0), byte(0), "", byte(0))
	f.Fuzz(func(t *testing.T, serial []byte, name string, from, length int64, usage uint16, flags byte, u string, issuer byte) {
		by := issuers[int(issuer)%len(issuers)]
		subject, err := asn1.Marshal(pkix.Name{CommonName: name, Organization: []string{"Mint Works"}}.ToRDNSequence())
		if err != nil {
			return
		}
		template := &x509.Certificate{
			SerialNumber: new(big.Int).SetBytes(serial), RawSubject: subject,
			NotBefore: time.Unix(from, 0), NotAfter: time.Unix(from+length, 0), KeyUsage: x509.KeyUsage(usage),
			SignatureAlgorithm: by.sigAlg, SubjectKeyId: bytes.Repeat([]byte{9}, 20), AuthorityKeyId: by.cert.SubjectKeyId,
			BasicConstraintsValid: flags&1 != 0,
		}
		for bit, eku := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageOCSPSigning} {
			if flags&(2<<bit) != 0 {
				template.ExtKeyUsage = append(template.ExtKeyUsage, eku)
			}
		}
		for bit, list := range []*[]string{&template.CRLDistributionPoints, &template.OCSPServer, &template.IssuingCertificateURL, &template.DNSNames} {
			if flags&(0x10<<bit) != 0 {
				*list = append(*list, u, u+"2")
			}
		}
		got, ok := encodeTBS(template, by.cert, key)
		if !ok {
			return
		}
		want, err := reflectTBS(template, by.cert, key)
		if err != nil {
			t.Fatalf("crypto/x509 refuses what was encoded: %v", err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("encoded\n%x\nby crypto/x509\n%x", got, want)
		}
	})
}

// What the profiles of devices make takes the short way, and what says more does not.
func TestEncodeTakes(t *testing.T) {
	_, a, _ := hierarchy(t, "P-256")
	key := pkitest.SecondKey(t, "P-256").Public()
	device := func(change func(*x509.Certificate)) bool {
		p, err := a.Prepare(deviceTemplate(), key, Rules{})
		if err != nil {
			t.Fatal(err)
		}
		template := deviceTemplate()
		template.RawSubject, template.SubjectKeyId = p.cert.RawSubject, p.cert.SubjectKeyId
		template.SignatureAlgorithm, template.BasicConstraintsValid = a.sigAlg, true
		change(template)
		_, ok := encodeTBS(template, a.cert, key)
		return ok
	}
	if !device(func(*x509.Certificate) {}) {
		t.Error("the certificate of a device is left to crypto/x509")
	}
	for name, change := range map[string]func(*x509.Certificate){
		"CA":                  func(c *x509.Certificate) { c.IsCA = true },
		"path length":         func(c *x509.Certificate) { c.MaxPathLen = 1 },
		"path length 0":       func(c *x509.Certificate) { c.MaxPathLenZero = true },
		"alternative name":    func(c *x509.Certificate) { c.DNSNames = []string{"a"} },
		"policy":              func(c *x509.Certificate) { c.PolicyIdentifiers = []asn1.ObjectIdentifier{{1, 2, 3}} },
		"policy of both":      func(c *x509.Certificate) { c.Policies = []x509.OID{{}} },
		"name constraints":    func(c *x509.Certificate) { c.PermittedURIDomains = []string{"a"} },
		"extension":           func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}}} },
		"another usage":       func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} },
		"an unknown usage":    func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} },
		"no encoded subject":  func(c *x509.Certificate) { c.RawSubject = nil },
		"issuer's subject":    func(c *x509.Certificate) { c.RawSubject = a.cert.RawSubject },
		"signature of RSA":    func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA256WithRSA },
		"year 10000":          func(c *x509.Certificate) { c.NotAfter = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"a URL beyond reason": func(c *x509.Certificate) { c.OCSPServer = []string{strings.Repeat("u", 40000)} },
	} {
		if device(change) {
			t.Errorf("%s: encoded here", name)
		}
	}
}
