package issuer

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// Wants is what a profile wants of a certification request: what enrollment
// enforces, for csrattrs to announce (RFC 7030, Section 4.5).
type Wants struct {
	Keys    []ca.Algorithm    // any of them
	Subject []WantedAttribute // in the order of the subject
	// The kinds of subject alternative names that are taken from the request.
	DNS, IP, URI, Email bool
	Usages              []x509.ExtKeyUsage
	CA                  bool // the certificate is a gateway's
}

// WantedAttribute is one attribute of the subject.
type WantedAttribute struct {
	Name     string // as in profiles: commonName
	OID      asn1.ObjectIdentifier
	Value    string // fixed; empty if the device fills it in
	Optional bool
}

// Wants describes the certification requests that the profile takes.
func (p *Profile) Wants() Wants {
	w := Wants{
		Keys: slices.Clone(p.keys), DNS: p.dns != nil, IP: p.ip != nil, URI: p.uri != nil, Email: p.email != nil,
		Usages: slices.Clone(p.usages), CA: p.Purpose == ledger.ForGateway,
	}
	for _, r := range p.subject {
		w.Subject = append(w.Subject, WantedAttribute{r.attribute, r.oid, r.value, r.optional})
	}
	return w
}

// Wants describes the requests that a profile takes; nothing for an unknown
// one.
func (ra *RA) Wants(profile string) Wants {
	if p := ra.Profiles[profile]; p != nil {
		return p.Wants()
	}
	return Wants{}
}
