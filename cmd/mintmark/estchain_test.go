package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"
	"time"
)

// TestPathAbove: signatures decide what stands above a certificate, not names and not the
// order of the list; and a root of the same name that has not signed is no root of it.
func TestPathAbove(t *testing.T) {
	serial := int64(0)
	ca := func(name string, issuer *x509.Certificate, issuerKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		serial++
		template := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		if issuer == nil {
			issuer, issuerKey = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	root, rootKey := ca("Root", nil, nil)
	other, _ := ca("Root", nil, nil)
	issuing, issuingKey := ca("Issuing", root, rootKey)
	leaf, _ := ca("press-1", issuing, issuingKey)
	for _, test := range []struct {
		name    string
		list    []*x509.Certificate
		issuing []*x509.Certificate
		root    *x509.Certificate
	}{
		{"all", []*x509.Certificate{issuing, root}, []*x509.Certificate{issuing}, root},
		{"another root first", []*x509.Certificate{other, root, issuing}, []*x509.Certificate{issuing}, root},
		{"another root only", []*x509.Certificate{issuing, other}, []*x509.Certificate{issuing}, nil},
		{"the root only", []*x509.Certificate{root}, nil, nil},
		{"nothing", nil, nil, nil},
	} {
		issuing, root := pathAbove(leaf, test.list)
		if !slices.EqualFunc(issuing, test.issuing, (*x509.Certificate).Equal) || root != test.root {
			t.Errorf("%s: %d issuing CAs, root %v", test.name, len(issuing), root)
		}
	}
}
