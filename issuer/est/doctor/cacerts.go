package doctor

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
)

var cacertsPoints = []Point{
	{20, Must, "RFC 7030, 4.1.2", "cacerts needs no authentication", "asks with neither certificate nor password", anonymousCACerts},
	{21, Must, "RFC 7030, 4.1.3", "cacerts answers 200 and application/pkcs7-mime", "looks at status and Content-Type", cacertsType},
	{22, Must, "RFC 7030, 4.1.3; RFC 5272, 4.1", "cacerts is a certs-only message: version 1, no content, no signers", "takes the SignedData apart", certsOnly},
	{23, Must, "RFC 7030, 4.1.3", "cacerts holds the root and every intermediate certificate", "builds the path of an issued certificate, and of every CA certificate, up to a self-signed one", completeChain},
	{24, Should, "RFC 7030, 4.1.3; RFC 4210, 4.4", "during a change of the root, cacerts holds OldWithOld, OldWithNew and NewWithOld", "looks for two roots and for the certificates of each one's key by the other", bridges},
	{25, Derived, "RFC 7030, 4.1.3", "the newest root is the one that is valid longest", "compares the validity of self-signed certificates", newestRoot},
	{95, Interop, "measured: libest, lgtti", "no second root and no cross-certificates unless the root is being changed", "counts self-signed and cross-certificates in cacerts", noBridges},
}

func anonymousCACerts(ctx context.Context, p *probe) Result {
	a, err := p.askCACerts(ctx)
	if err != nil {
		return fail("%v", err)
	}
	if a.status != http.StatusOK {
		return fail("cacerts answered %v", a)
	}
	return pass("%v", a)
}

func cacertsType(ctx context.Context, p *probe) Result {
	a, err := p.askCACerts(ctx)
	if err != nil {
		return fail("%v", err)
	}
	if a.status != http.StatusOK || a.media() != "application/pkcs7-mime" {
		return fail("status %d, Content-Type %q", a.status, a.get("Content-Type"))
	}
	return pass("Content-Type %q", a.get("Content-Type"))
}

// checkCertsOnly holds a message against RFC 5272, Section 4.1.
func checkCertsOnly(body []byte) error {
	der, err := decodeBase64(body)
	if err != nil {
		return err
	}
	s, err := parseSignedData(der)
	if err != nil {
		return err
	}
	switch {
	case !bytes.Equal(s.version, []byte{1}):
		return fmt.Errorf("SignedData has version %x, not 1", s.version)
	case s.encapType != oidData || s.hasContent:
		return fmt.Errorf("encapContentInfo is of type %s, with content: %t", s.encapType, s.hasContent)
	case len(s.digests.content) > 0:
		return fmt.Errorf("digestAlgorithms are not empty, although nobody signs")
	case len(s.signers) > 0:
		return fmt.Errorf("%d signers", len(s.signers))
	case len(s.certificates) == 0:
		return fmt.Errorf("no certificates")
	}
	_, err = s.list()
	return err
}

func certsOnly(ctx context.Context, p *probe) Result {
	a, err := p.askCACerts(ctx)
	if err != nil {
		return fail("%v", err)
	}
	if err := checkCertsOnly(a.body); err != nil {
		return fail("cacerts: %v", err)
	}
	return pass("certs-only")
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// roots are the self-signed certificates, the one that began last first; of two
// that began together, the one that lasts longer.
func roots(list []*x509.Certificate) []*x509.Certificate {
	var found []*x509.Certificate
	for _, c := range list {
		if selfSigned(c) {
			found = append(found, c)
		}
	}
	slices.SortStableFunc(found, func(a, b *x509.Certificate) int {
		return cmp.Or(b.NotBefore.Compare(a.NotBefore), b.NotAfter.Compare(a.NotAfter))
	})
	return found
}

// signed reports whether the key of parent signed child.
func signed(parent, child *x509.Certificate) bool {
	return bytes.Equal(parent.RawSubject, child.RawIssuer) && parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature) == nil
}

