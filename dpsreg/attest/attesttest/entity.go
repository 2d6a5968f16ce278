package attesttest

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// Entity is a certificate with its key and those above it.
type Entity struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
	now         time.Time
}

// NewRoot makes a root CA that has been valid for a day and is for ten years. Each
// change is made to its certificate before it is signed.
func NewRoot(t testing.TB, name string, now time.Time, changes ...func(*x509.Certificate)) Entity {
	t.Helper()
	key := pkitest.NewKey(t)
	template := authority(name, now)
	for _, change := range changes {
		change(template)
	}
	return Entity{sign(t, template, template, key, key), key, now}
}

// Sub makes a CA below e.
func (e Entity) Sub(t testing.TB, name string, changes ...func(*x509.Certificate)) Entity {
	t.Helper()
	return e.issue(t, authority(name, e.now), changes)
}

// Device makes a device's certificate below e.
func (e Entity) Device(t testing.TB, name string, changes ...func(*x509.Certificate)) Entity {
	t.Helper()
	return e.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: e.now.Add(-time.Hour), NotAfter: e.now.AddDate(0, 0, 90), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, changes)
}

func (e Entity) issue(t testing.TB, template *x509.Certificate, changes []func(*x509.Certificate)) Entity {
	t.Helper()
	for _, change := range changes {
		change(template)
	}
	key := pkitest.NewKey(t)
	return Entity{sign(t, template, e.Certificate, key, e.Key), key, e.now}
}

// Reissue signs template with the key of e, for key.
func (e Entity) Reissue(t testing.TB, template *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	return sign(t, template, e.Certificate, key, e.Key)
}

func authority(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(0, 0, -1), NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: -1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func sign(t testing.TB, template, parent *x509.Certificate, key, parentKey crypto.Signer) *x509.Certificate {
	t.Helper()
	if template.SerialNumber == nil {
		serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
		if err != nil {
			t.Fatal(err)
		}
		template.SerialNumber = serial.Add(serial, big.NewInt(1))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatalf("making the certificate of %q: %v", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
