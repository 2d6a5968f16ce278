package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	mathrand "math/rand/v2"
	"testing"
	"time"
)

// shapeTemplate is a device certificate's template.
func shapeTemplate(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes([]byte{1, byte(mathrand.IntN(256)), 2, 3, 4, 5, 6, 7, 8, 9}),
		Subject:      pkix.Name{Country: []string{"DE"}, CommonName: name},
		NotBefore:    now, NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func shapeAuthority(t *testing.T) *Authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template, err := Spec{Name: "root", Subject: pkix.Name{CommonName: "Root"}, Validity: 1000 * time.Hour}.Template(big.NewInt(77), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := PrepareRoot(template, key)
	if err != nil {
		t.Fatal(err)
	}
	p.Recorded()
	cert, err := p.Issue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Config{Name: "root", Certificate: cert})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newECKey(t *testing.T, curve elliptic.Curve) *ecdsa.PublicKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey
}

// shape prepares a certificate and returns its shape.
func shape(t *testing.T, a *Authority, template *x509.Certificate, pub *ecdsa.PublicKey) ([32]byte, bool) {
	t.Helper()
	p, err := a.Prepare(template, pub, Rules{})
	if err != nil {
		t.Fatal(err)
	}
	return shapeOf(p.cert, pub)
}

// TestShapes: what the lints may tell apart has another shape, and what they
// cannot has the same.
func TestShapes(t *testing.T) {
	a := shapeAuthority(t)
	p256 := newECKey(t, elliptic.P256())
	reference, ok := shape(t, a, shapeTemplate("press-0001"), p256)
	if !ok {
		t.Fatal("a device certificate has no shape")
	}
	same := func(name string, template *x509.Certificate, pub *ecdsa.PublicKey) {
		t.Helper()
		if got, ok := shape(t, a, template, pub); !ok || got != reference {
			t.Errorf("%s: another shape", name)
		}
	}
	other := func(name string, template *x509.Certificate, pub *ecdsa.PublicKey) {
		t.Helper()
		if got, ok := shape(t, a, template, pub); ok && got == reference {
			t.Errorf("%s: the same shape", name)
		}
	}
	same("other digits", shapeTemplate("press-9876"), p256)
	same("other letters", shapeTemplate("drill-0001"), p256)
	same("another key", shapeTemplate("press-0001"), newECKey(t, elliptic.P256()))
	other("another length", shapeTemplate("press-00010"), p256)
	other("another case", shapeTemplate("Press-0001"), p256)
	other("other punctuation", shapeTemplate("press_0001"), p256)
	other("a space", shapeTemplate("press 0001"), p256)
	other("another curve", shapeTemplate("press-0001"), newECKey(t, elliptic.P384()))
	for name, change := range map[string]func(*x509.Certificate){
		"another country":        func(c *x509.Certificate) { c.Subject.Country = []string{"ZZ"} },
		"one attribute more":     func(c *x509.Certificate) { c.Subject.Organization = []string{"x"} },
		"an alternative name":    func(c *x509.Certificate) { c.DNSNames = []string{"a.example"} },
		"another usage":          func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
		"a CRL":                  func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"http://ca.example/x.crl"} },
		"another validity":       func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Second) },
		"a longer serial number": func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(c.SerialNumber, 8) },
	} {
		template := shapeTemplate("press-0001")
		change(template)
		other(name, template, p256)
	}
	if _, ok := shape(t, a, func() *x509.Certificate { c := shapeTemplate("a"); c.DNSNames = []string{"a.example"}; return c }(), p256); ok {
		t.Error("a certificate with alternative names has a shape")
	}
}

// TestShapeSpeaksForAll lints certificates whose shape is known, fully: the
// verdict of the shape must be theirs. Names are drawn from everything that a
// subject may hold, so that most shapes come up with many values.
func TestShapeSpeaksForAll(t *testing.T) {
	a := shapeAuthority(t)
	letters := []rune("abcxyzABCXYZ0123456789-_.:/ äÜ*@'+=,()?&\t")
	verdicts := make(map[[32]byte]bool)
	known := 0
	for range 3000 {
		name := make([]rune, 1+mathrand.IntN(4))
		for i := range name {
			name[i] = letters[mathrand.IntN(len(letters))]
		}
		pub := newECKey(t, elliptic.P256())
		template := shapeTemplate(string(name))
		template.NotBefore, template.NotAfter = template.NotBefore.Truncate(time.Second), template.NotAfter.Truncate(time.Second)
		template.AuthorityKeyId = a.cert.SubjectKeyId
		template.SignatureAlgorithm = a.sigAlg
		p, err := prepare(template, a.cert, pub, Rules{})
		if err != nil {
			continue // refused before any lint
		}
		s, ok := shapeOf(p.cert, pub)
		if !ok {
			t.Fatalf("%q has no shape", string(name))
		}
		clean := lintCertificate(p.cert, pub, false) == nil
		if verdict, seen := verdicts[s]; seen {
			known++
			if verdict != clean {
				t.Errorf("%q is clean: %v; an earlier certificate of its shape: %v", string(name), clean, verdict)
			}
		}
		verdicts[s] = clean
	}
	if known < 300 {
		t.Errorf("only %d certificates had a known shape: the test proves little", known)
	}
}

// TestRelint: a known shape is linted again once in a while, and a finding
// makes it unknown.
func TestRelint(t *testing.T) {
	var s knownShapes
	key := [32]byte{1}
	if s.passed(key) {
		t.Error("an unknown shape passes")
	}
	s.learn(key, true)
	for i := range relintEvery {
		if !s.passed(key) {
			t.Fatalf("certificate %d of a known shape is linted", i)
		}
	}
	if s.passed(key) {
		t.Error("a known shape is never linted again")
	}
	s.learn(key, false)
	if s.passed(key) {
		t.Error("a shape passes after a finding")
	}
}
