package dpsreg

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

// inForce says what is known of certificates of devices that are in force.
type inForce interface {
	// keeps says why the CA with that SHA-256 cannot go: certificates below it, or that
	// nobody knows. Empty if it can, and for one that was never ours.
	keeps(ctx context.Context, sha256 string) (string, error)
	// outlived says whether a certificate ends later than the CA above it. That DPS
	// refuses the device then, while its certificate looks good, is to be expected and not
	// documented.
	outlived(ctx context.Context, anchor *x509.Certificate) (bool, error)
}

// books is what the ledger says.
type books struct {
	records     Records
	authorities func() []Authority
	now         func() time.Time
}

// livePage is how many certificates are counted before a count becomes "or more".
const livePage = 1000

// each calls f with a query for the certificates of each authority that stands at or
// below a CA.
func (b books) each(anchor *x509.Certificate, f func(ledger.Query) error) error {
	for _, a := range b.authorities() {
		if a.Certificate == nil || !a.stands(anchor) {
			continue
		}
		if err := f(b.valid(a.Name, livePage)); err != nil {
			return fmt.Errorf("looking for certificates in force under %q: %w", a.Name, err)
		}
	}
	return nil
}

// valid asks for certificates of devices that are in force; of any issuer if that is
// empty.
func (b books) valid(issuer string, most int) ledger.Query {
	return ledger.Query{Issuer: issuer, Purpose: ledger.ForDevice, State: ledger.Valid, ExpiresAfter: b.now(), Limit: most}
}

// walk calls f for the certificates below a CA, page by page, until there were as many
// as most.
func (b books) walk(ctx context.Context, anchor *x509.Certificate, most int, f func(ledger.Certificate) error) error {
	n := 0
	return b.each(anchor, func(query ledger.Query) error {
		for n < most {
			query.Limit = min(livePage, most-n)
			page, err := b.records.Certificates(ctx, query)
			if err != nil {
				return err
			}
			n += len(page.Certificates)
			for _, c := range page.Certificates {
				if err := f(c); err != nil {
					return err
				}
			}
			if query.After = page.Next; query.After == "" {
				return nil
			}
		}
		return nil
	})
}

// count counts certificates below a CA until there are as many as most.
func (b books) count(ctx context.Context, anchor *x509.Certificate, most int) (n int, err error) {
	err = b.walk(ctx, anchor, most, func(ledger.Certificate) error { n++; return nil })
	return n, err
}

func (b books) keeps(ctx context.Context, sha256 string) (string, error) {
	for _, a := range b.authorities() {
		if a.Certificate == nil || SHA256(a.Certificate) != sha256 {
			continue
		}
		n, err := b.count(ctx, a.Certificate, livePage)
		switch {
		case err != nil || n == 0:
			return "", err
		case n == livePage:
			return fmt.Sprintf("%d or more certificates of devices are in force below it: %s (azure status --count counts them)", n, letRenew), nil
		}
		left, err := b.leftBelow(ctx, a.Certificate)
		return left.text(), err
	}
	return "", nil
}

const letRenew = "let them renew under the new CA first, or revoke them"

func (b books) outlived(ctx context.Context, anchor *x509.Certificate) (found bool, err error) {
	err = b.each(anchor, func(query ledger.Query) error {
		if found {
			return nil
		}
		query.Limit = 1
		if end := anchor.NotAfter.Add(time.Second); end.After(query.ExpiresAfter) {
			query.ExpiresAfter = end
		}
		page, err := b.records.Certificates(ctx, query)
		found = len(page.Certificates) > 0
		return err
	})
	return found, err
}
