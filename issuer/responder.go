package issuer

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"regexp"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// MaxResponder is the longest life of a responder's certificate: nobody asks whether it
// was revoked.
const MaxResponder = 30 * day

// oidNoCheck is id-pkix-ocsp-nocheck (RFC 6960, Section 4.2.2.2.1).
var oidNoCheck = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}

// responder is the profile of certificates by which a server answers OCSP in the
// place of an issuing CA (RFC 6960, Section 4.2.2.2). The server names them, and has the
// key in memory. Their place is that of whose answers they sign, so that they have
// no CRL and no responder themselves.
var responder = &Profile{
	Name:       "ocsp-responder",
	Purpose:    ledger.ForResponder,
	keys:       []ca.Algorithm{ca.P256, ca.P384, ca.P521, ca.RSA2048},
	subject:    []subjectRule{{attribute: "commonName", oid: attributes[6].oid, max: 64, pattern: regexp.MustCompile(`\AOCSP .{1,59}\z`)}},
	validity:   MaxResponder,
	backdate:   time.Hour,
	usages:     []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
	extensions: []pkix.Extension{{Id: oidNoCheck, Value: asn1.NullBytes}},
}

// Responder makes a key and has the named authority certify it for signing OCSP answers,
// for the length of life and no longer than the authority has to live. The key is of the kind
// of the authority's, of 2048 bits if that is RSA: whoever can verify a certificate of the
// authority can verify its answers. Errors are Enroll's; *ca.ErrNoSigner
// of an authority whose key is elsewhere.
//
// An authority that is revoked certifies responders still, as it signs CRLs: who has
// not heard of it should hear of its certificates.
func (ra *RA) Responder(ctx context.Context, authority string, life time.Duration) (*x509.Certificate, crypto.Signer, error) {
	a, err := ra.Authority(authority)
	if err != nil {
		return nil, nil, err
	}
	kind, err := ca.AlgorithmOf(a.Certificate().PublicKey)
	if err != nil {
		return nil, nil, err
	}
	if kind == ca.RSA3072 || kind == ca.RSA4096 {
		kind = ca.RSA2048 // as strong as a few days need, and made in a moment
	}
	key, err := ra.generate(ctx, kind)
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("making a certification request: %w", err)
	}
	until := ra.Now().Add(life)
	if end := a.Certificate().NotAfter; until.After(end) {
		until = end
	}
	answer, err := ra.Enroll(ctx, Request{
		Profile: responder.Name, Issuer: authority, CSR: csr,
		Requester: ledger.Requester{Kind: "server", Name: ra.Server}, Authorize: Trusted, Operation: "ocsp responder",
		naming: &naming{commonName: "OCSP " + authority, until: until},
	})
	if err != nil {
		return nil, nil, err
	}
	return answer.Certificate, key, nil
}

// mayIssue is inForce for one profile: a responder is certified by a revoked CA, too.
func (ra *RA) mayIssue(p *Profile, a *ca.Authority) error {
	if p.Purpose == ledger.ForResponder && !ra.Now().After(a.Certificate().NotAfter) {
		return nil
	}
	return ra.inForce(a)
}
