package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// testCA is a certification authority for the tests.
type testCA struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newCA returns a CA under parent, or a root if parent is nil.
func newCA(t testing.TB, name string, parent *testCA) *testCA {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(10 * 365 * 24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if parent == nil {
		parent = &testCA{template, key}
	}
	return &testCA{sign(t, parent, template, key.Public()), key}
}

func newSerial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] = b[0]&0x7f | 1
	return new(big.Int).SetBytes(b)
}

func sign(t testing.TB, issuer *testCA, template *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.certificate, key, issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// device returns a certificate that the CA issued for a client, with its key.
func (c *testCA) device(t testing.TB, subject pkix.Name, edit func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      subject,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if edit != nil {
		edit(template)
	}
	certificate := sign(t, c, template, key.Public())
	return &tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key, Leaf: certificate}
}

// server returns a certificate for the EST server itself.
func (c *testCA) server(t testing.TB) *tls.Certificate {
	t.Helper()
	leaf := c.device(t, pkix.Name{CommonName: "est.test"}, func(template *x509.Certificate) {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		template.DNSNames = []string{"est.test", "localhost"}
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	leaf.Certificate = append(leaf.Certificate, c.certificate.Raw)
	return leaf
}

// authority is an Authority that really signs, and remembers in a map.
type authority struct {
	root    *testCA
	issuing *testCA

	mu       sync.Mutex
	records  map[string]ledger.Certificate // by the certificate's DER
	requests []issuer.Request              // what Enroll was asked
	enrolled error                         // what Enroll answers, if set
	holder   error                         // what Holder answers, if set
	extra    []*x509.Certificate           // more anchors
	between  *x509.Certificate             // an anchor between root and issuing CA
	second   *x509.Certificate             // another issuing CA under the root
	refused  []ledger.Refused              // what Refused was told

	secrets   map[string]string // one-time secrets by device
	secretErr error             // what DeviceSecret answers, if set
	queued    map[string]string // labels by the DER of requests that wait
	queuedErr error             // what Queued answers, if set
	asked     int               // how often Queued was asked
	bridges   []*x509.Certificate
	withdrawn bool // the issuing CA is revoked
}

func newAuthority(t testing.TB) *authority {
	root := newCA(t, "Test Root", nil)
	return &authority{root: root, issuing: newCA(t, "Test Issuing CA", root), records: make(map[string]ledger.Certificate),
		secrets: make(map[string]string), queued: make(map[string]string)}
}

// remember puts a certificate into the ledger.
func (a *authority) remember(c *x509.Certificate, profile string, edit func(*ledger.Certificate)) {
	record := ledger.Certificate{
		Serial: ledger.Serial(serial(c)), Issuer: "issuing", Profile: profile, Purpose: ledger.ForDevice,
		Device: c.Subject.CommonName, NotBefore: c.NotBefore, NotAfter: c.NotAfter, State: ledger.Valid, DER: c.Raw,
	}
	if edit != nil {
		edit(&record)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.records[string(c.Raw)] = record
}

// own returns a device certificate that the ledger knows.
func (a *authority) own(t testing.TB, name string, edit func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	c := a.issuing.device(t, pkix.Name{CommonName: name}, edit)
	a.remember(c.Leaf, "device", nil)
	return c
}

// revoke marks a certificate as revoked.
func (a *authority) revoke(c *tls.Certificate) {
	a.remember(c.Leaf, "device", func(r *ledger.Certificate) { r.State = ledger.Revoked })
}

// last returns the last request that Enroll was asked.
func (a *authority) last(t testing.TB) issuer.Request {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.requests) == 0 {
		t.Fatal("the authority was not asked")
	}
	return a.requests[len(a.requests)-1]
}

func (a *authority) Anchors(name string) []*x509.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	if name == "second" && a.second != nil {
		return []*x509.Certificate{a.root.certificate, a.second}
	}
	if name != "issuing" {
		return nil
	}
	list := []*x509.Certificate{a.root.certificate}
	if a.between != nil {
		list = append(list, a.between)
	}
	return append(append(list, a.issuing.certificate), a.extra...)
}

func (a *authority) Holder(_ context.Context, c *x509.Certificate) (ledger.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.holder != nil {
		return ledger.Certificate{}, a.holder
	}
	if c.CheckSignatureFrom(a.issuing.certificate) != nil {
		return ledger.Certificate{}, issuer.ErrForeign
	}
	record, ok := a.records[string(c.Raw)]
	if !ok {
		return record, &issuer.Refusal{Kind: issuer.Forbidden, Rule: ruleUnknown, Text: "the client certificate is not in the records of this server"}
	}
	if record.State == ledger.Revoked {
		return record, &issuer.Refusal{Kind: issuer.Forbidden, Rule: "certificate-revoked", Text: "the client certificate is revoked"}
	}
	return record, nil
}

// OrderCredential knows no work order; those of the real authority are in
// order_test.go.
func (a *authority) OrderCredential(context.Context, string, string, string) (ledger.Order, error) {
	return ledger.Order{}, &issuer.Refusal{Kind: issuer.Unauthenticated, Rule: ruleCredential, Text: "unknown", Err: ledger.ErrNotFound}
}

func (a *authority) ClaimOrder(context.Context, string, ledger.Certificate) (ledger.Order, error) {
	return ledger.Order{}, &issuer.Refusal{Kind: issuer.Forbidden, Rule: "order-unknown", Text: "unknown"}
}

func (a *authority) Refused(r ledger.Refused) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = append(a.refused, r)
}

