package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

const (
	sqlRevoke = `UPDATE certificates SET state = 'revoked', revoked_at = $2, reason = $3, revoked_by = $4 WHERE serial = $1 AND state = 'valid'`

	sqlDeviceValid = `SELECT ` + certificateColumns + ` FROM certificates WHERE device = $1 AND device <> '' AND state = 'valid' ORDER BY serial`
	sqlLockDevice  = `SELECT id FROM devices WHERE id = $1`
	sqlKnowsDevice = `SELECT count(*) FROM devices WHERE id = $1`

	sqlAskedFor = `SELECT serial FROM certificates WHERE requester = $1 AND requester_kind = 'certificate' AND state = 'open'`

	sqlSetCurrent = `UPDATE devices SET current_serial = (SELECT serial FROM certificates
	WHERE device = $1 AND device <> '' AND state = 'valid' ORDER BY issued_at DESC, serial DESC LIMIT 1) WHERE id = $1`
)

// Revoke implements ledger.Revocations. A void serial counts as revoked
// already; an open one is not found, for it has no certificate. The function
// tasks runs inside the transaction and must not call the ledger.
func (s *Store) Revoke(ctx context.Context, selector ledger.Selector, reason ledger.Reason, actor string, now time.Time, tasks func(ledger.Certificate) []ledger.Task) ([]ledger.Serial, error) {
	if (selector.Serial == "") == (selector.Device == "") {
		return nil, errors.New("revoking: name either a serial number or a device")
	}
	var changed []ledger.Serial
	o := &op{items: 1}
	if selector.Device != "" {
		o.locks = append(o.locks, "device:"+selector.Device)
	}
	o.run = func(t *tx) error {
		changed = nil
		certificates, err := t.selected(selector)
		if err != nil {
			return err
		}
		for _, c := range certificates {
			if c.State != ledger.Valid {
				continue
			}
			if err := t.revoke(&c, reason, actor, now); err != nil {
				return err
			}
			if tasks != nil {
				if err := t.enqueue(tasks(c), now); err != nil {
					return err
				}
			}
			changed = append(changed, c.Serial)
		}
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return nil, fmt.Errorf("revoking: %w", err)
	}
	return changed, nil
}

// selected finds what a selector names.
func (t *tx) selected(selector ledger.Selector) (all []ledger.Certificate, err error) {
	if selector.Serial != "" {
		b, err := serialBytes(selector.Serial)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ledger.ErrNotFound, err)
		}
		c, err := t.certificateFor(b, t.forUpdate)
		if err == nil && c.State == ledger.Open {
			err = fmt.Errorf("%w: no certificate was recorded for %s yet", ledger.ErrNotFound, selector.Serial)
		}
		return []ledger.Certificate{c}, err
	}
	err = t.query(sqlDeviceValid+t.forUpdate, func(rows *sql.Rows) error {
		c, err := scanCertificate(rows)
		all = append(all, c)
		return err
	}, selector.Device)
	if err != nil || len(all) > 0 {
		return all, err
	}
	known := 0
	if err := t.query(sqlKnowsDevice, scanInto(&known), selector.Device); err != nil {
		return nil, err
	}
	if known == 0 {
		return nil, fmt.Errorf("device %q: %w", selector.Device, ledger.ErrNotFound)
	}
	return nil, nil
}

// revoke revokes a valid certificate and changes c accordingly.
func (t *tx) revoke(c *ledger.Certificate, reason ledger.Reason, actor string, now time.Time) error {
	b, err := serialBytes(c.Serial)
	if err != nil {
		return err
	}
	if _, err := t.exec(sqlRevoke, b, micros(now), int64(reason), actor); err != nil {
		return err
	}
	if _, err := t.exec(sqlChanged, b); err != nil {
		return err
	}
	if c.Device != "" {
		// First the row, so that the search sees what a Finish has added that
		// it has waited for.
		var id string
		if err := t.query(sqlLockDevice+t.forUpdate, scanInto(&id), c.Device); err != nil {
			return err
		}
		if _, err := t.exec(sqlSetCurrent, c.Device); err != nil {
			return err
		}
	}
	c.State, c.RevokedAt, c.Reason, c.RevokedBy = ledger.Revoked, fromMicros(micros(now)), reason, actor
	t.record(ledger.Event{Kind: ledger.EventRevocation, At: now, Revocation: &ledger.Revocation{Serial: c.Serial, Reason: reason, Actor: actor}})
	// What the certificate has asked for and not got yet would outlive it.
	var asked [][]byte
	err = t.query(sqlAskedFor, func(rows *sql.Rows) error {
		var serial []byte
		err := rows.Scan(&serial)
		asked = append(asked, serial)
		return err
	}, string(c.Serial))
	if err != nil {
		return err
	}
	for _, serial := range asked {
		if _, err := t.void(serial, now); err != nil {
			return err
		}
	}
	return nil
}
