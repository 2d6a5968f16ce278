package dpsreg

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

// authorities are ours, by name.
func (r *Registrar) authorities() map[string]Authority {
	all := make(map[string]Authority)
	for _, a := range r.cfg.Authorities() {
		if a.Certificate != nil {
			all[a.Name] = a
		}
	}
	return all
}

// ours is the authority with that SHA-256.
func (r *Registrar) ours(sha256 string) (Authority, bool) {
	for _, a := range r.authorities() {
		if SHA256(a.Certificate) == sha256 {
			return a, true
		}
	}
	return Authority{}, false
}

// livePage is how many certificates are counted before a count becomes "or more".
const livePage = 1000

// live counts the certificates of devices in force that stand below a CA, at whatever
// depth; more says that there are others that were not counted. With limit 1 it says
// whether there is any.
func (r *Registrar) live(ctx context.Context, anchor *x509.Certificate, limit int) (n int, more bool, err error) {
	if r.bundled != nil {
		return r.bundledLive(anchor)
	}
	if r.cfg.Records == nil {
		return 0, false, errors.New("dpsreg: Config.Records is not set")
	}
	for _, a := range r.authorities() {
		if !a.stands(anchor) {
			continue
		}
		page, err := r.cfg.Records.Certificates(ctx, r.liveBelow(a, limit))
		if err != nil {
			return 0, false, fmt.Errorf("looking for certificates in force under %q: %w", a.Name, err)
		}
		n += len(page.Certificates)
		more = more || page.Next != ""
		if n >= limit {
			return n, true, nil
		}
	}
	return n, more, nil
}

func (r *Registrar) liveBelow(a Authority, limit int) ledger.Query {
	return ledger.Query{Issuer: a.Name, Purpose: ledger.ForDevice, State: ledger.Valid, ExpiresAfter: r.cfg.Now(), Limit: min(limit, livePage)}
}

// countLive counts all of them, page by page.
func (r *Registrar) countLive(ctx context.Context, anchor *x509.Certificate) (int, error) {
	n := 0
	for _, a := range r.authorities() {
		if !a.stands(anchor) {
			continue
		}
		query := r.liveBelow(a, livePage)
		for {
			page, err := r.cfg.Records.Certificates(ctx, query)
			if err != nil {
				return 0, fmt.Errorf("counting certificates in force under %q: %w", a.Name, err)
			}
			n += len(page.Certificates)
			if query.After = page.Next; query.After == "" {
				break
			}
		}
	}
	return n, nil
}

// liveText says how many certificates stand in the way; empty for none.
func (r *Registrar) liveText(ctx context.Context, anchor *x509.Certificate) (string, error) {
	n, more, err := r.live(ctx, anchor, livePage)
	switch {
	case err != nil || n == 0:
		return "", err
	case r.bundled != nil:
		return "certificates of devices are in force below it", nil
	case n == 1 && !more:
		return "1 certificate of a device is in force below it", nil
	case more:
		return fmt.Sprintf("%d or more certificates of devices are in force below it", n), nil
	}
	return fmt.Sprintf("%d certificates of devices are in force below it", n), nil
}

// outlived says whether a certificate of a device ends later than the CA above it,
// which makes DPS refuse the device while its certificate looks good.
func (r *Registrar) outlived(ctx context.Context, anchor *x509.Certificate) (bool, error) {
	if r.cfg.Records == nil {
		return false, nil
	}
	for _, a := range r.authorities() {
		if !a.stands(anchor) {
			continue
		}
		query := r.liveBelow(a, 1)
		if query.ExpiresAfter = anchor.NotAfter.Add(time.Second); query.ExpiresAfter.Before(r.cfg.Now()) {
			query.ExpiresAfter = r.cfg.Now()
		}
		page, err := r.cfg.Records.Certificates(ctx, query)
		if err != nil {
			return false, fmt.Errorf("looking for certificates under %q that outlive it: %w", a.Name, err)
		}
		if len(page.Certificates) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// cannotVerify says why DPS would not take a CA; empty if it would.
func cannotVerify(a Authority, now time.Time) string {
	c := a.Certificate
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return "it is not a CA's certificate (basicConstraints)"
	case now.Before(c.NotBefore):
		return fmt.Sprintf("it is valid only from %s: check the clocks, or wait", day(c.NotBefore))
	case now.After(c.NotAfter):
		return fmt.Sprintf("it expired on %s: create its successor", day(c.NotAfter))
	}
	return ""
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
