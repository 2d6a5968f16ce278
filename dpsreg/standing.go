package dpsreg

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mintmark/internal/ledger"
)

// standing is all that the ledger says of a device, and what follows from it.
type standing struct {
	device       ledger.Device
	certificates []ledger.Certificate // of purpose ForDevice, in any order
	wants        []want
}

// standing reads a device. One that the ledger does not know has no certificates and
// wants nothing.
func (ds *Devices) standing(ctx context.Context, t Target, id string) (standing, error) {
	d, err := ds.records.Device(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		d, err = ledger.Device{ID: id}, nil
	}
	if err != nil {
		return standing{}, fmt.Errorf("looking up device %q: %w", id, err)
	}
	return ds.standingOf(ctx, t, d)
}

// standingOf is standing for a device that was just read.
func (ds *Devices) standingOf(ctx context.Context, t Target, d ledger.Device) (standing, error) {
	s := standing{device: d}
	for query := (ledger.Query{Device: d.ID, Purpose: ledger.ForDevice, Limit: 1000}); ; {
		page, err := ds.records.Certificates(ctx, query)
		if err != nil {
			return standing{}, fmt.Errorf("listing the certificates of device %q: %w", d.ID, err)
		}
		s.certificates = append(s.certificates, page.Certificates...)
		if query.After = page.Next; page.Next == "" {
			break
		}
	}
	var err error
	if s.wants, err = wanted(t, d, s.certificates, ds.conn.cfg.Now()); err != nil {
		return standing{}, fmt.Errorf("device %q: %w", d.ID, err)
	}
	return s, nil
}

// want is what the device should have under a registration id. known is false if it
// never had a certificate for that.
func (s standing) want(registrationID string) (w want, known bool) {
	for _, w := range s.wants {
		if w.RegistrationID == registrationID {
			return w, true
		}
	}
	return want{RegistrationID: registrationID}, false
}

// blocked reports whether the device is blocked.
func (s standing) blocked() bool {
	return slices.ContainsFunc(s.wants, func(w want) bool { return w.Kind == wantBlocked })
}

// wasBlocked reports whether the device may have been blocked ever: whether there may
// be something to undo. It was if somebody held it, or if a certificate was revoked
// without another that was newer and outlives it. Revoking what was superseded by such a
// one blocked nothing, which spares the calls of the many who do that with each renewal.
func (s standing) wasBlocked() bool {
	return !s.device.ChangedAt.IsZero() || slices.ContainsFunc(s.certificates, func(c ledger.Certificate) bool {
		return c.State == ledger.Revoked && !slices.ContainsFunc(s.certificates, func(other ledger.Certificate) bool {
			return len(other.DER) > 0 && other.IssuedAt.After(c.IssuedAt) && !other.IssuedAt.After(c.RevokedAt) && !other.NotAfter.Before(c.NotAfter)
		})
	})
}
