package ca

import (
	"bytes"
	"crypto/x509"
)

// checkLimits holds a built certificate against what the certificates above it
// allow. A relying party would refuse it later, and in worse words.
func (a *Authority) checkLimits(cert *x509.Certificate, rules Rules) error {
	if cert.NotAfter.After(a.cert.NotAfter) && !rules.OutliveIssuer {
		return &OutlivesIssuerError{NotAfter: cert.NotAfter, Issuer: a.cert.NotAfter}
	}
	if rules.CA {
		if err := a.checkPathLen(cert); err != nil {
			return err
		}
	}
	if err := checkNames(cert, a.cert); err != nil {
		return err
	}
	for _, above := range a.chain {
		if err := checkNames(cert, above); err != nil {
			return err
		}
	}
	return nil
}

// Room says why no CA certificate fits below the authority, or nil: the path
// length constraints of its certificate and of those above.
func (a *Authority) Room() error {
	return a.checkPathLen(&x509.Certificate{RawIssuer: a.cert.RawSubject, MaxPathLen: -1})
}

// checkPathLen refuses a CA certificate for which a path length constraint
// above leaves no room (RFC 5280, Section 4.2.1.9). Self-issued certificates,
// such as those of a key rollover, do not count (Section 6.1.4 (l)).
func (a *Authority) checkPathLen(cert *x509.Certificate) error {
	between := 0 // CA certificates from below the constrained one to cert
	if !bytes.Equal(cert.RawSubject, cert.RawIssuer) {
		between++
	}
	below := a.cert
	for i := -1; i < len(a.chain); i++ {
		above := a.cert
		if i >= 0 {
			if above = a.chain[i]; !selfIssued(below) {
				between++
			}
			below = above
		}
		limit, ok := pathLen(above)
		if !ok {
			continue
		}
		if between > limit {
			return refuse("path length", "%s allows %d CA certificates below it, this would be number %d", certName(above), limit, between)
		}
		if own, ok := pathLen(cert); ok && between+own > limit {
			return refuse("path length", "%d cannot be reached: %s leaves room for %d below", own, certName(above), limit-between)
		}
	}
	return nil
}
