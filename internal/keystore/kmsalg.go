package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"

	"go.step.sm/crypto/kms/apiv1"
)

// kindOf returns the kind of a public key as Create names it, or what it is instead.
func kindOf(public crypto.PublicKey) string {
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		return public.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", public.N.BitLen())
	}
	return fmt.Sprintf("%T", public)
}

// signatureAlgorithm returns what go.step.sm/crypto calls the kind of key alg.
func signatureAlgorithm(alg string) (apiv1.SignatureAlgorithm, int) {
	switch alg {
	case "P-256":
		return apiv1.ECDSAWithSHA256, 0
	case "P-384":
		return apiv1.ECDSAWithSHA384, 0
	case "P-521":
		return apiv1.ECDSAWithSHA512, 0
	}
	return apiv1.SHA256WithRSA, rsaBits[alg]
}
