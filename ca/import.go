package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
)

// Import makes an authority of a bundle of certificates in any order: the CA
// certificate to issue with and every certificate above it, the root
// included. signer is that of Config. What is missing, superfluous or
// ambiguous is refused by name.
func Import(name string, certs []*x509.Certificate, signer func(context.Context) (crypto.Signer, error)) (*Authority, error) {
	path, err := orderPath(certs)
	if err != nil {
		return nil, fmt.Errorf("importing authority %q: %w", name, err)
	}
	a, err := New(Config{Name: name, Certificate: path[0], Chain: path[1:], Signer: signer})
	if err != nil {
		return nil, fmt.Errorf("importing: %w", err)
	}
	return a, nil
}

// orderPath returns certs as a path from the CA certificate to the root.
func orderPath(certs []*x509.Certificate) ([]*x509.Certificate, error) {
	var rest []*x509.Certificate
	for _, c := range certs {
		if c != nil && !slices.ContainsFunc(rest, c.Equal) {
			rest = append(rest, c)
		}
	}
	if len(rest) == 0 {
		return nil, fmt.Errorf("the bundle holds no certificate")
	}
	// The CA certificate is the one that issued no other.
	var first []*x509.Certificate
	for _, c := range rest {
		if !slices.ContainsFunc(rest, func(other *x509.Certificate) bool { return other != c && issued(c, other) }) {
			first = append(first, c)
		}
	}
	switch len(first) {
	case 0:
		return nil, fmt.Errorf("the certificates of the bundle issued each other in a circle")
	case 1:
	default:
		return nil, fmt.Errorf("the bundle holds more than one path: neither %s nor %s issued another of it; import one at a time", certName(first[0]), certName(first[1]))
	}
	path := first
	for {
		last := path[len(path)-1]
		rest = slices.DeleteFunc(rest, last.Equal)
		var issuers []*x509.Certificate
		for _, c := range rest {
			if issued(c, last) {
				issuers = append(issuers, c)
			}
		}
		// A root that was also cross-signed has two certificates for one key.
		if issued(last, last) {
			issuers = nil
		}
		switch len(issuers) {
		case 0:
			if len(rest) > 0 {
				return nil, fmt.Errorf("%s does not belong to the path of %s", certName(rest[0]), certName(path[0]))
			}
			if !issued(last, last) {
				return nil, fmt.Errorf("the issuer of %s is missing from the bundle: %q", certName(last), last.Issuer)
			}
			return path, nil
		case 1:
			path = append(path, issuers[0])
		default:
			return nil, fmt.Errorf("%s and %s both certify %s: leave one path to one root in the bundle", certName(issuers[0]), certName(issuers[1]), certName(last))
		}
	}
}

// issued reports whether the key and name in parent signed child. Whether it
// was allowed to is for New to say, in words.
func issued(parent, child *x509.Certificate) bool {
	return bytes.Equal(parent.RawSubject, child.RawIssuer) &&
		parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature) == nil
}
