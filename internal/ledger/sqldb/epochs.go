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
	sqlJoin = `INSERT INTO epochs (server, number, ends_at) VALUES ($1, 1, $2)
	ON CONFLICT (server) DO UPDATE SET number = epochs.number + 1, ends_at = excluded.ends_at`
	sqlExtend = `UPDATE epochs SET ends_at = $4 WHERE server = $1 AND number = $2 AND ends_at > $3 AND ends_at < $4`

	sqlVoid = `UPDATE certificates SET state = 'void', tbs = NULL, revoked_at = $2 WHERE serial = $1 AND state = 'open'`
	// state <> 'valid' lets the partial index be used.
	sqlLapsed = `SELECT serial FROM certificates c WHERE state = 'open' AND state <> 'valid' AND NOT EXISTS
	(SELECT 1 FROM epochs e WHERE e.server = c.epoch_server AND e.number = c.epoch_number AND e.ends_at > $1) ORDER BY serial`
	sqlChanged = `INSERT INTO shard_crls (issuer, shard, changes) SELECT issuer, shard, 1 FROM certificates WHERE serial = $1
	ON CONFLICT (issuer, shard) DO UPDATE SET changes = shard_crls.changes + 1`
)

// Join implements ledger.Issuance.
func (s *Store) Join(ctx context.Context, server string, now time.Time, ttl time.Duration) (ledger.Epoch, error) {
	epoch := ledger.Epoch{Server: server}
	if server == "" {
		return epoch, errors.New("opening epoch: no server named")
	}
	o := &op{items: 1}
	o.run = func(t *tx) error {
		clear(t.ends)
		if _, err := t.exec(sqlJoin, server, micros(now.Add(ttl))); err != nil {
			return err
		}
		return t.query(`SELECT number FROM epochs WHERE server = $1`, scanInto(&epoch.Number), server)
	}
	if err := s.write(ctx, o); err != nil {
		return ledger.Epoch{}, fmt.Errorf("opening epoch: %w", err)
	}
	return epoch, nil
}

// Extend implements ledger.Issuance. It never shortens an epoch.
func (s *Store) Extend(ctx context.Context, epoch ledger.Epoch, now time.Time, ttl time.Duration) error {
	o := &op{items: 1}
	o.run = func(t *tx) error {
		clear(t.ends)
		if err := t.inForce(epoch, now); err != nil {
			return err
		}
		clear(t.ends)
		_, err := t.exec(sqlExtend, epoch.Server, epoch.Number, micros(now), micros(now.Add(ttl)))
		return err
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("extending epoch: %w", err)
	}
	return nil
}

// Void implements ledger.Issuance. Voiding again is no error; a serial that
// has a certificate is refused, it can only be revoked.
func (s *Store) Void(ctx context.Context, serial ledger.Serial, now time.Time) error {
	b, err := serialBytes(serial)
	if err != nil {
		return fmt.Errorf("voiding intent: %w", err)
	}
	o := &op{items: 1}
	o.run = func(t *tx) error {
		if voided, err := t.void(b, now); voided || err != nil {
			return err
		}
		c, err := t.certificate(b)
		if err != nil {
			return err
		}
		if c.State != ledger.Voided {
			return fmt.Errorf("%s is %s: %w: revoke it", serial, c.State, ledger.ErrIssued)
		}
		return nil
	}
	o.orphans = func() [][]byte { return [][]byte{b} }
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("voiding intent: %w", err)
	}
	return nil
}

// VoidLapsed implements ledger.Issuance.
func (s *Store) VoidLapsed(ctx context.Context, now time.Time) (int, error) {
	count := 0
	o := &op{items: 1}
	o.run = func(t *tx) (err error) {
		count, err = t.voidAll(now, sqlLapsed, micros(now))
		return err
	}
	if err := s.write(ctx, o); err != nil {
		return 0, fmt.Errorf("voiding lapsed intents: %w", err)
	}
	return count, nil
}

// voidAll voids the open serials that a query lists.
func (t *tx) voidAll(now time.Time, text string, args ...any) (count int, err error) {
	var serials [][]byte
	err = t.query(text, func(rows *sql.Rows) error {
		var serial []byte
		err := rows.Scan(&serial)
		serials = append(serials, serial)
		return err
	}, args...)
	for _, serial := range serials {
		if err == nil {
			_, err = t.void(serial, now)
		}
	}
	return len(serials), err
}

// void makes an open serial void, gives back what it has taken, a unit of its
// work order, an approval, a one-time secret, and reports whether it was open.
func (t *tx) void(serial []byte, now time.Time) (bool, error) {
	n, err := t.exec(sqlVoid, serial, micros(now))
	if n == 0 || err != nil {
		return false, err
	}
	if err := t.changed(serial); err != nil {
		return false, err
	}
	for _, text := range []string{sqlReturnUnitOf, sqlReturnEnrollment, sqlReturnSecret} {
		if _, err := t.exec(text, serial); err != nil {
			return false, err
		}
	}
	s := serialOf(serial)
	t.record(ledger.Event{Kind: ledger.EventVoided, At: now, Voided: &s})
	return true, nil
}
