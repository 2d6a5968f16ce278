package ca

import (
	"crypto/x509"
	"math/big"
	"testing"
)

// TestCRLLists: each entry of a signed CRL is found, and nothing else is.
func TestCRLLists(t *testing.T) {
	_, a, _ := hierarchy(t, "P-256")
	for _, n := range []int{0, 1, 300} {
		crl := emptyCRL()
		crl.Entries = manyEntries(n)
		der, err := a.SignCRL(t.Context(), crl)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range crl.Entries {
			if found, err := CRLLists(der, e.SerialNumber); err != nil || !found {
				t.Fatalf("serial number %x of %d: %v, %v", e.SerialNumber, n, found, err)
			}
		}
		for _, other := range []*big.Int{big.NewInt(0), big.NewInt(-1), new(big.Int).Lsh(big.NewInt(1), 150)} {
			if found, err := CRLLists(der, other); err != nil || found {
				t.Errorf("serial number %x of %d: %v, %v", other, n, found, err)
			}
		}
		for _, cut := range []int{0, 1, len(der) / 2, len(der) - 1} {
			if _, err := CRLLists(der[:cut], big.NewInt(1)); err == nil {
				t.Errorf("%d bytes of it were read", cut)
			}
		}
	}
}

// FuzzCRLLists: whatever the standard library reads, CRLLists reads alike.
func FuzzCRLLists(f *testing.F) {
	for _, seed := range headSeeds(f) {
		f.Add(seed, []byte{1})
	}
	f.Fuzz(func(t *testing.T, der, number []byte) {
		serial := new(big.Int).SetBytes(number)
		found, err := CRLLists(der, serial)
		if err != nil && found {
			t.Error("found in what cannot be read")
		}
		list, libraryErr := x509.ParseRevocationList(der)
		if libraryErr != nil {
			return
		}
		want := false
		for _, e := range list.RevokedCertificateEntries {
			want = want || e.SerialNumber.Cmp(serial) == 0
		}
		if err != nil || found != want {
			t.Errorf("found %v, %v; the library: %v", found, err, want)
		}
	})
}
