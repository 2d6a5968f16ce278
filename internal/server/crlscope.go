package server

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	idDeltaCRL = asn1.ObjectIdentifier{2, 5, 29, 27}
	idIDP      = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// crlScope is which certificates a CRL is about: RFC 5280, Section 5.2.5. The
// zero value is about all of its issuer.
type crlScope struct {
	points    []string // the certificate must name one of these distribution points
	onlyUsers bool
	onlyCAs   bool
}

// covers says why a CRL of that scope says nothing about a certificate, or nil.
func (s crlScope) covers(c *x509.Certificate) error {
	switch {
	case s.onlyUsers && c.IsCA:
		return errors.New("it is about end-entity certificates only")
	case s.onlyCAs && !c.IsCA:
		return errors.New("it is about CA certificates only")
	case len(s.points) > 0 && !slices.ContainsFunc(s.points, func(p string) bool { return slices.Contains(c.CRLDistributionPoints, p) }):
		return errors.New("it is of another distribution point than the certificate names")
	}
	return nil
}

// scopeOf reads the scope of a CRL and refuses one that could leave out a
// revocation which another CRL has: a delta, an indirect one, one for some reasons.
func scopeOf(list *x509.RevocationList) (s crlScope, err error) {
	for _, x := range list.Extensions {
		switch {
		case x.Id.Equal(idDeltaCRL):
			return s, errors.New("it is a delta CRL: use the complete one")
		case x.Id.Equal(idIDP):
			if s, err = parseIDP(x.Value); err != nil {
				return s, fmt.Errorf("issuingDistributionPoint: %w", err)
			}
		case x.Critical:
			return s, fmt.Errorf("it has the critical extension %s, which this version does not know", x.Id)
		}
	}
	return s, nil
}

// parseIDP reads an IssuingDistributionPoint:
//
//	SEQUENCE {
//	  distributionPoint          [0] DistributionPointName OPTIONAL,
//	  onlyContainsUserCerts      [1] BOOLEAN DEFAULT FALSE,
//	  onlyContainsCACerts        [2] BOOLEAN DEFAULT FALSE,
//	  onlySomeReasons            [3] ReasonFlags OPTIONAL,
//	  indirectCRL                [4] BOOLEAN DEFAULT FALSE,
//	  onlyContainsAttributeCerts [5] BOOLEAN DEFAULT FALSE }
func parseIDP(der []byte) (s crlScope, err error) {
	malformed := errors.New("malformed")
	input := cryptobyte.String(der)
	var body cryptobyte.String
	if !input.ReadASN1(&body, cbasn1.SEQUENCE) || !input.Empty() {
		return crlScope{}, malformed
	}
	for last := -1; !body.Empty(); {
		var value cryptobyte.String
		var tag cbasn1.Tag
		if !body.ReadAnyASN1(&value, &tag) || int(tag&0x1f) <= last {
			return crlScope{}, malformed
		}
		last = int(tag & 0x1f)
		switch tag {
		case cbasn1.Tag(0).ContextSpecific().Constructed():
			if s.points, err = pointNames(value); err != nil {
				return crlScope{}, err
			}
		case cbasn1.Tag(1).ContextSpecific(), cbasn1.Tag(2).ContextSpecific():
			// DER: TRUE, for FALSE is the default.
			if len(value) != 1 || value[0] != 0xff {
				return crlScope{}, malformed
			}
			s.onlyUsers, s.onlyCAs = s.onlyUsers || last == 1, s.onlyCAs || last == 2
		case cbasn1.Tag(3).ContextSpecific():
			return crlScope{}, errors.New("the CRL is for some reasons of revocation only")
		case cbasn1.Tag(4).ContextSpecific():
			return crlScope{}, errors.New("the CRL is indirect, about certificates of other issuers")
		case cbasn1.Tag(5).ContextSpecific():
			return crlScope{}, errors.New("the CRL is about attribute certificates")
		default:
			return crlScope{}, malformed
		}
	}
	return s, nil
}

// pointNames reads the URIs of a DistributionPointName with a fullName.
func pointNames(name cryptobyte.String) ([]string, error) {
	var full cryptobyte.String
	if !name.ReadASN1(&full, cbasn1.Tag(0).ContextSpecific().Constructed()) || !name.Empty() {
		return nil, errors.New("the distribution point has no full name")
	}
	var uris []string
	for !full.Empty() {
		var value cryptobyte.String
		var tag cbasn1.Tag
		if !full.ReadAnyASN1(&value, &tag) {
			return nil, errors.New("malformed")
		}
		if tag == cbasn1.Tag(6).ContextSpecific() {
			uris = append(uris, string(value))
		}
	}
	if len(uris) == 0 {
		return nil, errors.New("the distribution point has no URI")
	}
	return uris, nil
}
