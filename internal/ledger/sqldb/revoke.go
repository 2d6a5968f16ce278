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

	sqlDeviceValid = `SELECT serial FROM certificates WHERE device = $1 AND device <> '' AND state = 'valid' ORDER BY serial`
	sqlOrderValid  = `SELECT serial FROM certificates WHERE order_id = $1 AND order_id <> '' AND state = 'valid' ORDER BY serial`
	sqlLockDevice  = `SELECT id FROM devices WHERE id = $1`

	sqlAskedFor = `SELECT serial FROM certificates WHERE requester = $1 AND requester_kind IN ('certificate', 'claim', 'ra') AND state = 'open'`

	sqlSetCurrent = `UPDATE devices SET current_serial = (SELECT serial FROM certificates
	WHERE device = $1 AND device <> '' AND purpose = 'device' AND state = 'valid' ORDER BY issued_at DESC, serial DESC LIMIT 1) WHERE id = $1`
)

// Revoke implements ledger.Revocations. A void serial counts as revoked
// already; an open one is not found, for it has no certificate. The function
// tasks runs inside the transaction and must not call the ledger.
func (s *Store) Revoke(ctx context.Context, selector ledger.Selector, reason ledger.Reason, actor string, now time.Time, tasks func(ledger.Certificate) []ledger.Task) ([]ledger.Serial, error) {
	if err := checkSelector(selector); err != nil {
		return nil, fmt.Errorf("revoking: %w", err)
	}
	var changed []ledger.Serial
	o := &op{items: 1}
	if selector.Device != "" {
		o.locks = append(o.locks, "device:"+selector.Device)
	}
	if selector.Order != "" {
		o.locks = append(o.locks, "order:"+selector.Order)
	}
	o.run = func(t *tx) error {
		changed = nil
		serials, err := t.selected(selector)
		if err != nil {
			return err
		}
		if selector.Most > 0 && len(serials) > selector.Most {
			return &ledger.TooManyError{Count: len(serials), Most: selector.Most}
		}
		for _, serial := range serials {
			c, err := t.certificate(serial)
			if err != nil {
				return err
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

func checkSelector(selector ledger.Selector) error {
	named := 0
	for _, name := range []string{string(selector.Serial), selector.Device, selector.Order} {
		if name != "" {
			named++
		}
	}
	switch {
	case named != 1:
		return errors.New("name either a serial number, a device or a work order")
	case checkNames(selector.Device, selector.Order) != nil:
		return fmt.Errorf("no device or work order can have that name: %w", ledger.ErrNotFound)
	case selector.Most < 0:
		return fmt.Errorf("at most %d certificates", selector.Most)
	}
	return nil
}

// selected finds the valid certificates that a selector names.
func (t *tx) selected(selector ledger.Selector) (serials [][]byte, err error) {
	text, name := sqlDeviceValid, selector.Device
	switch {
	case selector.Serial != "":
		b, err := serialBytes(selector.Serial)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ledger.ErrNotFound, err)
		}
		c, err := t.certificateFor(b, t.forUpdate)
		switch {
		case err != nil:
			return nil, err
		case c.State == ledger.Open:
			return nil, fmt.Errorf("%w: no certificate was recorded for %s yet", ledger.ErrNotFound, selector.Serial)
		case c.State != ledger.Valid:
			return nil, nil
		}
		return [][]byte{b}, nil
	case selector.Order != "":
		text, name = sqlOrderValid, selector.Order
	}
	err = t.query(text+t.forUpdate, func(rows *sql.Rows) error {
		var serial []byte
		err := rows.Scan(&serial)
		serials = append(serials, serial)
		return err
	}, name)
	if err != nil || len(serials) > 0 {
		return serials, err
	}
	if selector.Order != "" {
		_, err = t.order(name)
	} else {
		_, err = t.device(name)
	}
	return nil, err
}

// revoke revokes a valid certificate and changes c accordingly.
func (t *tx) revoke(c *ledger.Certificate, reason ledger.Reason, actor string, now time.Time) error {
	b, err := serialBytes(c.Serial)
	if err != nil {
		return err
	}
	if _, err := t.exec(sqlRevoke, b, micros(now), int64(reason), clean(actor)); err != nil {
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
	_, err = t.voidAll(now, sqlAskedFor, string(c.Serial))
	return err
}
