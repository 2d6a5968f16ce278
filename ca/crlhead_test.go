package ca

import (
	"bytes"
	"crypto/x509"
	"math/big"
	"testing"
	"time"
)

func headSeeds(t testing.TB) [][]byte {
	_, issuing, _ := hierarchy(t, "P-256")
	var seeds [][]byte
	for n, number := range map[int]*big.Int{0: big.NewInt(1), 3: big.NewInt(1 << 40), 4: new(big.Int).Lsh(one, 63), 5: new(big.Int).Sub(new(big.Int).Lsh(one, 63), one)} {
		crl := CRL{Number: number, ThisUpdate: testNow.Add(time.Hour), NextUpdate: testNow.AddDate(60, 0, 0), Entries: manyEntries(n)}
		if n == 3 {
			crl.Scope = &CRLScope{Points: []string{"http://pki.example/crl/issuing/1.crl"}, OnlyUsers: true}
		}
		der, err := issuing.SignCRL(background, crl)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, der)
	}
	return append(seeds, nil, []byte{0x30, 0}, []byte("-----BEGIN X509 CRL-----"))
}

// TestReadCRLHead: a number that nothing could follow is refused.
func TestReadCRLHead(t *testing.T) {
	good := 0
	for _, der := range headSeeds(t) {
		head, err := ReadCRLHead(der)
		list, perr := x509.ParseRevocationList(der)
		fits := perr == nil && list.Number.IsInt64() && list.Number.Int64() < 1<<63-1
		if fits != (err == nil) {
			t.Errorf("%.20x: %v", der, err)
		}
		if fits {
			good++
			if head.Number != list.Number.Int64() || !head.ThisUpdate.Equal(list.ThisUpdate) {
				t.Errorf("read %+v", head)
			}
			if err == nil && (head.Scope != nil) != (head.Number == 1<<40) {
				t.Errorf("scope %x of CRL %d", head.Scope, head.Number)
			}
			if _, err := ReadCRLHead(append(bytes.Clone(der), 0)); err == nil {
				t.Error("with something after it")
			}
			if _, err := ReadCRLHead(der[:len(der)-1]); err == nil {
				t.Error("cut short")
			}
		}
	}
	if good != 2 {
		t.Errorf("%d good ones", good)
	}
}

// FuzzReadCRLHead: what crypto/x509 reads as a CRL is read alike.
func FuzzReadCRLHead(f *testing.F) {
	for _, seed := range headSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		head, err := ReadCRLHead(der)
		if err != nil {
			if head.Number != 0 || head.Scope != nil {
				t.Errorf("an error and %+v", head)
			}
			return
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil || list.Number == nil {
			return // it verifies less
		}
		if !list.Number.IsInt64() || list.Number.Int64() != head.Number || !list.ThisUpdate.Equal(head.ThisUpdate) {
			t.Errorf("number %v, this update %v; read %+v", list.Number, list.ThisUpdate, head)
		}
	})
}
