package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
)

// hashOf is the hash that goes with a curve: KMS and TPM sign no other with it.
var hashOf = map[elliptic.Curve]crypto.Hash{
	elliptic.P256(): crypto.SHA256,
	elliptic.P384(): crypto.SHA384,
	elliptic.P521(): crypto.SHA512,
}

// checkDigest refuses what the backends do not sign, or would sign as something else.
func checkDigest(public crypto.PublicKey, digest []byte, opts crypto.SignerOpts) error {
	if opts == nil {
		return errors.New("a signature needs to know the hash of the digest")
	}
	if _, ok := opts.(*rsa.PSSOptions); ok {
		return errors.New("signatures with RSA-PSS are not made: this CA signs as in PKCS #1 v1.5")
	}
	hash := opts.HashFunc()
	switch hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
	default:
		return fmt.Errorf("signatures over %v are not made: only over SHA-256, SHA-384 and SHA-512", hash)
	}
	if len(digest) != hash.Size() {
		return fmt.Errorf("a digest of %d bytes is none of %v", len(digest), hash)
	}
	switch public := public.(type) {
	case *rsa.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if want := hashOf[public.Curve]; want != hash {
			return fmt.Errorf("a key on %s does not sign over %v here", public.Curve.Params().Name, hash)
		}
		return nil
	}
	return fmt.Errorf("keys of the type %T do not sign here", public)
}
