package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

var (
	testNow    = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	background = context.Background()
)

// spy is a signer that counts what it signs, and can fail or lie.
type spy struct {
	crypto.Signer
	calls atomic.Int64
	fail  atomic.Pointer[error]
	lie   atomic.Bool
}

func (s *spy) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.calls.Add(1)
	if err := s.fail.Load(); err != nil {
		return nil, *err
	}
	if s.lie.Load() {
		digest = append([]byte{digest[0] ^ 1}, digest[1:]...)
	}
	return s.Signer.Sign(rand, digest, opts)
}

func opener(s crypto.Signer) func(context.Context) (crypto.Signer, error) {
	return func(context.Context) (crypto.Signer, error) { return s, nil }
}

func issue(t testing.TB, p *Prepared, err error) *x509.Certificate {
	t.Helper()
	if err != nil {
		t.Fatalf("preparing: %v", err)
	}
	p.Recorded()
	cert, err := p.Issue(background)
	if err != nil {
		t.Fatalf("issuing: %v", err)
	}
	return cert
}

func rootSpec() Spec {
	return Spec{Name: "root", Subject: pkix.Name{Organization: []string{"Mint Works"}, CommonName: "Mint Works Root CA 1"}, Validity: 20 * 365 * 24 * time.Hour, Backdate: time.Hour}
}

func issuingSpec() Spec {
	return Spec{
		Name:      "devices",
		Subject:   pkix.Name{Organization: []string{"Mint Works"}, CommonName: "Mint Works Device CA 1"},
		Validity:  10 * 365 * 24 * time.Hour,
		Backdate:  time.Hour,
		PathLen:   new(int),
		CRL:       []string{"http://pki.example.com/root.crl"},
		CAIssuers: []string{"http://pki.example.com/root.cer"},
	}
}

func makeRoot(t testing.TB, s Spec, key crypto.Signer) *Authority {
	t.Helper()
	template, err := s.Template(big.NewInt(0x1001), testNow)
	if err != nil {
		t.Fatal(err)
	}
	p, err := PrepareRoot(template, key)
	cert := issue(t, p, err)
	a, err := New(Config{Name: s.Name, Certificate: cert, Signer: opener(key)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func makeSub(t testing.TB, parent *Authority, s Spec, serial int64, key crypto.Signer) *Authority {
	t.Helper()
	template, err := s.Template(big.NewInt(serial), testNow)
	if err != nil {
		t.Fatal(err)
	}
	p, err := parent.Prepare(template, key.Public(), Rules{CA: true})
	cert := issue(t, p, err)
	a, err := New(Config{
		Name: s.Name, Certificate: cert, Signer: opener(key),
		Chain: append([]*x509.Certificate{parent.Certificate()}, parent.Chain()...),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// hierarchy returns a root and an issuing CA, whose key is the spy.
func hierarchy(t testing.TB, alg string) (root, issuing *Authority, key *spy) {
	t.Helper()
	rootKey := pkitest.Key(t, "P-384")
	key = &spy{Signer: pkitest.Key(t, alg)}
	if alg == "P-384" {
		rootKey = pkitest.SecondKey(t, alg)
	}
	root = makeRoot(t, rootSpec(), rootKey)
	issuing = makeSub(t, root, issuingSpec(), 0x2002, key)
	return root, issuing, key
}

// deviceTemplate is what a profile for devices makes.
func deviceTemplate() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes([]byte{0x69, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}),
		Subject:               pkix.Name{Organization: []string{"Mint Works"}, CommonName: "press-000142", SerialNumber: "000142"},
		NotBefore:             testNow.Add(-time.Hour),
		NotAfter:              testNow.AddDate(5, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		CRLDistributionPoints: []string{"http://pki.example.com/devices.crl"},
		IssuingCertificateURL: []string{"http://pki.example.com/devices.cer"},
		OCSPServer:            []string{"http://pki.example.com/ocsp"},
	}
}

// serverTemplate is one with every kind of alternative name.
func serverTemplate() *x509.Certificate {
	u, _ := url.Parse("urn:mint:press:142")
	t := deviceTemplate()
	t.SerialNumber = big.NewInt(0x5005)
	t.Subject = pkix.Name{CommonName: "est.factory.example"}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.DNSNames = []string{"est.factory.example", "est", "*.line1.factory.example"}
	t.IPAddresses = []net.IP{net.IPv4(10, 1, 2, 3).To4(), net.ParseIP("fd00::1")}
	t.EmailAddresses = []string{"pki@factory.example"}
	t.URIs = []*url.URL{u}
	return t
}
