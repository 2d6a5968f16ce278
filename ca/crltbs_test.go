package ca

import (
	"bytes"
	"crypto/x509"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestCRLAsTheLibraryEncodesIt: whatever the entries are, the bytes are those that
// crypto/x509 makes of them.
func TestCRLAsTheLibraryEncodesIt(t *testing.T) {
	_, issuing, _ := hierarchy(t, "P-256")
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 3, 4, 7, 200, 1500, 3000} {
		crl := CRL{Number: big.NewInt(int64(n) + 1), ThisUpdate: time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC), NextUpdate: time.Date(2060, 1, 8, 0, 0, 0, 0, time.UTC)}
		for i := range n {
			serial := new(big.Int).Lsh(big.NewInt(int64(1+random.IntN(255))), uint(random.IntN(19))*8) // also with the highest bit of an octet
			serial.Add(serial, big.NewInt(int64(i)*3))
			serial.SetBit(serial, 152, 1).Add(serial, new(big.Int).Lsh(big.NewInt(int64(i)), 153-13))
			if i < 3 {
				serial = big.NewInt([]int64{1, 128, 65535}[i])
			}
			at := time.Date(1950+random.IntN(109), 12, 31, 23, 59, 59, 999, time.FixedZone("", 3600))
			crl.Entries = append(crl.Entries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: at, ReasonCode: []int{0, 1, 2, 3, 4, 5, 6, 9, 10}[random.IntN(9)]})
		}
		c := &capture{public: issuing.cert.PublicKey}
		_, err := x509.CreateRevocationList(nil, &x509.RevocationList{
			SignatureAlgorithm: issuing.sigAlg, Number: crl.Number, ThisUpdate: crl.ThisUpdate, NextUpdate: crl.NextUpdate, RevokedCertificateEntries: crl.Entries,
		}, issuing.cert, c)
		want, err := c.result(err)
		if err != nil {
			t.Fatal(err)
		}
		p, err := issuing.PrepareCRL(crl)
		if err != nil {
			t.Fatalf("%d entries: %v", n, err)
		}
		if !bytes.Equal(p.TBS(), want) {
			t.Errorf("%d entries: encoded otherwise than by crypto/x509", n)
		}
	}
}

// TestHeaderSize compares lengths around each limit of X.690, Section 8.1.3.
func TestHeaderSize(t *testing.T) {
	for n, want := range map[int]int{0: 2, 127: 2, 128: 3, 255: 3, 256: 4, 65535: 4, 65536: 5, 1<<24 - 1: 5, 1 << 24: 6} {
		if got := headerSize(n); got != want || len(appendHeader(nil, 0x30, n)) != want {
			t.Errorf("%d: %d octets, want %d", n, got, want)
		}
	}
}

// TestCRLScope signs CRLs about some certificates only; what cannot be a scope is refused
// before the key is asked.
func TestCRLScope(t *testing.T) {
	_, issuing, key := hierarchy(t, "P-256")
	const point = "http://pki.example/crl/issuing/7.crl"
	crl := emptyCRL()
	crl.Entries = manyEntries(3)
	crl.Scope = &CRLScope{Points: []string{point}, OnlyUsers: true}
	der, err := issuing.SignCRL(background, crl)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil || len(list.RevokedCertificateEntries) != 3 {
		t.Fatalf("%v: %v", list, err)
	}
	found := false
	for _, x := range list.Extensions {
		if x.Id.String() == "2.5.29.28" {
			found = true
			want := append([]byte{0x30, byte(len(point) + 9), 0xa0, byte(len(point) + 4), 0xa0, byte(len(point) + 2), 0x86, byte(len(point))}, point...)
			if want = append(want, 0x81, 0x01, 0xff); !x.Critical || !bytes.Equal(x.Value, want) {
				t.Errorf("issuingDistributionPoint: critical %t, %x", x.Critical, x.Value)
			}
		}
	}
	if !found {
		t.Error("there is no issuingDistributionPoint")
	}
	calls := key.calls.Load()
	for name, points := range map[string][]string{
		"no point": nil, "an empty one": {""}, "a blank in it": {"http://pki.example/a b"}, "not ASCII": {"http://pki.example/ä"},
		"a long one": {"http://" + strings.Repeat("x", maxPoint)}, "many": make([]string, maxPoints+1),
	} {
		crl.Scope = &CRLScope{Points: points}
		if _, err := issuing.SignCRL(background, crl); err == nil || !strings.Contains(err.Error(), "CRL scope") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := key.calls.Load() - calls; n != 0 {
		t.Errorf("%d signatures", n)
	}
}
