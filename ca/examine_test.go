package ca_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/pkitest"
)

// listed is a root with a CRL of its own; change may alter the list.
func listed(t testing.TB, change func(*x509.RevocationList)) (*ca.Authority, []byte) {
	t.Helper()
	key := pkitest.NewKey(t)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(4711), Subject: pkix.Name{CommonName: "Root"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a, err := ca.New(ca.Config{Name: "root", Certificate: root})
	if err != nil {
		t.Fatal(err)
	}
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)}
	if change != nil {
		change(list)
	}
	crl, err := x509.CreateRevocationList(rand.Reader, list, root, key)
	if err != nil {
		t.Fatal(err)
	}
	return a, crl
}

func TestReadCRL(t *testing.T) {
	entry := x509.RevocationListEntry{SerialNumber: big.NewInt(7), RevocationTime: time.Now().Add(-time.Hour), ReasonCode: 4}
	a, crl := listed(t, func(l *x509.RevocationList) { l.RevokedCertificateEntries = []x509.RevocationListEntry{entry} })
	list, err := a.ReadCRL(crl)
	if err != nil || list.Number.Int64() != 1 || len(list.RevokedCertificateEntries) != 1 {
		t.Fatalf("read %+v, %v", list, err)
	}
	for name, der := range map[string][]byte{
		"nothing": nil, "cut off": crl[:len(crl)-1], "more behind it": append(crl[:len(crl):len(crl)], 0), "another's": another(t),
	} {
		if _, err := a.ReadCRL(der); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	a, crl = listed(t, func(l *x509.RevocationList) { l.Number = new(big.Int).Lsh(big.NewInt(1), 63) })
	if _, err := a.ReadCRL(crl); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a number that does not fit: %v", err)
	}
}

func another(t testing.TB) []byte {
	t.Helper()
	_, crl := listed(t, nil)
	return crl
}

// FuzzReadCRL: what is taken is complete, and was signed as it stands.
func FuzzReadCRL(f *testing.F) {
	a, crl := listed(f, nil)
	f.Add(crl)
	f.Add(crl[:len(crl)-1])
	f.Add(append(crl[:len(crl):len(crl)], 0))
	f.Add(another(f))
	f.Fuzz(func(t *testing.T, der []byte) {
		list, err := a.ReadCRL(der)
		if err != nil {
			if list != nil {
				t.Error("a list and an error")
			}
			return
		}
		if string(list.Raw) != string(der) || list.CheckSignatureFrom(a.Certificate()) != nil || list.Number == nil || !list.Number.IsInt64() {
			t.Errorf("took %x", der)
		}
	})
}
