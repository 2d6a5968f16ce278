package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"mintmark/awsreg/hook"
)

// testCA is a CA and its revocation list.
type testCA struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func makeCA(t testing.TB) testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(day),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	ca := testCA{t: t, key: key}
	ca.cert = ca.certify(template, template)
	return ca
}

func (ca testCA) certify(template, parent *x509.Certificate) *x509.Certificate {
	ca.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, ca.key.Public(), ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return c
}

func (ca testCA) device(serial int64, name string) *x509.Certificate {
	return ca.certify(&x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, ca.cert)
}

func (ca testCA) crl(revoked ...int64) []byte {
	ca.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, serial := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return der
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// newCA is the certificate of some CA, in PEM.
func newCA(t testing.TB) string { return pemOf(makeCA(t).cert) }

// newRequest is a certification request in PEM.
func newRequest(t testing.TB, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// connection is the event of a client with a certificate.
func connection(t testing.TB, certificate string) map[string]any {
	t.Helper()
	block, _ := pem.Decode([]byte(certificate))
	return map[string]any{
		"connectionMetadata": map[string]any{"id": "c-1"}, "principalId": fmt.Sprintf("%x", sha256.Sum256(block.Bytes)),
		"serverName": "x.iot.eu-central-1.amazonaws.com", "clientCertificateChain": []string{certificate},
	}
}

func TestConnectFunction(t *testing.T) {
	const yes, no = `{"isAuthenticated":true}`, `{"isAuthenticated":false}`
	w, ca := newWorld(t), makeCA(t)
	good, bad := ca.device(2, "SN-002"), ca.device(3, "SN-003")
	list := ca.crl(3)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(list) }))
	defer site.Close()

	marks := start(t, "connect", w.env()...)
	marks.asks(connection(t, pemOf(bad)), yes)
	f := start(t, "connect", w.env("MINTMARK_CRLS="+site.URL+"/crl", "MINTMARK_ANCHORS="+pemOf(ca.cert))...)
	for name, payload := range malformed(t, connection(t, pemOf(good))) {
		if answer, err := f.invoke(payload, long); err != nil || answer != no {
			t.Errorf("%s: %s, %v", name, answer, err)
		}
	}
	f.asks(connection(t, pemOf(good)), yes)
	f.asks(connection(t, pemOf(bad)), no)
	w.put(hook.HeldItem("SN-002", "SN-002"))
	for _, function := range []*function{f, marks} {
		function.asks(connection(t, pemOf(good)), no)
	}
	w.remove(hook.HeldKey("SN-002"))
	f.asks(connection(t, pemOf(good)), yes)
	f.asks(connection(t, pemOf(makeCA(t).device(2, "SN-002"))), no) // of another CA

	// An old manifest refuses what no list answers for.
	w.put(hook.Head{PushedAt: time.Now().Add(-2 * time.Minute), Server: "a", MaxAge: time.Hour}.Item())
	strict := start(t, "connect", w.env("MINTMARK_MAX_AGE=1m")...)
	strict.asks(connection(t, pemOf(good)), no)
	marks.asks(connection(t, pemOf(good)), yes)
	strict = start(t, "connect", w.env("MINTMARK_MAX_AGE=1m", "MINTMARK_CRLS="+site.URL+"/crl", "MINTMARK_ANCHORS="+pemOf(ca.cert))...)
	strict.asks(connection(t, pemOf(good)), yes)

	site.Close()
	down := start(t, "connect", w.env("MINTMARK_CRLS="+site.URL+"/crl", "MINTMARK_ANCHORS="+pemOf(ca.cert))...)
	down.asks(connection(t, pemOf(good)), no)
}