func (a *authority) Enroll(ctx context.Context, r issuer.Request) (issuer.Answer, error) {
	a.mu.Lock()
	a.requests = append(a.requests, r)
	err := a.enrolled
	a.mu.Unlock()
	if err != nil {
		return issuer.Answer{}, err
	}
	refuse := func(kind issuer.Kind, rule, text string) (issuer.Answer, error) {
		a.Refused(ledger.Refused{Operation: r.Operation, Rule: rule, Text: text, Requester: r.Requester})
		return issuer.Answer{}, &issuer.Refusal{Kind: kind, Rule: rule, Text: text, Recorded: true}
	}
	csr, err := x509.ParseCertificateRequest(r.CSR)
	if err != nil {
		return refuse(issuer.Malformed, "csr-syntax", "the certification request cannot be parsed")
	}
	key := r.Generated
	if key == nil {
		key = csr.PublicKey
	}
	if r.Generated == nil && csr.CheckSignature() != nil {
		return refuse(issuer.Malformed, "csr-signature", "the signature of the certification request does not verify")
	}
	if old := r.Renews; old != nil {
		if csr.Subject.String() != old.Subject.String() {
			return refuse(issuer.Malformed, "renewal-subject", "the subject is not that of the certificate being renewed")
		}
		if !slices.Equal(slices.Sorted(slices.Values(csr.DNSNames)), slices.Sorted(slices.Values(old.DNSNames))) {
			return refuse(issuer.Malformed, "renewal-san", "the alternative names are not those of the certificate being renewed")
		}
	}
	if r.Device != "" && csr.Subject.CommonName != r.Device {
		return refuse(issuer.Forbidden, "device", "the request names another device than the requester")
	}
	template := &x509.Certificate{
		SerialNumber: newSerial(), RawSubject: csr.RawSubject, DNSNames: csr.DNSNames,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.issuing.certificate, key, a.issuing.key)
	if err != nil {
		return issuer.Answer{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return issuer.Answer{}, err
	}
	a.remember(certificate, r.Profile, nil)
	return issuer.Answer{
		Serial:      ledger.Serial(serial(certificate)),
		Certificate: certificate,
		Chain:       []*x509.Certificate{a.issuing.certificate},
	}, nil
}

// newCSR returns the DER of a certification request.
func newCSR(t testing.TB, key crypto.Signer, name string, dns ...string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name}, DNSNames: dns,
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// brokenCSR returns a certification request whose signature does not verify.
func brokenCSR(t testing.TB, name string) []byte {
	t.Helper()
	der := newCSR(t, newKey(t), name)
	// The name stands in clear in what is signed.
	i := bytes.Index(der, []byte(name))
	der[i] ^= 1
	return der
}

func (a *authority) DeviceSecret(_ context.Context, device, secret string) (ledger.DeviceSecret, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	want, ok := a.secrets[device]
	if a.secretErr != nil {
		return ledger.DeviceSecret{}, a.secretErr
	}
	if !ok {
		return ledger.DeviceSecret{}, &issuer.Refusal{Kind: issuer.Unauthenticated, Rule: ruleCredential, Text: "unknown", Err: ledger.ErrNotFound}
	}
	if want != secret {
		return ledger.DeviceSecret{}, &issuer.Refusal{Kind: issuer.Unauthenticated, Rule: ruleCredential, Text: "wrong"}
	}
	return ledger.DeviceSecret{Device: device, SHA256: sha256.Sum256([]byte(secret))}, nil
}

func (a *authority) Queued(_ context.Context, csr []byte) (string, bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	label, ok := a.queued[string(csr)]
	return label, ok, a.queuedErr
}

func (a *authority) Wants(string) issuer.Wants { return issuer.Wants{} }

func (a *authority) GenerateKey(context.Context, issuer.Request, crypto.PublicKey) (crypto.Signer, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func (a *authority) Bridges(string) []*x509.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bridges
}

func (a *authority) Withdrawn(string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.withdrawn
}
