package dpsreg

import (
	"context"
	"crypto/x509"
	"fmt"

	"mintmark/internal/ledger"
)

// below is what is in force below a CA.
type below struct {
	live       int             // certificates
	superseded int             // of these, those whose device has a newer one that stands elsewhere
	devices    map[string]bool // of the others, as far as they fit a page
}

// leftBelow looks at everything in force below a CA. It asks for each device by itself,
// unless nothing is in force that stands elsewhere.
func (b books) leftBelow(ctx context.Context, anchor *x509.Certificate) (below, error) {
	left := below{devices: make(map[string]bool)}
	elsewhere, err := b.elsewhere(ctx, anchor)
	if err != nil {
		return left, err
	}
	err = b.walk(ctx, anchor, maxWalk, func(c ledger.Certificate) error {
		left.live++
		if len(elsewhere) > 0 {
			newer, err := b.renewed(ctx, c, elsewhere)
			if err != nil {
				return err
			}
			if newer {
				left.superseded++
				return nil
			}
		}
		if left.live <= livePage { // more of them nobody names
			left.devices[c.Device] = true
		}
		return nil
	})
	return left, err
}

// maxWalk is more certificates than a ledger has.
const maxWalk = 1 << 40

// elsewhere are the authorities that do not stand below a CA, and have certificates in
// force.
func (b books) elsewhere(ctx context.Context, anchor *x509.Certificate) (map[string]bool, error) {
	found := make(map[string]bool)
	for _, a := range b.authorities() {
		if a.Certificate == nil || a.stands(anchor) {
			continue
		}
		page, err := b.records.Certificates(ctx, b.valid(a.Name, 1))
		if err != nil {
			return nil, fmt.Errorf("looking for certificates in force under %q: %w", a.Name, err)
		}
		if len(page.Certificates) > 0 {
			found[a.Name] = true
		}
	}
	return found, nil
}

// renewed reports whether the device of a certificate has a newer one in force by one of
// these authorities.
func (b books) renewed(ctx context.Context, c ledger.Certificate, by map[string]bool) (bool, error) {
	query := b.valid("", livePage)
	for query.Device = c.Device; ; {
		page, err := b.records.Certificates(ctx, query)
		if err != nil {
			return false, fmt.Errorf("listing the certificates of device %q: %w", c.Device, err)
		}
		for _, other := range page.Certificates {
			if by[other.Issuer] && other.IssuedAt.After(c.IssuedAt) {
				return true, nil
			}
		}
		if query.After = page.Next; query.After == "" {
			return false, nil
		}
	}
}

// text says why what is left keeps a CA; empty if nothing is left.
func (left below) text() string {
	if left.live == 0 {
		return ""
	}
	head := fmt.Sprintf("%d certificates of devices are in force below it", left.live)
	if left.live == 1 {
		head = "1 certificate of a device is in force below it"
	}
	it := "them"
	if left.superseded == 1 {
		it = "it"
	}
	revoke := fmt.Sprintf("renewed since under another CA (revoke %s: mintmark cert revoke SERIAL --reason superseded)", it)
	switch n := len(left.devices); {
	case left.superseded == 0 && left.live == 1:
		return head + ": let it renew under the new CA first, or revoke it"
	case left.superseded == 0:
		return head + ": " + letRenew
	case n == 0 && left.live == 1:
		return head + ", " + revoke
	case n == 0:
		return head + ", all of them " + revoke
	case n == 1:
		return fmt.Sprintf("%s, %d of them %s; 1 device has not renewed there", head, left.superseded, revoke)
	default:
		return fmt.Sprintf("%s, %d of them %s; %d devices have not renewed there", head, left.superseded, revoke, n)
	}
}
