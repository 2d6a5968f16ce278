package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"time"

	"mintmark/ca"
)

// BridgeFiles are certificates between two roots that were signed where the keys of the roots
// are. One that is nil is signed here.
type BridgeFiles struct{ OldWithNew, NewWithOld *x509.Certificate }

// examineBridge checks a certificate of one CA's key by another that was made elsewhere: it
// must be what cross would have made, but for the serial number, the URLs and a narrower validity.
func (ra *RA) examineBridge(ctx context.Context, what string, by, of *ca.Authority, c *x509.Certificate) error {
	wrong := func(format string, args ...any) error {
		return refuse(Conflict, "rollover-certificate", "%s: %s", what, fmt.Sprintf(format, args...))
	}
	own, limit, now := of.Certificate(), by.Certificate(), ra.Now()
	switch {
	case !bytes.Equal(c.RawSubject, own.RawSubject):
		return wrong("its subject is %q, and that of %q is %q, byte for byte", c.Subject, of.Name(), own.Subject)
	case !bytes.Equal(c.RawSubjectPublicKeyInfo, own.RawSubjectPublicKeyInfo):
		return wrong("it certifies another key than that of %q", of.Name())
	case !bytes.Equal(c.RawIssuer, limit.RawSubject):
		return wrong("its issuer is %q, and the subject of %q is %q, byte for byte", c.Issuer, by.Name(), limit.Subject)
	case !bytes.Equal(c.SubjectKeyId, own.SubjectKeyId):
		// What is below the root points at its identifier, and nowhere else.
		return wrong("its subject key identifier is %x, and that of %q is %x, which the certificates below it name", c.SubjectKeyId, of.Name(), own.SubjectKeyId)
	case !bytes.Equal(c.AuthorityKeyId, limit.SubjectKeyId):
		return wrong("its authority key identifier is %x, and the key identifier of %q is %x", c.AuthorityKeyId, by.Name(), limit.SubjectKeyId)
	}
	if err := c.CheckSignatureFrom(limit); err != nil {
		return wrong("it was not signed by %q: %v", by.Name(), err)
	}
	if err := ca.Examine(c); err != nil {
		return wrong("%v", err)
	}
	switch {
	case c.KeyUsage != own.KeyUsage:
		return wrong("its key usage is not that of %q", of.Name())
	case c.NotBefore.After(now) || !c.NotAfter.After(now):
		return wrong("it is valid from %s to %s, and it is %s", c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case c.NotAfter.After(own.NotAfter) || c.NotAfter.After(limit.NotAfter) || c.NotBefore.Before(own.NotBefore) || c.NotBefore.Before(limit.NotBefore):
		return wrong("its validity, %s to %s, is not within that of both CAs", c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
	case !sameNameConstraints(c, own):
		return wrong("its name constraints are not those of %q", of.Name())
	case !bytes.Equal(extensionValue(c, oidExtKeyUsage), extensionValue(own, oidExtKeyUsage)):
		return wrong("it limits the extended key usages, and not as %q does", of.Name())
	}
	// What is below the root must fit, and nothing more than the root's own allows.
	room, limited := pathLen(c)
	given, ownLimited := pathLen(own)
	if need := ra.below(of); limited && room < need {
		return wrong("it allows a path length of %d, and what is below %q needs %d", room, of.Name(), need)
	}
	if ownLimited && (!limited || room > given) {
		return wrong("it allows a longer path than %q itself, whose path length is %d", of.Name(), given)
	}
	if room, limited := pathLen(limit); limited && !bytes.Equal(own.RawSubject, limit.RawSubject) {
		if need := ra.below(of); room-1 < need {
			return wrong("root %q allows a path length of %d, and what is below %q needs %d under it", by.Name(), room, of.Name(), need+1)
		}
	}
	return ra.standing(ctx, c)
}

// sameNameConstraints compares what RFC 5280, Section 4.2.1.10, has, in any order.
func sameNameConstraints(a, b *x509.Certificate) bool {
	texts := func(c *x509.Certificate) (all [][]string) {
		networks := func(list []*net.IPNet) (t []string) {
			for _, n := range list {
				t = append(t, n.String())
			}
			return t
		}
		for _, set := range [][]string{
			c.PermittedDNSDomains, c.ExcludedDNSDomains, networks(c.PermittedIPRanges), networks(c.ExcludedIPRanges),
			c.PermittedEmailAddresses, c.ExcludedEmailAddresses, c.PermittedURIDomains, c.ExcludedURIDomains,
		} {
			all = append(all, slices.Sorted(slices.Values(set)))
		}
		return all
	}
	return slices.EqualFunc(texts(a), texts(b), slices.Equal)
}
