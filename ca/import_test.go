package ca

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

func TestImport(t *testing.T) {
	root, issuing, key := hierarchy(t, "P-256")
	r, i := root.Certificate(), issuing.Certificate()
	other := makeRoot(t, Spec{Name: "other", Subject: pkix.Name{CommonName: "Other Root"}, Validity: time.Hour}, pkitest.SecondKey(t, "P-384")).Certificate()
	second := makeSub(t, root, Spec{Name: "second", Subject: pkix.Name{CommonName: "Second CA"}, Validity: time.Hour}, 9, pkitest.SecondKey(t, "P-256")).Certificate()
	// The same root once more, certified by the other one.
	crossTemplate, err := rootSpec().Template(big.NewInt(77), testNow)
	if err != nil {
		t.Fatal(err)
	}
	crossTemplate.RawSubject, crossTemplate.SubjectKeyId, crossTemplate.NotAfter = r.RawSubject, r.SubjectKeyId, other.NotAfter
	otherRoot, err := New(Config{Name: "other", Certificate: other, Signer: opener(pkitest.SecondKey(t, "P-384"))})
	if err != nil {
		t.Fatal(err)
	}
	p, err := otherRoot.Prepare(crossTemplate, r.PublicKey, Rules{CA: true})
	cross := issue(t, p, err)
	p, err = issuing.Prepare(deviceTemplate(), pkitest.SecondKey(t, "P-256").Public(), Rules{})
	device := issue(t, p, err)

	good := func(certs ...*x509.Certificate) {
		t.Helper()
		a, err := Import("devices", certs, opener(key))
		if err != nil {
			t.Fatalf("importing: %v", err)
		}
		if !a.Certificate().Equal(i) || !a.Root().Equal(a.Chain()[len(a.Chain())-1]) || a.Name() != "devices" {
			t.Errorf("imported %v", certName(a.Certificate()))
		}
		if err := a.TestSign(background); err != nil {
			t.Error(err)
		}
	}
	bad := func(want string, certs ...*x509.Certificate) {
		t.Helper()
		if _, err := Import("devices", certs, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	good(i, r)
	good(r, i, nil, i)
	good(cross, other, i)
	bad("holds no certificate")
	bad("missing from the bundle", i)
	bad("more than one path", i, second, r)
	bad("more than one path", i, r, other)
	bad("both certify", i, r, cross, other)
	bad("missing from the bundle", i, cross)
	bad("is not a CA certificate", device, i, r)
	if a, err := Import("root", []*x509.Certificate{r}, nil); err != nil || len(a.Chain()) != 0 || !a.Root().Equal(r) {
		t.Errorf("importing a root: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	root, issuing, _ := hierarchy(t, "P-256")
	r, i := root.Certificate(), issuing.Certificate()
	other := makeRoot(t, Spec{Name: "other", Subject: pkix.Name{CommonName: "Other Root"}, Validity: time.Hour}, pkitest.SecondKey(t, "P-384")).Certificate()
	spoiled := func(c *x509.Certificate, f func(*x509.Certificate)) *x509.Certificate {
		copied := *c
		f(&copied)
		return &copied
	}
	for _, tt := range []struct {
		name, want string
		cfg        Config
	}{
		{"no name", "needs a name", Config{Certificate: r}},
		{"no certificate", "is required", Config{Name: "x"}},
		{"not a CA", "is not a CA certificate", Config{Name: "x", Certificate: spoiled(r, func(c *x509.Certificate) { c.IsCA = false })}},
		{"no keyCertSign", "lacks keyCertSign", Config{Name: "x", Certificate: spoiled(r, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })}},
		{"no cRLSign", "lacks cRLSign", Config{Name: "x", Certificate: spoiled(r, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })}},
		{"no key identifier", "no subject key identifier", Config{Name: "x", Certificate: spoiled(r, func(c *x509.Certificate) { c.SubjectKeyId = nil })}},
		{"critical extension", "not understood", Config{Name: "x", Certificate: spoiled(r, func(c *x509.Certificate) { c.UnhandledCriticalExtensions = []asn1.ObjectIdentifier{{1, 2, 3}} })}},
		{"no chain", "without its chain", Config{Name: "x", Certificate: i}},
		{"wrong chain", "is not the issuer", Config{Name: "x", Certificate: i, Chain: []*x509.Certificate{other}}},
		{"chain beyond the root", "is not the issuer", Config{Name: "x", Certificate: r, Chain: []*x509.Certificate{other}}},
		{"hole in the chain", "is missing", Config{Name: "x", Certificate: i, Chain: []*x509.Certificate{nil}}},
		{"chain with another key identifier", "another key identifier", Config{Name: "x", Certificate: i, Chain: []*x509.Certificate{spoiled(r, func(c *x509.Certificate) { c.SubjectKeyId = []byte{1} })}}},
		{"signature that is broken", "was not signed by", Config{Name: "x", Certificate: spoiled(i, func(c *x509.Certificate) { c.Signature = r.Signature }), Chain: []*x509.Certificate{r}}},
		{"path length of the chain", "allows a path length", Config{Name: "x", Certificate: i, Chain: []*x509.Certificate{spoiled(r, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })}}},
	} {
		if a, err := New(tt.cfg); err == nil || a != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestSpecRefuses(t *testing.T) {
	minus := -1
	for _, tt := range []struct {
		want  string
		spoil func(*Spec)
	}{
		{"needs a subject", func(s *Spec) { s.Subject = pkix.Name{} }},
		{"validity or a notAfter", func(s *Spec) { s.Validity = 0 }},
		{"only one", func(s *Spec) { s.NotAfter = testNow.AddDate(1, 0, 0) }},
		{"in the past", func(s *Spec) { s.Validity, s.NotAfter = 0, testNow }},
		{"backdate", func(s *Spec) { s.Backdate = -1 }},
		{"path length", func(s *Spec) { s.PathLen = &minus }},
	} {
		s := rootSpec()
		tt.spoil(&s)
		if _, err := s.Template(one, testNow); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
	if _, err := PrepareRoot(deviceTemplate(), pkitest.Key(t, "P-256")); err == nil || !strings.Contains(err.Error(), "not a CA certificate") {
		t.Errorf("a root that is no CA: %v", err)
	}
}

func TestRequest(t *testing.T) {
	s := issuingSpec()
	s.Permitted.DNS = []string{"factory.example"}
	for _, alg := range []string{"P-256", "RSA-3072"} {
		der, err := s.Request(pkitest.Key(t, alg))
		if err != nil {
			t.Fatal(err)
		}
		text := pkitest.OpenSSL(t, "req", "-inform", "DER", "-in", pkitest.WriteFile(t, "ca.csr", der), "-noout", "-text", "-verify")
		for _, want := range []string{"verify OK", "CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "X509v3 Name Constraints: critical", "DNS:factory.example", "Mint Works Device CA 1"} {
			if !strings.Contains(text, want) {
				t.Errorf("openssl req does not show %q:\n%s", want, text)
			}
		}
	}
	// An external CA takes the requested extensions, and the result imports.
	dir := t.TempDir()
	root := makeRoot(t, rootSpec(), pkitest.Key(t, "P-384"))
	csr, err := s.Request(pkitest.Key(t, "P-256"))
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(pkitest.Key(t, "P-384"))
	if err != nil {
		t.Fatal(err)
	}
	out := dir + "/issued.der"
	pkitest.OpenSSL(t, "x509", "-req", "-days", "30", "-copy_extensions", "copyall",
		"-in", pkitest.WriteFile(t, "ca.csr", pkitest.PEM("CERTIFICATE REQUEST", csr)),
		"-CA", pkitest.WriteFile(t, "root.pem", pkitest.PEM("CERTIFICATE", root.Certificate().Raw)),
		"-CAkey", pkitest.WriteFile(t, "root.key", pkitest.PEM("PRIVATE KEY", keyDER)),
		"-extfile", pkitest.WriteFile(t, "ext", []byte("subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")),
		"-outform", "DER", "-out", out)
	issued, err := x509.ParseCertificate(pkitest.ReadFile(t, out))
	if err != nil {
		t.Fatal(err)
	}
	a, err := Import("devices", []*x509.Certificate{root.Certificate(), issued}, opener(pkitest.Key(t, "P-256")))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Open(background); err != nil {
		t.Error(err)
	}
}
