package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
)

// Algorithm names a kind of key, the way profiles and commands write it.
type Algorithm string

// The kinds of key that this CA uses and certifies.
const (
	P256    Algorithm = "P-256"
	P384    Algorithm = "P-384"
	P521    Algorithm = "P-521"
	RSA2048 Algorithm = "RSA-2048"
	RSA3072 Algorithm = "RSA-3072"
	RSA4096 Algorithm = "RSA-4096"
)

// algorithms is every Algorithm, in the order in which texts list them.
var algorithms = []Algorithm{P256, P384, P521, RSA2048, RSA3072, RSA4096}

// ParseAlgorithm returns the Algorithm named s, in any case of letters.
func ParseAlgorithm(s string) (Algorithm, error) {
	for _, a := range algorithms {
		if strings.EqualFold(s, string(a)) {
			return a, nil
		}
	}
	return "", fmt.Errorf("unknown key algorithm %q: known are %s", s, listAlgorithms())
}

// AlgorithmOf returns the kind of the public key pub. It fails for a kind
// that has no name here, an RSA key of another size included.
func AlgorithmOf(pub crypto.PublicKey) (Algorithm, error) {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256():
			return P256, nil
		case elliptic.P384():
			return P384, nil
		case elliptic.P521():
			return P521, nil
		case nil:
			return "", fmt.Errorf("elliptic curve key without a curve")
		}
		return "", fmt.Errorf("elliptic curve %s is not one of P-256, P-384, P-521", pub.Curve.Params().Name)
	case *rsa.PublicKey:
		if pub.N == nil {
			return "", fmt.Errorf("RSA key without a modulus")
		}
		switch n := pub.N.BitLen(); n {
		case 2048:
			return RSA2048, nil
		case 3072:
			return RSA3072, nil
		case 4096:
			return RSA4096, nil
		default:
			return "", fmt.Errorf("RSA modulus of %d bits is not one of 2048, 3072, 4096", n)
		}
	}
	return "", fmt.Errorf("key type %T is not one of %s", pub, listAlgorithms())
}

// signature returns how a key of kind a signs certificates and CRLs: the hash
// has the strength of the curve (RFC 5480, Section 4), and RSA signs with
// PKCS #1 v1.5, which every device TLS stack verifies.
func (a Algorithm) signature() (x509.SignatureAlgorithm, crypto.Hash) {
	switch a {
	case P256:
		return x509.ECDSAWithSHA256, crypto.SHA256
	case P384:
		return x509.ECDSAWithSHA384, crypto.SHA384
	case P521:
		return x509.ECDSAWithSHA512, crypto.SHA512
	case RSA2048, RSA3072, RSA4096:
		return x509.SHA256WithRSA, crypto.SHA256
	}
	return x509.UnknownSignatureAlgorithm, 0
}

func listAlgorithms() string {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = string(a)
	}
	return strings.Join(names, ", ")
}