// climbs reports whether a path leads from c to a self-signed certificate.
func climbs(c *x509.Certificate, list []*x509.Certificate, depth int) bool {
	if selfSigned(c) {
		return true
	}
	return depth < 8 && slices.ContainsFunc(list, func(parent *x509.Certificate) bool {
		return signed(parent, c) && climbs(parent, list, depth+1)
	})
}

func completeChain(ctx context.Context, p *probe) Result {
	list, err := p.anchors(ctx)
	if err != nil {
		return fail("%v", err)
	}
	if len(roots(list)) == 0 {
		return fail("none of %d certificates is self-signed", len(list))
	}
	for _, c := range list {
		if !climbs(c, list, 0) {
			return fail("the issuer of %q is not there", c.Subject)
		}
	}
	leaf, whose := (*x509.Certificate)(nil), "the device's certificate"
	if p.Device != nil {
		leaf = leafOf(p.Device)
	} else if e, err := p.first(ctx); err == nil {
		leaf, whose = e.certificate, "the issued certificate"
	}
	if leaf == nil || leaf.Raw == nil {
		return pass("%d certificates; no issued one is at hand to build its path", len(list))
	}
	if !climbs(leaf, list, 0) {
		return fail("the path of %s breaks off: its issuer is %q", whose, leaf.Issuer)
	}
	return pass("%d certificates, the path of %s is complete", len(list), whose)
}

// crosses reports a certificate for the key of subject by the key of issuer.
func crosses(list []*x509.Certificate, issuer, subject *x509.Certificate) bool {
	return slices.ContainsFunc(list, func(c *x509.Certificate) bool {
		return !selfSigned(c) && bytes.Equal(c.RawSubjectPublicKeyInfo, subject.RawSubjectPublicKeyInfo) && signed(issuer, c)
	})
}

func bridges(ctx context.Context, p *probe) Result {
	list, err := p.anchors(ctx)
	if err != nil {
		return fail("%v", err)
	}
	found := roots(list)
	switch {
	case len(found) < 2 && !p.Rollover:
		return na("cacerts shows no change of the root (--rollover if there is one)")
	case len(found) < 2:
		return fail("the root is being changed, and cacerts holds %d self-signed certificates", len(found))
	}
	newest, oldest := found[0], found[len(found)-1]
	if !crosses(list, newest, oldest) {
		return fail("OldWithNew is missing: no certificate for the key of %q by the key of %q", oldest.Subject, newest.Subject)
	}
	if !crosses(list, oldest, newest) {
		return fail("NewWithOld is missing: no certificate for the key of %q by the key of %q", newest.Subject, oldest.Subject)
	}
	return pass("%d certificates, with OldWithOld, OldWithNew and NewWithOld", len(list))
}

func newestRoot(ctx context.Context, p *probe) Result {
	list, err := p.anchors(ctx)
	if err != nil {
		return fail("%v", err)
	}
	found := roots(list)
	if len(found) == 0 {
		return fail("cacerts holds no self-signed certificate")
	}
	for _, c := range found[1:] {
		if !c.NotAfter.Before(found[0].NotAfter) {
			return fail("%q begins last and ends on %s, but %q ends on %s", found[0].Subject, found[0].NotAfter.Format("2006-01-02"), c.Subject, c.NotAfter.Format("2006-01-02"))
		}
	}
	return pass("%s, the newest ends on %s", counted(len(found), "root"), found[0].NotAfter.Format("2006-01-02"))
}

func noBridges(ctx context.Context, p *probe) Result {
	if p.Rollover {
		return na("the root is being changed")
	}
	list, err := p.anchors(ctx)
	if err != nil {
		return fail("%v", err)
	}
	found := roots(list)
	if len(found) != 1 {
		return fail("%d self-signed certificates (--rollover if the root is being changed)", len(found))
	}
	for i, c := range list {
		if slices.ContainsFunc(list[:i], func(d *x509.Certificate) bool {
			return bytes.Equal(c.RawSubjectPublicKeyInfo, d.RawSubjectPublicKeyInfo)
		}) {
			return fail("two certificates for the key of %q (--rollover if the root is being changed)", c.Subject)
		}
	}
	return pass("one root")
}
