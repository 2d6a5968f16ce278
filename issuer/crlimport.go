package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// mostUnlisted bounds the revocations that an answer names.
const mostUnlisted = 100

// CRLImported is what came of a CRL that was signed elsewhere.
type CRLImported struct {
	CRL ledger.CRL
	// Revoked are the certificates known here that it revokes and that were not revoked before.
	Revoked []ledger.Serial
	// Unlisted are certificates of the authority that are revoked here and not on it, up to a
	// hundred: whoever reads CRLs does not know of them.
	Unlisted []ledger.Serial
}

// ImportCRL records a CRL of an authority whose key is elsewhere, so that it is served
// like one's own, and revokes here what it lists of the certificates that are known here: a CA
// certificate on it withdraws that authority at once. The CRL must be complete, signed with the
// key of the authority, in force, with a higher number than the last one, and with every entry of
// that. The same CRL again changes nothing. What is wrong is a *Refusal; ErrNoAuthority.
func (ra *RA) ImportCRL(ctx context.Context, name string, der []byte, actor string) (CRLImported, error) {
	var done CRLImported
	// The stored CRL must not change while it is compared, nor the authorities that are looked at.
	ra.making.Lock()
	defer ra.making.Unlock()
	turn, err := ra.takeTurn(ctx)
	if err != nil {
		return done, err
	}
	defer turn.end(ctx)
	a, err := ra.Authority(name)
	if err != nil {
		return done, err
	}
	ra.mu.RLock()
	here := ra.known.records[name].KeyURI != ""
	ra.mu.RUnlock()
	if here {
		return done, refuse(Conflict, "crl-key", "the key of %q is here, and its CRLs are signed here: mintmark ca crl %s --publish signs the next", name, name)
	}
	list, err := a.ReadCRL(der)
	if err != nil {
		return done, refuse(Malformed, "crl", "%v", err)
	}
	now := ra.Now()
	switch {
	case list.ThisUpdate.After(now):
		return done, refuse(Conflict, "crl-time", "thisUpdate of the CRL, %s, has not come yet: it is %s here", list.ThisUpdate.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case !list.NextUpdate.After(now):
		return done, refuse(Conflict, "crl-time", "the CRL ran out on %s: have the next one made", list.NextUpdate.UTC().Format(time.RFC3339))
	case now.After(a.Certificate().NotAfter):
		return done, refuse(Conflict, "crl-time", "the authority %q expired on %s, and nobody asks for its CRLs", name, a.Certificate().NotAfter.UTC().Format(time.RFC3339))
	}
	done.CRL = ledger.CRL{Issuer: name, Number: list.Number.Int64(), ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate, DER: der}
	stored, err := ra.Ledger.LatestCRL(ctx, name, 0)
	known := err == nil && bytes.Equal(stored.DER, der)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return done, fmt.Errorf("reading the CRL of %q: %w", name, err)
	}
	if err == nil && !known {
		if err := ra.follows(ctx, a, stored, list); err != nil {
			return done, err
		}
	}
	// Before it is stored: what was stored must have taken effect.
	if done.Revoked, err = ra.revokeListed(ctx, a, list, actor); err != nil {
		return done, err
	}
	if !known {
		if err := turn.still(ctx); err != nil {
			return done, err
		}
		if err := ra.Ledger.PutCRL(ctx, turn.fence, done.CRL); err != nil {
			return done, fmt.Errorf("recording the CRL of %q: %w", name, err)
		}
		ra.log.Info("imported a CRL", "issuer", name, "number", list.Number, "entries", len(list.RevokedCertificateEntries), "next_update", list.NextUpdate, "revoked", done.Revoked, "actor", actor)
	}
	done.Unlisted, err = ra.unlisted(ctx, name, list)
	return done, err
}

