package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"

	"mintmark/internal/keystore/token/wire"
)

// digestInfo is the DER before a digest in a DigestInfo (RFC 8017, Section 9.2, note 1).
var digestInfo = map[crypto.Hash][]byte{
	crypto.SHA256: {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20},
	crypto.SHA384: {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30},
	crypto.SHA512: {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40},
}

// inputOf checks what is to be signed and returns it as the token wants it.
func inputOf(public crypto.PublicKey, digest []byte, opts crypto.SignerOpts) (wire.Mechanism, []byte, error) {
	if opts == nil {
		return 0, nil, errors.New("signing in a token: no hash function is given")
	}
	if _, ok := opts.(*rsa.PSSOptions); ok {
		return 0, nil, errors.New("signing in a token: RSA-PSS signatures are not made: use PKCS #1 v1.5")
	}
	hash := opts.HashFunc()
	prefix, ok := digestInfo[hash]
	if !ok {
		return 0, nil, fmt.Errorf("signing in a token: the hash function %v is none of SHA-256, SHA-384 and SHA-512", hash)
	}
	if len(digest) != hash.Size() {
		return 0, nil, fmt.Errorf("signing in a token: the digest has %d bytes, and one of %v has %d", len(digest), hash, hash.Size())
	}
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		// Tokens differ in what they do with a digest longer than the order of the
		// curve; its left part is what counts (FIPS 186-5, Section 6.4.1).
		size := (public.Curve.Params().N.BitLen() + 7) / 8
		return wire.ECDSA, digest[:min(len(digest), size)], nil
	case *rsa.PublicKey:
		return wire.RSA, slices.Concat(prefix, digest), nil
	}
	return 0, nil, fmt.Errorf("signing in a token: a %T does not sign here", public)
}

// verifies checks a signature over digest, a SHA-256.
func verifies(public crypto.PublicKey, digest, signature []byte) error {
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(public, digest, signature) {
			return errBadSignature
		}
		return nil
	case *rsa.PublicKey:
		if rsa.VerifyPKCS1v15(public, crypto.SHA256, digest, signature) != nil {
			return errBadSignature
		}
		return nil
	}
	return errBadSignature
}

// verifiesInput checks a signature over what inputOf returned.
func verifiesInput(public crypto.PublicKey, input, signature []byte) error {
	if public, ok := public.(*rsa.PublicKey); ok {
		if rsa.VerifyPKCS1v15(public, 0, input, signature) != nil { // input is a DigestInfo
			return errBadSignature
		}
		return nil
	}
	return verifies(public, input, signature)
}

// errBadSignature says that a test signature does not verify.
var errBadSignature = errors.New("the token makes signatures that do not verify")
