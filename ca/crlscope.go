package ca

import (
	"crypto/x509/pkix"
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// CRLScope is which certificates of its issuer a CRL is about: the extension
// issuingDistributionPoint of RFC 5280, Section 5.2.5. A CRL without one is about all.
type CRLScope struct {
	// Points are URIs, of which a certificate names at least one in its CRL
	// distribution points, byte for byte. At least one.
	Points []string
	// OnlyUsers leaves out CA certificates.
	OnlyUsers bool
}

// maxPoints bounds the distribution points of a CRL, and maxPoint one's length.
const maxPoints, maxPoint = 64, 1024

// extension encodes the scope:
//
//	IssuingDistributionPoint ::= SEQUENCE {
//	  distributionPoint     [0] DistributionPointName OPTIONAL,   -- fullName [0] GeneralNames
//	  onlyContainsUserCerts [1] BOOLEAN DEFAULT FALSE, ... }
//
// It is critical, for who overlooks it takes a part of the list for all of it.
func (s CRLScope) extension() (pkix.Extension, error) {
	if len(s.Points) == 0 || len(s.Points) > maxPoints {
		return pkix.Extension{}, refuse("CRL scope", "%d distribution points; 1 to %d can be named", len(s.Points), maxPoints)
	}
	for _, p := range s.Points {
		if p == "" || len(p) > maxPoint || !isIA5(p) {
			return pkix.Extension{}, refuse("CRL scope", "distribution point %.100q is not a URI of at most %d characters of ASCII", p, maxPoint)
		}
	}
	context := func(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific() }
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(context(0).Constructed(), func(b *cryptobyte.Builder) { // a CHOICE: the tag is explicit
			b.AddASN1(context(0).Constructed(), func(b *cryptobyte.Builder) {
				for _, p := range s.Points {
					b.AddASN1(context(6), func(b *cryptobyte.Builder) { b.AddBytes([]byte(p)) })
				}
			})
		})
		if s.OnlyUsers {
			b.AddASN1(context(1), func(b *cryptobyte.Builder) { b.AddUint8(0xff) })
		}
	})
	value, err := b.Bytes()
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: value}, err
}

func isIA5(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// Value returns the value of the extension, nil for the scope nil.
func (s *CRLScope) Value() ([]byte, error) {
	if s == nil {
		return nil, nil
	}
	extension, err := s.extension()
	return extension.Value, err
}
