package ceremony

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"

	"mintmark/ca"
)

// world is what steps refer to by name: as the ceremony goes on, in a dry run and
// when a folder is verified. What a step signs is built from it by the same
// functions each time.
type world struct {
	file  *File
	given *material
	// certs are the certificates of authorities and of steps; in a dry run those of
	// steps are not signed.
	certs map[string]*x509.Certificate
	// issuers are those of them that sign, uris where their keys are.
	issuers map[string]*ca.Authority
	uris    map[string]string
}

func newWorld(f *File, given *material) *world {
	return &world{file: f, given: given, certs: map[string]*x509.Certificate{}, issuers: map[string]*ca.Authority{}, uris: map[string]string{}}
}

// root prepares the certificate of a root for the key of signer.
func (w *world) root(s *Step, serial *big.Int, signer crypto.Signer) (*ca.Prepared, error) {
	r := s.Root
	sp, err := spec(s.Name, r.Subject, r.Until, r.PathLength, r.Permit, r.Exclude, URLs{})
	if err != nil {
		return nil, err
	}
	if err := wantAlgorithm(signer.Public(), r.Algorithm); err != nil {
		return nil, err
	}
	t, err := sp.Template(serial, r.From)
	if err != nil {
		return nil, err
	}
	return ca.PrepareRoot(t, signer)
}

// certificate prepares the certificate of a step that certifies another's key.
func (w *world) certificate(s *Step, serial *big.Int) (*ca.Prepared, error) {
	if s.Issuing != nil {
		return w.issuing(s, serial)
	}
	return w.cross(s, serial)
}

func (w *world) issuing(s *Step, serial *big.Int) (*ca.Prepared, error) {
	i, request, by := s.Issuing, w.given.requests[s.Name], w.issuers[s.Issuing.By]
	if err := wantAlgorithm(request.PublicKey, i.Algorithm); err != nil {
		return nil, err
	}
	if !i.Subject.sameAttributes(request.Subject) {
		return nil, fmt.Errorf("the subject of the request is %q, not %q", request.Subject, i.Subject.name())
	}
	if sameKey(request.PublicKey, by.Certificate().PublicKey) {
		return nil, fmt.Errorf("the key of the request is that of its issuer %q", i.By)
	}
	sp, err := spec(s.Name, i.Subject, i.Until, i.PathLength, i.Permit, i.Exclude, i.URLs)
	if err != nil {
		return nil, err
	}
	t, err := sp.Template(serial, i.From)
	if err != nil {
		return nil, err
	}
	// Byte for byte: what is below this CA names it so.
	t.RawSubject = request.RawSubject
	if i.KeyID != "" {
		if t.SubjectKeyId, err = hex.DecodeString(i.KeyID); err != nil {
			return nil, err
		}
	}
	if i.From.Before(by.Certificate().NotBefore) {
		return nil, fmt.Errorf("from %s is before that of its issuer (%s)", timeText(i.From), timeText(by.Certificate().NotBefore))
	}
	prepared, err := by.Prepare(t, request.PublicKey, ca.Rules{CA: true})
	if err != nil {
		return nil, err
	}
	if err := asRequested(request, prepared.Certificate()); err != nil {
		return nil, err
	}
	return prepared, nil
}

var (
	oidSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidNameConstraints  = asn1.ObjectIdentifier{2, 5, 29, 30}
	oidCRLDistribution  = asn1.ObjectIdentifier{2, 5, 29, 31}
	oidAuthorityKeyID   = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidAuthorityInfo    = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 1}
)

// asRequested refuses a certificate that would differ in an extension from what its
// subject asked for: then one of the two, the request or the file, is not what people
// think it is.
func asRequested(request *x509.CertificateRequest, cert *x509.Certificate) error {
	for _, asked := range request.Extensions {
		given := extension(cert, asked.Id)
		switch {
		case given == nil:
			return fmt.Errorf("the request asks for the extension %s (%x), which the certificate would not have", extensionName(asked.Id), asked.Value)
		case !bytes.Equal(given.Value, asked.Value):
			return fmt.Errorf("the request asks for another %s (%x) than the file gives it (%x)", extensionName(asked.Id), asked.Value, given.Value)
		}
	}
	return nil
}

