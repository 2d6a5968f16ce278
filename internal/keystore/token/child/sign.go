//go:build linux && cgo && !nopkcs11

package child

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"

	"github.com/miekg/pkcs11"

	"mintmark/internal/keystore/token/wire"
)

// maxSignature is the longest signature, in bytes: RSA with 8192 bits.
const maxSignature = 1024

// sign makes one signature and appends it to out; raw is space for what the library
// returns.
func (l *library) sign(out, raw []byte, r *wire.Sign) ([]byte, error) {
	err := l.use(func(s *session) error {
		k, object, err := l.lookup(s, r.Handle)
		if err != nil {
			return err
		}
		mechanism := uint(pkcs11.CKM_ECDSA)
		switch {
		case r.Mechanism == wire.ECDSA && k.kind == pkcs11.CKK_EC:
		case r.Mechanism == wire.RSA && k.kind == pkcs11.CKK_RSA:
			mechanism = pkcs11.CKM_RSA_PKCS
		default:
			return trouble(wire.BadRequest, "the key is not of the kind of that mechanism")
		}
		if len(r.Input) == 0 {
			return trouble(wire.BadRequest, "there is nothing to sign")
		}
		n, call, code := l.functions.sign(uint(s.handle), uint(object), mechanism, r.Input, raw)
		if code != pkcs11.CKR_OK {
			return s.broken(call, pkcs11.Error(code))
		}
		if n != k.size {
			s.lost = true
			return trouble(wire.BadSignature, "C_Sign returned %d bytes where a signature of the key has %d", n, k.size)
		}
		if k.kind == pkcs11.CKK_EC {
			out = appendECDSA(out, raw[:n])
		} else {
			out = append(out, raw[:n]...)
		}
		return nil
	})
	return out, err
}

// signatureSize is how many bytes C_Sign returns with a key (PKCS#11 v2.40 mechanisms,
// Section 2.3.1: twice the length of the order; Section 2.1.6: that of the modulus).
func signatureSize(kind uint, public []byte) (int, error) {
	parsed, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		return 0, trouble(wire.BadKey, "the public key in the token: %v", err)
	}
	size := 0
	switch k := parsed.(type) {
	case *ecdsa.PublicKey:
		if kind == pkcs11.CKK_EC {
			size = 2 * ((k.Curve.Params().N.BitLen() + 7) / 8)
		}
	case *rsa.PublicKey:
		if kind == pkcs11.CKK_RSA {
			size = k.Size()
		}
	}
	if size == 0 || size > maxSignature {
		return 0, trouble(wire.BadKey, "the key in the token is of a kind that cannot be used (CKA_KEY_TYPE 0x%x)", kind)
	}
	return size, nil
}
