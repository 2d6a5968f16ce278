package dpssim

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	arms "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/deviceprovisioningservices/armdeviceprovisioningservices"

	"mintmark/internal/pkitest"
)

// armCA is a CA whose certificate is uploaded.
type armCA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newArmCA makes a self-signed CA; change may spoil its template.
func newArmCA(t testing.TB, name string, change ...func(*x509.Certificate)) *armCA {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, Organization: []string{"Example Works"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	for _, f := range change {
		f(tmpl)
	}
	key := pkitest.NewKey(t)
	return &armCA{signCertificate(t, tmpl, tmpl, key.Public(), key), key}
}

// proof makes a certificate of proof for a verification code; change may spoil it.
func (a *armCA) proof(t testing.TB, code string, change ...func(*x509.Certificate)) []byte {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: code}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	for _, f := range change {
		f(tmpl)
	}
	return signCertificate(t, tmpl, a.cert, pkitest.NewKey(t).Public(), a.key).Raw
}

func signCertificate(t testing.TB, tmpl, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(nil, tmpl, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// pemOf is a certificate as clients that read files have it.
func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// certificates is the vendor's own client.
func (s *Sim) certificates(t testing.TB) *arms.DpsCertificateClient {
	t.Helper()
	c, err := arms.NewDpsCertificateClient(s.Config().SubscriptionID, s.credential(t), &arm.ClientOptions{ClientOptions: s.options(t), DisableRPRegistration: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantStatus checks an error of the vendor's client; 0 wants none.
func wantStatus(t testing.TB, what string, err error, status int) *azcore.ResponseError {
	t.Helper()
	var failed *azcore.ResponseError
	switch {
	case status == 0 && err == nil:
	case status == 0:
		t.Fatalf("%s: %v", what, err)
	case !errors.As(err, &failed):
		t.Fatalf("%s: %v, want status %d", what, err, status)
	case failed.StatusCode != status:
		t.Fatalf("%s: status %d, want %d: %v", what, failed.StatusCode, status, err)
	}
	return failed
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