// follows refuses a CRL that takes something back of the stored one.
func (ra *RA) follows(ctx context.Context, a *ca.Authority, stored ledger.CRL, next *x509.RevocationList) error {
	switch {
	case next.Number.Int64() <= stored.Number:
		return refuse(Conflict, "crl-number", "the CRL has number %s, and the last one of %q has %d: numbers must rise (RFC 5280, Section 5.2.3)", next.Number, a.Name(), stored.Number)
	case next.ThisUpdate.Before(stored.ThisUpdate):
		return refuse(Conflict, "crl-time", "thisUpdate of the CRL, %s, is before that of the last one, %s", next.ThisUpdate.UTC().Format(time.RFC3339), stored.ThisUpdate.UTC().Format(time.RFC3339))
	}
	last, err := x509.ParseRevocationList(stored.DER)
	if err != nil {
		return fmt.Errorf("parsing the stored CRL of %q: %w", a.Name(), err)
	}
	listed := serials(next)
	for _, e := range last.RevokedCertificateEntries {
		serial := SerialOf(e.SerialNumber)
		if listed[serial] {
			continue
		}
		// RFC 5280, Section 3.3: an entry may go after it was on one CRL that was issued
		// after the certificate's end.
		record, err := ra.Ledger.Certificate(ctx, serial)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return fmt.Errorf("looking up certificate %s: %w", serial, err)
		}
		if err == nil && record.Issuer == a.Name() && record.NotAfter.Before(stored.ThisUpdate) {
			continue
		}
		return refuse(Conflict, "crl-entries", "serial number %s is on CRL %d of %q and not on this one: a revocation cannot be taken back", serial, stored.Number, a.Name())
	}
	return nil
}

func serials(list *x509.RevocationList) map[ledger.Serial]bool {
	set := make(map[ledger.Serial]bool, len(list.RevokedCertificateEntries))
	for _, e := range list.RevokedCertificateEntries {
		set[SerialOf(e.SerialNumber)] = true
	}
	return set
}

// revokeListed revokes the certificates of an authority that are known here and on its CRL.
func (ra *RA) revokeListed(ctx context.Context, a *ca.Authority, list *x509.RevocationList, actor string) (revoked []ledger.Serial, err error) {
	below := ra.certifiedBy(a)
	for _, e := range list.RevokedCertificateEntries {
		serial := SerialOf(e.SerialNumber)
		// Those of CAs may have come with an import and not be in the ledger.
		if c := below[serial]; c != nil {
			if err := ra.recordCA(ctx, a, c, actor); err != nil {
				return revoked, err
			}
		}
		record, err := ra.Ledger.Certificate(ctx, serial)
		if errors.Is(err, ledger.ErrNotFound) {
			continue
		}
		if err != nil {
			return revoked, fmt.Errorf("looking up certificate %s: %w", serial, err)
		}
		c := below[serial]
		if record.State != ledger.Valid || record.Issuer != a.Name() && (c == nil || !bytes.Equal(c.Raw, record.DER)) {
			continue
		}
		changed, err := ra.Revoke(ctx, ledger.Selector{Serial: serial, Most: 1}, reasonOf(e.ReasonCode), actor)
		if err != nil {
			return revoked, fmt.Errorf("revoking %s, which is on the CRL of %q: %w", serial, a.Name(), err)
		}
		revoked = append(revoked, changed...)
	}
	return revoked, nil
}

// reasonOf is the ledger's reason of one on a CRL, some of which are for others to give: a CA
// on hold may be let go later by its root and stays revoked here.
func reasonOf(code int) ledger.Reason {
	switch reason := ledger.Reason(code); reason {
	case ledger.KeyCompromise, ledger.AffiliationChanged, ledger.Superseded, ledger.CessationOfOperation, ledger.PrivilegeWithdrawn:
		return reason
	}
	const caCompromise, aaCompromise = 2, 10 // RFC 5280, Section 5.3.1
	if code == caCompromise || code == aaCompromise {
		return ledger.KeyCompromise
	}
	return ledger.Unspecified
}

// certifiedBy are the CA certificates known here that were signed with the key of an authority.
func (ra *RA) certifiedBy(by *ca.Authority) map[ledger.Serial]*x509.Certificate {
	ra.mu.RLock()
	all := ra.known.certificates()
	ra.mu.RUnlock()
	found := make(map[ledger.Serial]*x509.Certificate)
	for _, c := range all {
		if !bytes.Equal(c.RawIssuer, by.Certificate().RawSubject) || c.CheckSignatureFrom(by.Certificate()) != nil {
			continue
		}
		found[SerialOf(c.SerialNumber)] = c
	}
	return found
}

// unlisted are the revoked certificates of an authority that are not on its CRL.
func (ra *RA) unlisted(ctx context.Context, name string, list *x509.RevocationList) ([]ledger.Serial, error) {
	page, err := ra.Ledger.Certificates(ctx, ledger.Query{Issuer: name, State: ledger.Revoked, Limit: mostUnlisted})
	if err != nil {
		return nil, fmt.Errorf("listing the revoked certificates of %q: %w", name, err)
	}
	listed := serials(list)
	var missing []ledger.Serial
	for _, c := range page.Certificates {
		if !listed[c.Serial] && c.NotAfter.After(list.ThisUpdate) {
			missing = append(missing, c.Serial)
		}
	}
	slices.Sort(missing)
	return missing, nil
}
