package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"slices"
)

var algorithms = []string{"P-256", "P-384", "P-521", "RSA-2048", "RSA-3072", "RSA-4096"}

func known(alg string) bool { return slices.Contains(algorithms, alg) }

var curves = map[string]elliptic.Curve{
	"P-256": elliptic.P256(),
	"P-384": elliptic.P384(),
	"P-521": elliptic.P521(),
}

var rsaBits = map[string]int{"RSA-2048": 2048, "RSA-3072": 3072, "RSA-4096": 4096}

// generate makes a key in memory.
func generate(alg string) (crypto.Signer, error) {
	if curve, ok := curves[alg]; ok {
		return ecdsa.GenerateKey(curve, rand.Reader)
	}
	if bits, ok := rsaBits[alg]; ok {
		return rsa.GenerateKey(rand.Reader, bits)
	}
	return nil, fmt.Errorf("unknown key algorithm %q", alg)
}
