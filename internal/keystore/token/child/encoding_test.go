package child

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/asn1"
	"math/big"
	"testing"

	"mintmark/internal/pkitest"
)

func TestParseEC(t *testing.T) {
	for i, alg := range []string{"P-256", "P-384", "P-521"} {
		public := pkitest.Key(t, alg).Public().(*ecdsa.PublicKey)
		point, err := public.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range [][]byte{wrapPoint(point), point} {
			if k, ok := parseEC(curves[i].params, p).(*ecdsa.PublicKey); !ok || !k.Equal(public) {
				t.Errorf("%s: %v", alg, k)
			}
		}
		off := bytes.Clone(point)
		off[len(off)-1] ^= 1
		for name, bad := range map[string][2][]byte{
			"no curve":       {nil, point},
			"another curve":  {curves[(i+1)%3].params, point},
			"no point":       {curves[i].params, nil},
			"half a point":   {curves[i].params, point[:len(point)/2]},
			"off the curve":  {curves[i].params, off},
			"infinity":       {curves[i].params, {0}},
			"trailing bytes": {curves[i].params, append(wrapPoint(point), 0)},
			"compressed":     {curves[i].params, append([]byte{2}, point[1:len(point)/2+1]...)},
		} {
			if k := parseEC(bad[0], bad[1]); k != nil {
				t.Errorf("%s, %s: %v", alg, name, k)
			}
		}
	}
}

func TestParseRSA(t *testing.T) {
	public := pkitest.Key(t, "RSA-2048").Public().(*rsa.PublicKey)
	n := public.N.Bytes()
	if k, ok := parseRSA(append([]byte{0}, n...), []byte{1, 0, 1}).(*rsa.PublicKey); !ok || !k.Equal(public) {
		t.Errorf("%v", k)
	}
	for name, bad := range map[string][2][]byte{
		"no modulus":      {nil, {1, 0, 1}},
		"a short modulus": {n[:60], {1, 0, 1}},
		"a long modulus":  {bytes.Repeat(n, 9), {1, 0, 1}},
		"no exponent":     {n, nil},
		"exponent one":    {n, {1}},
		"a long exponent": {n, {1, 0, 0, 0, 1}},
	} {
		if k := parseRSA(bad[0], bad[1]); k != nil {
			t.Errorf("%s: %v", name, k)
		}
	}
}

func TestUlong(t *testing.T) {
	for n := range 20 {
		v, ok := ulong(bytes.Repeat([]byte{1}, n))
		if ok != (n == 4 || n == 8) || ok && v != uint(0x0101010101010101>>(64-8*n)) {
			t.Errorf("%d bytes: %x, %t", n, v, ok)
		}
	}
}

// FuzzPublicKey: what tokens say of their keys gives a key or nothing.
func FuzzPublicKey(f *testing.F) {
	public := pkitest.Key(f, "P-256").Public().(*ecdsa.PublicKey)
	point, err := public.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(curves[0].params, wrapPoint(point))
	f.Add(curves[0].params, point)
	f.Add(pkitest.Key(f, "RSA-2048").Public().(*rsa.PublicKey).N.Bytes(), []byte{1, 0, 1})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if k, ok := parseEC(a, b).(*ecdsa.PublicKey); ok {
			p, err := k.Bytes()
			if err != nil || !bytes.Equal(p, b) && !bytes.Equal(wrapPoint(p), b) {
				t.Fatalf("% x gives % x, %v", b, p, err)
			}
		}
		if k, ok := parseRSA(a, b).(*rsa.PublicKey); ok && (k.E < 2 || k.N.BitLen() < 512) {
			t.Fatal(k)
		}
		ulong(a)
	})
}

// FuzzECDSA: r and s of a signature come back out of its DER.
func FuzzECDSA(f *testing.F) {
	for _, n := range []int{64, 96, 132} {
		f.Add(make([]byte, n))
		f.Add(bytes.Repeat([]byte{0xff}, n))
		f.Add(append(make([]byte, n-1), 1))
		f.Add(bytes.Repeat([]byte{0, 0x80, 0x7f, 1}, n/4))
	}
	f.Fuzz(func(t *testing.T, rs []byte) {
		if n := len(rs); n != 64 && n != 96 && n != 132 {
			return
		}
		got := appendECDSA([]byte("before"), rs)
		want, err := asn1.Marshal(struct{ R, S *big.Int }{
			new(big.Int).SetBytes(rs[:len(rs)/2]), new(big.Int).SetBytes(rs[len(rs)/2:])})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bytes.TrimPrefix(got, []byte("before")), want) {
			t.Fatalf("% x is % x, not % x", rs, got, want)
		}
	})
}
