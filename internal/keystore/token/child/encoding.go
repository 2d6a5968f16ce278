package child

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
)

// curves are those that tokens name in CKA_EC_PARAMS, as an object identifier in DER
// (PKCS#11 v2.40 mechanisms, Section 2.3.3; RFC 5480, Section 2.1.1.1).
var curves = []struct {
	curve  elliptic.Curve
	params []byte
}{
	{elliptic.P256(), []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}},
	{elliptic.P384(), []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}},
	{elliptic.P521(), []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23}},
}

// wrapPoint writes a point as CKA_EC_POINT has it: in a DER OCTET STRING.
func wrapPoint(point []byte) []byte {
	der, err := asn1.Marshal(point)
	if err != nil {
		panic("a byte string has no DER: " + err.Error())
	}
	return der
}

// parseEC reads CKA_EC_PARAMS and CKA_EC_POINT. Some tokens leave the point without
// the OCTET STRING around it. It returns nil for what is no key.
func parseEC(params, point []byte) any {
	for _, c := range curves {
		if !bytes.Equal(params, c.params) {
			continue
		}
		var inner []byte
		if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 {
			if k, err := ecdsa.ParseUncompressedPublicKey(c.curve, inner); err == nil {
				return k
			}
		}
		if k, err := ecdsa.ParseUncompressedPublicKey(c.curve, point); err == nil {
			return k
		}
	}
	return nil
}

// parseRSA reads CKA_MODULUS and CKA_PUBLIC_EXPONENT. It returns nil for what is no
// key.
func parseRSA(modulus, exponent []byte) any {
	n, e := new(big.Int).SetBytes(modulus), new(big.Int).SetBytes(exponent)
	if n.BitLen() < 512 || n.BitLen() > 16384 || e.BitLen() > 31 || e.Int64() < 2 {
		return nil
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}
}

// ulong reads a CK_ULONG, which is in the order of the machine.
func ulong(b []byte) (uint, bool) {
	switch len(b) {
	case 8:
		return uint(binary.NativeEndian.Uint64(b)), true
	case 4:
		return uint(binary.NativeEndian.Uint32(b)), true
	}
	return 0, false
}

// appendECDSA appends a signature that is r and then s, of half the length each, as
// Ecdsa-Sig-Value (RFC 3279, Section 2.2.3). The length is that of the curve and at
// most 132.
func appendECDSA(b, rs []byte) []byte {
	r, s := integer(rs[:len(rs)/2]), integer(rs[len(rs)/2:])
	n := len(r) + len(s) + 4
	if r[0] >= 0x80 {
		n++
	}
	if s[0] >= 0x80 {
		n++
	}
	b = append(b, 0x30)
	if n >= 0x80 {
		b = append(b, 0x81)
	}
	b = append(b, byte(n))
	for _, v := range [][]byte{r, s} {
		if v[0] >= 0x80 {
			b = append(b, 0x02, byte(len(v)+1), 0)
		} else {
			b = append(b, 0x02, byte(len(v)))
		}
		b = append(b, v...)
	}
	return b
}

// integer drops leading zeros, but for the last byte.
func integer(v []byte) []byte {
	for len(v) > 1 && v[0] == 0 {
		v = v[1:]
	}
	return v
}