func extension(cert *x509.Certificate, id asn1.ObjectIdentifier) *pkix.Extension {
	for i := range cert.Extensions {
		if cert.Extensions[i].Id.Equal(id) {
			return &cert.Extensions[i]
		}
	}
	return nil
}

func extensionName(id asn1.ObjectIdentifier) string {
	for _, known := range []struct {
		id   asn1.ObjectIdentifier
		name string
	}{
		{oidSubjectKeyID, "subjectKeyIdentifier"}, {oidKeyUsage, "keyUsage"}, {oidBasicConstraints, "basicConstraints"},
		{oidNameConstraints, "nameConstraints"}, {oidCRLDistribution, "cRLDistributionPoints"},
	} {
		if id.Equal(known.id) {
			return known.name
		}
	}
	return id.String()
}

// carried are the extensions of a CA certificate that its cross-certificate repeats
// or has of its own.
var carried = []asn1.ObjectIdentifier{
	oidSubjectKeyID, oidKeyUsage, oidBasicConstraints, oidNameConstraints, oidCRLDistribution, oidAuthorityKeyID, oidAuthorityInfo,
}

// cross prepares a certificate of the key of one CA by another (RFC 4210, Section
// 4.4): subject, key identifier, key usage and constraints are those of its own
// certificate, so that whatever is below it stands under either.
func (w *world) cross(s *Step, serial *big.Int) (*ca.Prepared, error) {
	own, by := w.certs[s.Cross.Of], w.issuers[s.Cross.By]
	limit := by.Certificate()
	if sameKey(own.PublicKey, limit.PublicKey) {
		return nil, fmt.Errorf("%q and %q are the same key: a cross-certificate is one of another key", s.Cross.Of, s.Cross.By)
	}
	if !own.IsCA {
		return nil, fmt.Errorf("%q is not a CA", s.Cross.Of)
	}
	for _, e := range own.Extensions {
		if !contains(carried, e.Id) {
			return nil, fmt.Errorf("the certificate of %q has the extension %s, which a cross-certificate would lose", s.Cross.Of, e.Id)
		}
	}
	for _, c := range []*x509.Certificate{own, limit} {
		if s.Cross.From.Before(c.NotBefore) {
			return nil, fmt.Errorf("from %s is before that of %q (%s)", timeText(s.Cross.From), c.Subject, timeText(c.NotBefore))
		}
	}
	if s.Cross.Until.After(own.NotAfter) {
		return nil, fmt.Errorf("until %s is after that of the own certificate of %q (%s)", timeText(s.Cross.Until), s.Cross.Of, timeText(own.NotAfter))
	}
	t := &x509.Certificate{
		SerialNumber: serial, RawSubject: own.RawSubject, SubjectKeyId: own.SubjectKeyId,
		NotBefore: s.Cross.From, NotAfter: s.Cross.Until, KeyUsage: own.KeyUsage,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: own.MaxPathLen, MaxPathLenZero: own.MaxPathLenZero,
		PermittedDNSDomainsCritical: own.PermittedDNSDomainsCritical,
		PermittedDNSDomains:         own.PermittedDNSDomains, ExcludedDNSDomains: own.ExcludedDNSDomains,
		PermittedIPRanges: own.PermittedIPRanges, ExcludedIPRanges: own.ExcludedIPRanges,
		PermittedEmailAddresses: own.PermittedEmailAddresses, ExcludedEmailAddresses: own.ExcludedEmailAddresses,
		PermittedURIDomains: own.PermittedURIDomains, ExcludedURIDomains: own.ExcludedURIDomains,
		CRLDistributionPoints: s.Cross.CRL, IssuingCertificateURL: s.Cross.CAIssuers, OCSPServer: s.Cross.OCSP,
	}
	if n := s.Cross.PathLength; n != nil {
		if has, ok := pathLength(own); ok && *n > has {
			return nil, fmt.Errorf("path_length %d is more than that of %q, %d", *n, s.Cross.Of, has)
		}
		t.MaxPathLen, t.MaxPathLenZero = *n, *n == 0
	}
	prepared, err := by.Prepare(t, own.PublicKey, ca.Rules{CA: true})
	if err != nil {
		return nil, err
	}
	// What was parsed and built again is what it was: names of a kind that the parser
	// does not know would be gone.
	if a, b := extension(own, oidNameConstraints), extension(prepared.Certificate(), oidNameConstraints); (a == nil) != (b == nil) || a != nil && !bytes.Equal(a.Value, b.Value) {
		return nil, fmt.Errorf("the name constraints of %q cannot be repeated as they are", s.Cross.Of)
	}
	return prepared, nil
}

