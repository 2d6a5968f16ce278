package issuer

import (
	"context"
	"crypto/x509"
	"time"

	"mintmark/internal/ledger"
)

// represent finds what a registration authority renews in the place of a
// device: the newest certificate in force of the device that the request names
// (RFC 7030, Section 3.7).
func (ra *RA) represent(ctx context.Context, r *Request, p *Profile, csr *request) error {
	switch {
	case r.Requester.Kind != "ra":
		return refuse(Forbidden, "identity", "only a registration authority renews in the place of a device")
	case p.device == nil:
		return refuse(Forbidden, "renewal-none", "certificates of profile %s belong to no device and cannot be renewed in its place", p.Name)
	}
	_, values, err := p.buildSubject(csr.Subject)
	if err != nil {
		return err
	}
	device, err := p.identify(values)
	if err != nil {
		return err
	}
	newest, err := ra.newest(ctx, device, p.Name, ra.Now())
	if err != nil {
		return err
	}
	if newest.Serial == "" {
		return refuse(Forbidden, "renewal-none", "device %q has no certificate in force under profile %s: enroll it first", device, p.Name)
	}
	if r.Renews, err = x509.ParseCertificate(newest.DER); err != nil {
		return internal("parsing certificate %s of the ledger: %w", newest.Serial, err)
	}
	return nil
}

// newest returns the certificate in force of a device under a profile that was
// issued last; the zero one if there is none.
func (ra *RA) newest(ctx context.Context, device, profile string, now time.Time) (newest ledger.Certificate, err error) {
	query := ledger.Query{Device: device, Profile: profile, State: ledger.Valid}
	err = ra.eachCertificate(ctx, query, func(c ledger.Certificate) bool {
		if c.InForce(now) && (newest.Serial == "" || c.IssuedAt.After(newest.IssuedAt)) {
			newest = c
		}
		return true
	})
	return newest, err
}

// otherKey returns a certificate in force that the device of an intent has with
// another key, for the same purpose; the zero one if there is none.
func (ra *RA) otherKey(ctx context.Context, intent ledger.Intent) (other ledger.Certificate, err error) {
	query := ledger.Query{Device: intent.Device, Purpose: intent.Purpose, State: ledger.Valid}
	err = ra.eachCertificate(ctx, query, func(c ledger.Certificate) bool {
		if c.Key != intent.Key && !intent.At.After(c.NotAfter) {
			other = c
		}
		return other.Serial == ""
	})
	return other, err
}

// eachCertificate calls f for what a query finds, page by page, until f returns
// false.
func (ra *RA) eachCertificate(ctx context.Context, query ledger.Query, f func(ledger.Certificate) bool) error {
	query.Limit = 1000
	for {
		page, err := ra.Ledger.Certificates(ctx, query)
		if err != nil {
			return internal("looking up certificates: %w", err)
		}
		for _, c := range page.Certificates {
			if !f(c) {
				return nil
			}
		}
		if query.After = page.Next; page.Next == "" {
			return nil
		}
	}
}
