package ca

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// link makes a certificate for a key by another certificate, or self-signed; change alters the
// template, whatever the engine would say of it.
func link(t testing.TB, subject string, key crypto.Signer, by *x509.Certificate, signer crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(subject)) + 7), Subject: pkix.Name{CommonName: subject}, NotBefore: testNow.AddDate(-1, 0, 0), NotAfter: testNow.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, MaxPathLen: -1,
	}
	if change != nil {
		change(template)
	}
	if by == nil {
		by = template
	}
	der, err := x509.CreateCertificate(nil, template, by, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVerifyPath(t *testing.T) {
	rootKey, issuingKey, otherKey, leafKey := pkitest.Key(t, "P-256"), pkitest.SecondKey(t, "P-256"), pkitest.Key(t, "P-384"), pkitest.SecondKey(t, "P-384")
	leafOf := func(c *x509.Certificate) { c.IsCA, c.KeyUsage, c.MaxPathLen = false, x509.KeyUsageDigitalSignature, 0 }
	root := link(t, "root", rootKey, nil, rootKey, nil)
	tight := link(t, "root", rootKey, nil, rootKey, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })
	issuing := link(t, "issuing", issuingKey, root, rootKey, nil)
	leaf := link(t, "leaf", leafKey, issuing, issuingKey, leafOf)
	under := func(change func(*x509.Certificate)) []*x509.Certificate {
		return []*x509.Certificate{link(t, "issuing", issuingKey, root, rootKey, change)}
	}
	// Two roots of one name that certify each other.
	other := link(t, "root", otherKey, nil, otherKey, func(c *x509.Certificate) { c.MaxPathLen = 1 })
	rootByOther := link(t, "root", rootKey, other, otherKey, nil)
	otherByRoot := link(t, "root", otherKey, root, rootKey, nil)
	for _, c := range []struct {
		name    string
		leaf    *x509.Certificate
		shown   []*x509.Certificate
		anchor  *x509.Certificate
		now     time.Time
		refused string
	}{
		{"good", leaf, []*x509.Certificate{issuing}, root, testNow, ""},
		{"anchor that is no root", leaf, nil, issuing, testNow, ""},
		{"CA by itself", issuing, nil, root, testNow, ""},
		{"root by itself", root, nil, root, testNow, ""},
		{"by way of another root", leaf, []*x509.Certificate{issuing, rootByOther}, other, testNow, ""}, // self-issued, does not count
		{"there and back", leaf, []*x509.Certificate{issuing, otherByRoot, rootByOther}, other, testNow, ""},
		{"nothing shown", leaf, nil, root, testNow, "neither an anchor nor shown"},
		{"in a circle", leaf, []*x509.Certificate{issuing, otherByRoot, rootByOther}, link(t, "else", leafKey, nil, leafKey, nil), testNow, "root"},
		{"key identifier", leaf, under(func(c *x509.Certificate) { c.SubjectKeyId = []byte{1, 2, 3, 4} }), root, testNow, "another key identifier"},
		{"another key", leaf, []*x509.Certificate{link(t, "issuing", otherKey, root, rootKey, func(c *x509.Certificate) { c.SubjectKeyId = issuing.SubjectKeyId })}, root, testNow, "was not signed by"},
		{"no CA", leaf, under(func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, 0 }), root, testNow, "issuing"},
		{"no keyCertSign", leaf, under(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), root, testNow, "issuing"},
		{"path length", leaf, []*x509.Certificate{issuing}, tight, testNow, "path length of 0"},
		{"path length of a CA", issuing, nil, tight, testNow, "path length of 0"},
		{"CA expired", leaf, under(func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Hour) }), root, testNow, "valid from"},
		{"early", leaf, []*x509.Certificate{issuing}, root, testNow.AddDate(-2, 0, 0), "valid from"},
		{"late", leaf, []*x509.Certificate{issuing}, root, testNow.AddDate(2, 0, 0), "valid from"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := VerifyPath(c.leaf, c.shown, []*x509.Certificate{c.anchor}, c.now)
			if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%v, want %q", err, c.refused)
			}
		})
	}
	// A path that is too long ends the search.
	chain := []*x509.Certificate{root}
	for range mostPath {
		chain = append(chain, link(t, strings.Repeat("n", len(chain)), rootKey, chain[len(chain)-1], rootKey, nil))
	}
	last := chain[len(chain)-1]
	if err := VerifyPath(last, chain[1:len(chain)-1], chain[:1], testNow); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a path of %d: %v", len(chain), err)
	}
	// So does what could be tried in too many ways.
	var many []*x509.Certificate
	for i := range 12 {
		many = append(many, link(t, "root", rootKey, root, rootKey, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(int64(i) + 100) }))
	}
	stranger := link(t, "else", leafKey, nil, leafKey, nil)
	if err := VerifyPath(issuing, many, []*x509.Certificate{stranger}, testNow); err == nil || !strings.Contains(err.Error(), "too many ways") {
		t.Errorf("a dozen certificates of one key: %v", err)
	}
}

// TestRawSubject: a name is taken over byte for byte, in certificates and in requests.
func TestRawSubject(t *testing.T) {
	// "Example" as UTF8String, which crypto/x509 would encode as PrintableString.
	raw := []byte{0x30, 0x12, 0x31, 0x10, 0x30, 0x0e, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x07, 'E', 'x', 'a', 'm', 'p', 'l', 'e'}
	spec := Spec{Name: "root", RawSubject: raw, Validity: time.Hour}
	template, err := spec.Template(big.NewInt(5), testNow)
	if err != nil {
		t.Fatal(err)
	}
	p, err := PrepareRoot(template, pkitest.Key(t, "P-256"))
	if c := issue(t, p, err); string(c.RawSubject) != string(raw) || string(c.RawIssuer) != string(raw) {
		t.Errorf("the subject is %x", c.RawSubject)
	}
	der, err := spec.Request(pkitest.Key(t, "P-256"))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := x509.ParseCertificateRequest(der); err != nil || string(r.RawSubject) != string(raw) {
		t.Errorf("the request: %v", err)
	}
}
