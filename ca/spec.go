package ca

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Spec describes a CA certificate that is to be made.
type Spec struct {
	Name    string    // of the authority
	Subject pkix.Name // required, unless there is RawSubject
	// RawSubject, DER, takes the place of Subject: a name that must be the same byte for
	// byte, as that of a root that is to replace another one.
	RawSubject []byte

	// Validity counts from now; NotAfter, where it is set, takes its place.
	// One of them is required.
	Validity time.Duration
	NotAfter time.Time
	// Backdate is how far notBefore precedes now, for clocks that are behind.
	Backdate time.Duration

	// PathLen limits the number of CA certificates below; nil is no limit.
	PathLen *int

	// Permitted and Excluded are the name constraints (RFC 5280, Section
	// 4.2.1.10).
	Permitted, Excluded NameConstraints

	// URLs in the certificate, which are those of its issuer: where the CRL is
	// that lists it, where its issuer's certificate is, and who answers OCSP.
	CRL, CAIssuers, OCSP []string
}

// NameConstraints is a set of subtrees.
type NameConstraints struct {
	DNS   []string // "example.com": it and what is below
	IP    []*net.IPNet
	Email []string // mailbox, host, or with a leading dot the hosts below
	URI   []string // host, or with a leading dot the hosts below
}

// Template returns the template of the CA certificate, for PrepareRoot or for
// the Prepare of a parent with Rules.CA.
func (s Spec) Template(serial *big.Int, now time.Time) (*x509.Certificate, error) {
	if s.Subject.CommonName == "" && len(s.Subject.ToRDNSequence()) == 0 && len(s.RawSubject) == 0 {
		return nil, errors.New("a CA needs a subject (RFC 5280, Section 4.1.2.6)")
	}
	notAfter := s.NotAfter
	switch {
	case !notAfter.IsZero() && s.Validity != 0:
		return nil, errors.New("of validity and notAfter only one can be given")
	case notAfter.IsZero() && s.Validity <= 0:
		return nil, errors.New("a CA needs a validity or a notAfter")
	case notAfter.IsZero():
		notAfter = now.Add(s.Validity)
	}
	if s.Backdate < 0 {
		return nil, fmt.Errorf("backdate %s is negative", s.Backdate)
	}
	if !notAfter.After(now) {
		return nil, fmt.Errorf("notAfter %s is in the past", notAfter.UTC().Format(time.RFC3339))
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               s.Subject,
		RawSubject:            s.RawSubject,
		NotBefore:             now.Add(-s.Backdate).UTC().Truncate(time.Second),
		NotAfter:              notAfter.UTC().Truncate(time.Second),
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            -1,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,

		// Only a critical extension constrains (RFC 5280, Section 4.2.1.10).
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         s.Permitted.DNS,
		PermittedIPRanges:           s.Permitted.IP,
		PermittedEmailAddresses:     s.Permitted.Email,
		PermittedURIDomains:         s.Permitted.URI,
		ExcludedDNSDomains:          s.Excluded.DNS,
		ExcludedIPRanges:            s.Excluded.IP,
		ExcludedEmailAddresses:      s.Excluded.Email,
		ExcludedURIDomains:          s.Excluded.URI,

		CRLDistributionPoints: s.CRL,
		IssuingCertificateURL: s.CAIssuers,
		OCSPServer:            s.OCSP,
	}
	if s.PathLen != nil {
		if *s.PathLen < 0 {
			return nil, fmt.Errorf("path length %d is negative", *s.PathLen)
		}
		t.MaxPathLen = *s.PathLen
		t.MaxPathLenZero = *s.PathLen == 0
	}
	return t, nil
}

// Request returns a certification request (PKCS #10, DER) that asks an
// external CA to certify the key of signer as this CA: with basicConstraints,
// keyUsage and, where the Spec has them, name constraints in its
// extensionRequest (RFC 2985, Section 5.4.2). Validity and URLs are for the
// external CA to decide.
func (s Spec) Request(signer crypto.Signer) ([]byte, error) {
	if signer == nil {
		return nil, errors.New("requesting a CA certificate: a key is required")
	}
	pub := signer.Public()
	if err := CheckKey(pub); err != nil {
		return nil, fmt.Errorf("requesting a CA certificate: %w", err)
	}
	kind, err := AlgorithmOf(pub)
	if err != nil {
		return nil, fmt.Errorf("requesting a CA certificate: %w", err)
	}
	if s.Validity == 0 && s.NotAfter.IsZero() {
		s.Validity = time.Hour // the template wants one, the request has none
	}
	t, err := s.Template(one, time.Now())
	if err != nil {
		return nil, fmt.Errorf("requesting a CA certificate: %w", err)
	}
	extensions, err := encodedExtensions(t, pub)
	if err != nil {
		return nil, fmt.Errorf("requesting a CA certificate: %w", err)
	}
	sigAlg, _ := kind.signature()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:            s.Subject,
		RawSubject:         s.RawSubject,
		SignatureAlgorithm: sigAlg,
		ExtraExtensions:    extensions,
	}, signer)
	if err != nil {
		return nil, fmt.Errorf("signing the request for a CA certificate: %w", err)
	}
	return der, nil
}

// encodedExtensions returns the extensions of the template t that a request
// asks for, in the encoding they have in a certificate.
func encodedExtensions(t *x509.Certificate, pub crypto.PublicKey) ([]pkix.Extension, error) {
	id, err := keyID(pub)
	if err != nil {
		return nil, err
	}
	t.SubjectKeyId, t.AuthorityKeyId = id, id
	parent := *t
	parent.PublicKey = pub
	p, err := prepare(t, &parent, pub, Rules{CA: true})
	if err != nil {
		return nil, err
	}
	var asked []pkix.Extension
	for _, e := range p.cert.Extensions {
		if e.Id.Equal(oidBasicConstraints) || e.Id.Equal(oidKeyUsage) || e.Id.Equal(oidNameConstraints) {
			asked = append(asked, e)
		}
	}
	return asked, nil
}
