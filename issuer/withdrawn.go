package issuer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// caIdentity is the subject and key of a CA. All certificates that have them stand for one CA,
// whichever root has signed them: what is below one is below all.
func caIdentity(c *x509.Certificate) [32]byte {
	h := sha256.New()
	h.Write(c.RawSubjectPublicKeyInfo) // DER, which says itself where it ends
	h.Write(c.RawSubject)
	return [32]byte(h.Sum(nil))
}

// condemns reports whether a certificate that was revoked for a reason takes every other one of
// the same CA with it. That one was replaced, or is not needed any more, says nothing of the others.
func condemns(reason ledger.Reason) bool {
	return reason != ledger.Superseded && reason != ledger.CessationOfOperation
}

// Withdrawn reports whether an authority, or one above it, is revoked: by the certificate
// that it goes by or, unless that was only replaced, by any other of its key and subject.
func (ra *RA) Withdrawn(name string) bool {
	a, err := ra.Authority(name)
	if err != nil {
		return false
	}
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	return ra.withdrawn(a)
}

// withdrawn is Withdrawn with the lock held.
func (ra *RA) withdrawn(a *ca.Authority) bool {
	return slices.ContainsFunc(append(a.Chain(), a.Certificate()), ra.struck)
}

// struck reports whether a CA certificate is revoked, or condemned by another one. The caller
// holds the lock.
func (ra *RA) struck(c *x509.Certificate) bool {
	return ra.revoked[SerialOf(c.SerialNumber)] || ra.condemned[caIdentity(c)] && !selfSigned(c)
}

// selfSigned reports whether a CA certificate is a root: what another root has said of its key
// can be revoked, and then only that is.
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && (len(c.AuthorityKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, c.SubjectKeyId))
}

// lost reports whether a CA on a path, its root left out, has expired or is revoked. Nothing
// vouches for such a one under another root: that would put it back in force.
func (ra *RA) lost(path []*x509.Certificate) bool {
	now := ra.Now()
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	return len(path) > 1 && slices.ContainsFunc(path[1:], func(c *x509.Certificate) bool { return now.After(c.NotAfter) || ra.struck(c) })
}

// vouchable refuses a CA for whose key nothing may vouch any more: its own certificate, not
// those above it, is over or revoked.
func (ra *RA) vouchable(of *ca.Authority) error {
	c := of.Certificate()
	if ra.Now().After(c.NotAfter) {
		return refuse(Conflict, "rollover-roots", "%q expired on %s, and no other certificate puts it back in force", of.Name(), dateOf(c.NotAfter))
	}
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	if ra.struck(c) {
		return refuse(Conflict, "rollover-roots", "%q is revoked, and no other certificate puts it back in force", of.Name())
	}
	return nil
}

// certificatesOf finds the certificates of a CA's key and subject that CAs here have signed and
// the ledger knows as issued, the one that it has signed itself left out.
func (ra *RA) certificatesOf(ctx context.Context, of *x509.Certificate) (list []ledger.Certificate, err error) {
	query := ledger.Query{Key: sha256.Sum256(of.RawSubjectPublicKeyInfo), Purpose: ledger.ForCA}
	var parse error
	err = ra.eachCertificate(ctx, query, func(c ledger.Certificate) bool {
		if c.State != ledger.Valid && c.State != ledger.Revoked {
			return true
		}
		one, err := x509.ParseCertificate(c.DER)
		if err != nil {
			parse = fmt.Errorf("parsing certificate %s of the ledger: %w", c.Serial, err)
			return false
		}
		if bytes.Equal(one.RawSubject, of.RawSubject) && one.CheckSignatureFrom(of) != nil {
			list = append(list, c)
		}
		return true
	})
	if err == nil {
		err = parse
	}
	return list, err
}

// condemnedAmong returns the identities of CAs of a hierarchy of which a certificate, also
// one that the hierarchy does not hold, is revoked for what holds for all of them.
func (ra *RA) condemnedAmong(ctx context.Context, h hierarchy) (list [][32]byte, err error) {
	seen := make(map[[32]byte]bool)
	for _, c := range h.certificates() {
		id := caIdentity(c)
		if seen[id] {
			continue
		}
		seen[id] = true
		query := ledger.Query{Key: sha256.Sum256(c.RawSubjectPublicKeyInfo), Purpose: ledger.ForCA, State: ledger.Revoked}
		if err := ra.eachCertificate(ctx, query, func(r ledger.Certificate) bool {
			if one, err := x509.ParseCertificate(r.DER); err == nil && condemns(r.Reason) && bytes.Equal(one.RawSubject, c.RawSubject) {
				list = append(list, id)
				return false
			}
			return true
		}); err != nil {
			return list, err
		}
	}
	return list, nil
}
