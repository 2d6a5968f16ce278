package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// The extensions of a CA certificate that its certificate by another CA has of its own, or
// states in fields (RFC 5280, Section 4.2). Every other one is repeated as it is.
var (
	oidExtKeyUsage     = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}
	carriedExtensions  = []asn1.ObjectIdentifier{
		{2, 5, 29, 14}, {2, 5, 29, 15}, {2, 5, 29, 19}, oidNameConstraints, {2, 5, 29, 31}, {2, 5, 29, 35}, {2, 5, 29, 46},
		{1, 3, 6, 1, 5, 5, 7, 1, 1},
	}
)

// cross prepares the certificate of one CA's key by another CA, of which it is not the
// issuer until then: subject, key, key identifier and constraints are those of the subject's own
// certificate, so that whatever is below it stands under either (RFC 4210, Section 4.4). The key
// identifier is copied and never computed: rules for it differ, and a verifier that holds it
// against the authority key identifier of what is below, as OpenSSL does, finds another one.
func (ra *RA) cross(by, of *ca.Authority) (*ca.Prepared, error) {
	own, limit := of.Certificate(), by.Certificate()
	if err := errors.Join(ra.vouchable(of), ra.vouchable(by)); err != nil {
		return nil, err
	}
	now := ra.Now()
	t := &x509.Certificate{
		SerialNumber: ra.Serial(now), RawSubject: own.RawSubject, SubjectKeyId: own.SubjectKeyId,
		NotBefore: own.NotBefore, NotAfter: own.NotAfter, KeyUsage: own.KeyUsage,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: own.MaxPathLen, MaxPathLenZero: own.MaxPathLenZero,
		PermittedDNSDomainsCritical: own.PermittedDNSDomainsCritical,
		PermittedDNSDomains:         own.PermittedDNSDomains, ExcludedDNSDomains: own.ExcludedDNSDomains,
		PermittedIPRanges: own.PermittedIPRanges, ExcludedIPRanges: own.ExcludedIPRanges,
		PermittedEmailAddresses: own.PermittedEmailAddresses, ExcludedEmailAddresses: own.ExcludedEmailAddresses,
		PermittedURIDomains: own.PermittedURIDomains, ExcludedURIDomains: own.ExcludedURIDomains,
	}
	for _, e := range own.Extensions {
		if !slices.ContainsFunc(carriedExtensions, e.Id.Equal) {
			t.ExtraExtensions = append(t.ExtraExtensions, e)
		}
	}
	if limit.NotBefore.After(t.NotBefore) {
		t.NotBefore = limit.NotBefore
	}
	if limit.NotAfter.Before(t.NotAfter) {
		t.NotAfter = limit.NotAfter
	}
	if !t.NotAfter.After(now) || t.NotBefore.After(now) {
		return nil, refuse(Conflict, "rollover-roots", "CAs %q and %q are not in force at the same time", by.Name(), of.Name())
	}
	// A self-issued certificate does not count (RFC 5280, Section 6.1.4 (l)); one
	// between two names does, and takes a step of the path that is allowed.
	if room, limited := pathLen(limit); limited {
		if !bytes.Equal(own.RawSubject, limit.RawSubject) {
			room--
		}
		if need := ra.below(of); room < need {
			return nil, refuse(Conflict, "rollover-roots", "root %q allows a path length of %d, and what is below %q needs %d under it: make the new root with exactly the subject of the old one, whose certificates for each other do not count",
				by.Name(), limit.MaxPathLen, of.Name(), need+limit.MaxPathLen-room)
		}
		// More could not be reached.
		if given, ok := pathLen(own); !ok || given > room {
			t.MaxPathLen, t.MaxPathLenZero = room, room == 0
		}
	}
	if ra.PublicURL != "" {
		t.CRLDistributionPoints = []string{ra.PublicURL + "/crl/" + by.Name() + ".crl"}
		t.IssuingCertificateURL = []string{ra.PublicURL + "/ca/" + by.Name() + ".crt"}
	}
	prepared, err := by.Prepare(t, own.PublicKey, ca.Rules{CA: true})
	if err != nil {
		return nil, fmt.Errorf("preparing the certificate of %q by %q: %w", of.Name(), by.Name(), err)
	}
	// Names of a kind that the parser does not know are not built again.
	if !bytes.Equal(extensionValue(own, oidNameConstraints), extensionValue(prepared.Certificate(), oidNameConstraints)) {
		return nil, refuse(Conflict, "rollover-roots", "the name constraints of %q cannot be repeated as they are", of.Name())
	}
	return prepared, nil
}

// extensionValue is the encoded value of an extension, nil if the certificate lacks it.
func extensionValue(c *x509.Certificate, id asn1.ObjectIdentifier) []byte {
	if i := slices.IndexFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(id) }); i >= 0 {
		return c.Extensions[i].Value
	}
	return nil
}

// below is how many CA certificates a path under a CA has; for a root that has none yet
// it is one.
func (ra *RA) below(top *ca.Authority) int {
	most := 0
	if len(top.Chain()) == 0 {
		most = 1
	}
	for _, a := range ra.Authorities() {
		most = max(most, 1+slices.IndexFunc(a.Chain(), top.Certificate().Equal))
	}
	return most
}

// madeCross finds the certificate of one CA's key by another that was made or brought
// before; nil if there is none that would do.
func (ra *RA) madeCross(ctx context.Context, what string, by, of *ca.Authority) (*x509.Certificate, error) {
	return ra.certified(ctx, by.Name(), of.Certificate(), func(c *x509.Certificate) error {
		return ra.examineBridge(ctx, what, by, of, c)
	})
}

// crossed is madeCross, and runs the cycle for one if there is none. ErrElsewhere if it
// must be made where the key of by is.
func (ra *RA) crossed(ctx context.Context, what string, by, of *ca.Authority, requester ledger.Requester) (*x509.Certificate, error) {
	found, err := ra.madeCross(ctx, what, by, of)
	if err != nil || found != nil {
		return found, err
	}
	if !ra.keyHere(by.Name()) {
		return nil, rotation.ErrElsewhere
	}
	prepared, err := ra.cross(by, of)
	if err != nil {
		return nil, err
	}
	if err := signable(ctx, by); err != nil {
		return nil, fmt.Errorf("certifying %q by %q: %w", of.Name(), by.Name(), err)
	}
	der, err := ra.sign(ctx, by, prepared, requester)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// keyHere reports whether the key of an authority is one that this server opens.
func (ra *RA) keyHere(name string) bool {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	return ra.known.records[name].KeyURI != ""
}
