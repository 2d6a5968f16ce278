package sqldb

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

const (
	sqlRevoke     = `UPDATE certificates SET state = 'revoked', revoked_at = $2, reason = $3, revoked_by = $4 WHERE serial = $1 AND state = 'valid'`
	sqlLockDevice = `SELECT id FROM devices WHERE id = $1`

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
	if selector.Key != [32]byte{} {
		o.locks = append(o.locks, "key:"+hex.EncodeToString(selector.Key[:]))
	}
	o.run = func(t *tx) error {
		changed = nil
		serials, err := t.selected(selector, now)
		if err != nil {
			return err
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

// revoke revokes a valid certificate and changes c accordingly.
func (t *tx) revoke(c *ledger.Certificate, reason ledger.Reason, actor string, now time.Time) error {
	b, err := serialBytes(c.Serial)
	if err != nil {
		return err
	}
	if _, err := t.exec(sqlRevoke, b, micros(now), int64(reason), clean(actor)); err != nil {
		return err
	}
	if err := t.changed(b); err != nil {
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
