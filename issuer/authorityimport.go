package issuer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// ExamineImport checks certificates that ImportAuthority would take, without the
// key: that they are one path to one root, that each is in force, and that none is
// revoked by what is known here. The certificate of an authority that waits for it was
// made for here and is held against the rules for one's own; of an older one
// worth says which rules it breaks, for a person to judge. *Refusal if they cannot be taken.
func (ra *RA) ExamineImport(ctx context.Context, name string, certificates []*x509.Certificate) (a *ca.Authority, worth string, err error) {
	a, err = ca.Import(name, certificates, nil)
	if err != nil {
		return nil, "", bundleRefusal(err)
	}
	path := append([]*x509.Certificate{a.Certificate()}, a.Chain()...)
	now := ra.Now()
	for _, c := range path {
		switch {
		case now.Before(c.NotBefore):
			return nil, "", refuse(Conflict, "authority-validity", "certificate %q is not valid before %s, and it is %s: import it then, or set the clock right",
				c.Subject, c.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		case now.After(c.NotAfter):
			return nil, "", refuse(Conflict, "authority-validity", "certificate %q expired on %s", c.Subject, c.NotAfter.UTC().Format(time.RFC3339))
		}
		if err := ra.standing(ctx, c); err != nil {
			return nil, "", err
		}
	}
	ra.mu.RLock()
	_, waiting := ra.known.waiting[name]
	ra.mu.RUnlock()
	if err := ca.Examine(a.Certificate()); err != nil && waiting {
		return nil, "", refuse(Conflict, "authority-rules", "%v: have it made anew", err)
	} else if err != nil {
		worth = err.Error()
	}
	return a, worth, nil
}

// bundleRefusal words what Import says of the bundle.
func bundleRefusal(err error) error {
	return refuse(Malformed, "authority-bundle", "%v", err)
}

// standing refuses a CA certificate that is revoked: in the ledger, or on the latest CRL of
// an authority that is known here, also of one whose key is elsewhere.
func (ra *RA) standing(ctx context.Context, c *x509.Certificate) error {
	record, err := ra.Ledger.Certificate(ctx, SerialOf(c.SerialNumber))
	switch {
	case errors.Is(err, ledger.ErrNotFound):
	case err != nil:
		return fmt.Errorf("looking up CA certificate %x: %w", c.SerialNumber, err)
	case record.State == ledger.Revoked && bytes.Equal(record.DER, c.Raw):
		return refuse(Conflict, "authority-revoked", "certificate %q (serial number %s) is revoked since %s, reason %s", c.Subject, record.Serial, record.RevokedAt.UTC().Format(time.RFC3339), record.Reason)
	}
	for _, by := range ra.named(c.RawIssuer) {
		if c.CheckSignatureFrom(by.Certificate()) != nil {
			continue
		}
		list, err := ra.latestList(ctx, by)
		if err != nil {
			return err
		}
		if list == nil {
			continue
		}
		for _, e := range list.RevokedCertificateEntries {
			if e.SerialNumber.Cmp(c.SerialNumber) == 0 {
				return refuse(Conflict, "authority-revoked", "certificate %q (serial number %s) is on CRL %s of %q since %s", c.Subject, SerialOf(c.SerialNumber), list.Number, by.Name(), e.RevocationTime.UTC().Format(time.RFC3339))
			}
		}
	}
	return nil
}

// latestList is the stored CRL of an authority, nil if there is none.
func (ra *RA) latestList(ctx context.Context, a *ca.Authority) (*x509.RevocationList, error) {
	stored, err := ra.Ledger.LatestCRL(ctx, a.Name(), 0)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the CRL of %q: %w", a.Name(), err)
	}
	list, err := x509.ParseRevocationList(stored.DER)
	if err != nil {
		return nil, fmt.Errorf("parsing the stored CRL of %q: %w", a.Name(), err)
	}
	return list, nil
}

// RecordAuthority records the certificate of an imported authority like one that
// was issued here, if the authority above it is known, so that it is found and can be
// revoked. Nothing is done for a root, and for one that is recorded already.
func (ra *RA) RecordAuthority(ctx context.Context, name, actor string) error {
	a, err := ra.Authority(name)
	if err != nil {
		return err
	}
	chain := a.Chain()
	if len(chain) == 0 {
		return nil
	}
	for _, by := range ra.Authorities() {
		if by.Certificate().Equal(chain[0]) {
			return ra.recordCA(ctx, by, a.Certificate(), actor)
		}
	}
	return nil
}

// recordCA puts CA certificates into the ledger that were signed elsewhere with the key of by.
// *Refusal if one of their serial numbers is another certificate's.
func (ra *RA) recordCA(ctx context.Context, by *ca.Authority, c *x509.Certificate, actor string) error {
	refusals, err := ra.Ledger.ImportCertificates(ctx, []ledger.Certificate{{
		Serial: SerialOf(c.SerialNumber), Issuer: by.Name(), Profile: "ca", Purpose: ledger.ForCA, Subject: c.Subject.String(),
		Key: sha256.Sum256(c.RawSubjectPublicKeyInfo), NotBefore: c.NotBefore, NotAfter: c.NotAfter, DER: c.Raw,
	}}, actor, ra.Now())
	if err == nil {
		err = errors.Join(refusals...)
	}
	if errors.Is(err, ledger.ErrTaken) {
		return &Refusal{Kind: Conflict, Rule: "authority-serial", Err: err,
			Text: fmt.Sprintf("certificate %q has the serial number %s, under which another one is recorded here: have it made anew", c.Subject, SerialOf(c.SerialNumber))}
	}
	if err != nil {
		return fmt.Errorf("recording CA certificate %x: %w", c.SerialNumber, err)
	}
	return nil
}
