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
	// outlived says whether a certificate ends later than the CA above it, which makes
	// DPS refuse the device while its certificate looks good.
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
		query := ledger.Query{Issuer: a.Name, Purpose: ledger.ForDevice, State: ledger.Valid, ExpiresAfter: b.now(), Limit: livePage}
		if err := f(query); err != nil {
			return fmt.Errorf("looking for certificates in force under %q: %w", a.Name, err)
		}
	}
	return nil
}

// count counts certificates below a CA, page by page, until there are as many as most.
func (b books) count(ctx context.Context, anchor *x509.Certificate, most int) (int, error) {
	n := 0
	err := b.each(anchor, func(query ledger.Query) error {
		for n < most {
			query.Limit = min(livePage, most-n)
			page, err := b.records.Certificates(ctx, query)
			if err != nil {
				return err
			}
			n += len(page.Certificates)
			if query.After = page.Next; query.After == "" {
				return nil
			}
		}
		return nil
	})
	return n, err
}

func (b books) keeps(ctx context.Context, sha256 string) (string, error) {
	for _, a := range b.authorities() {
		if a.Certificate == nil || SHA256(a.Certificate) != sha256 {
			continue
		}
		switch n, err := b.count(ctx, a.Certificate, livePage); {
		case err != nil || n == 0:
			return "", err
		case n == 1:
			return "1 certificate of a device is in force below it: let it renew under the new CA first, or revoke it", nil
		case n == livePage:
			return fmt.Sprintf("%d or more certificates of devices are in force below it: %s", n, letRenew), nil
		default:
			return fmt.Sprintf("%d certificates of devices are in force below it: %s", n, letRenew), nil
		}
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