func contains(list []asn1.ObjectIdentifier, id asn1.ObjectIdentifier) bool {
	for _, one := range list {
		if one.Equal(id) {
			return true
		}
	}
	return false
}

// pathLength returns the path length constraint of a certificate, if it has one.
func pathLength(c *x509.Certificate) (int, bool) {
	return c.MaxPathLen, c.MaxPathLen > 0 || c.MaxPathLen == 0 && c.MaxPathLenZero
}

// crl prepares a CRL.
func (w *world) crl(s *Step) (*ca.PreparedCRL, error) {
	l, by := s.CRL, w.issuers[s.CRL.By]
	list := ca.CRL{Number: big.NewInt(l.Number), ThisUpdate: l.ThisUpdate, NextUpdate: l.NextUpdate}
	for _, e := range l.Entries {
		list.Entries = append(list.Entries, x509.RevocationListEntry{
			SerialNumber: serialOf(e.Serial), RevocationTime: e.Revoked, ReasonCode: reasons[e.Reason],
		})
	}
	if l.Previous != nil {
		if err := follows(list, w.given.previous[s.Name], by.Certificate()); err != nil {
			return nil, fmt.Errorf("previous CRL: %w", err)
		}
	}
	return by.PrepareCRL(list)
}

// follows refuses a CRL that relying parties, who have the previous one, would take
// for older, or that forgets a revocation.
func follows(next ca.CRL, previous *x509.RevocationList, by *x509.Certificate) error {
	if !bytes.Equal(previous.RawIssuer, by.RawSubject) {
		return fmt.Errorf("it is one of %q, not of %q", previous.Issuer, by.Subject)
	}
	if err := previous.CheckSignatureFrom(by); err != nil {
		return fmt.Errorf("it was not signed by %q: %w", by.Subject, err)
	}
	for _, e := range previous.Extensions {
		if e.Critical {
			return fmt.Errorf("it has the critical extension %s: it is not a full CRL", e.Id)
		}
	}
	switch {
	case previous.Number == nil:
		return fmt.Errorf("it has no number")
	case next.Number.Cmp(previous.Number) <= 0:
		return fmt.Errorf("its number is %s, and that of the new one %s is not higher", previous.Number, next.Number)
	case next.ThisUpdate.Before(previous.ThisUpdate):
		return fmt.Errorf("its this_update is %s, after that of the new one", timeText(previous.ThisUpdate))
	}
	entries := map[string]x509.RevocationListEntry{}
	for _, e := range next.Entries {
		entries[e.SerialNumber.String()] = e
	}
	for _, old := range previous.RevokedCertificateEntries {
		e, ok := entries[old.SerialNumber.String()]
		switch {
		case !ok:
			return fmt.Errorf("serial number %x is revoked in it (%s) and missing in the new one", old.SerialNumber, timeText(old.RevocationTime))
		case !e.RevocationTime.Equal(old.RevocationTime) || e.ReasonCode != old.ReasonCode:
			return fmt.Errorf("serial number %x was revoked at %s for reason %d in it, and the new one says %s, %d",
				old.SerialNumber, timeText(old.RevocationTime), old.ReasonCode, timeText(e.RevocationTime), e.ReasonCode)
		}
	}
	return nil
}

func wantAlgorithm(key crypto.PublicKey, want string) error {
	is, err := ca.AlgorithmOf(key)
	if err != nil {
		return err
	}
	if string(is) != want {
		return fmt.Errorf("the key is %s, not %s", is, want)
	}
	return nil
}
