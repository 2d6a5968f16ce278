package sqldb

import (
	"context"
	"errors"
	"fmt"

	"mintmark/internal/ledger"
)

const (
	sqlPutRollover = `INSERT INTO rollovers (old_root, new_root, old_with_new, new_with_old, at, actor, ended_at, ended_by, changed_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
	ON CONFLICT (old_root, new_root) DO UPDATE SET old_with_new = excluded.old_with_new, new_with_old = excluded.new_with_old,
	at = excluded.at, actor = excluded.actor, ended_at = excluded.ended_at, ended_by = excluded.ended_by, changed_at = excluded.changed_at
	WHERE excluded.changed_at >= rollovers.changed_at`
	sqlRolloverChanged = `SELECT changed_at FROM rollovers WHERE old_root = $1 AND new_root = $2`
	sqlRollovers       = `SELECT old_root, new_root, old_with_new, new_with_old, at, actor, ended_at, ended_by FROM rollovers ORDER BY at, old_root, new_root`
)

// PutRollover implements ledger.Hierarchy.
func (s *Store) PutRollover(ctx context.Context, rollover ledger.Rollover) error {
	if err := checkRollover(&rollover); err != nil {
		return fmt.Errorf("recording rollover: %w", err)
	}
	o := &op{items: 1, locks: []string{"rollovers"}}
	o.run = func(t *tx) error {
		// Changes are in the order of their times, whatever the clocks say: so a
		// rebuild finds the last one.
		var last int64
		if err := t.query(sqlRolloverChanged, scanInto(&last), rollover.Old, rollover.New); err != nil {
			return err
		}
		now := max(micros(s.cfg.Now()), last+1)
		if err := t.putRollover(&rollover, now); err != nil {
			return err
		}
		t.record(ledger.Event{Kind: ledger.EventRollover, At: fromMicros(now), Rollover: &rollover})
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("recording rollover from %q to %q: %w", rollover.Old, rollover.New, err)
	}
	return nil
}

func checkRollover(r *ledger.Rollover) error {
	switch {
	case r.Old == "" || r.New == "" || r.Old == r.New:
		return fmt.Errorf("it is from %q to %q", r.Old, r.New)
	case r.At.IsZero():
		return errors.New("it has no time")
	case len(r.OldWithNew) == 0 || len(r.OldWithNew) > maxDER || len(r.NewWithOld) > maxDER:
		return fmt.Errorf("its certificates have %d and %d bytes", len(r.OldWithNew), len(r.NewWithOld))
	}
	if len(r.NewWithOld) == 0 {
		r.NewWithOld = nil
	}
	return checkNames(r.Old, r.New, r.Actor, r.EndedBy)
}

func (t *tx) putRollover(r *ledger.Rollover, changedAt int64) error {
	_, err := t.exec(sqlPutRollover, r.Old, r.New, r.OldWithNew, r.NewWithOld, micros(r.At), r.Actor, micros(r.EndedAt), r.EndedBy, changedAt)
	return err
}

// Rollovers implements ledger.Hierarchy.
func (s *Store) Rollovers(ctx context.Context) ([]ledger.Rollover, error) {
	return list(ctx, s, "listing rollovers", func(row row) (ledger.Rollover, error) {
		var r ledger.Rollover
		var at, ended int64
		err := row.Scan(&r.Old, &r.New, &r.OldWithNew, &r.NewWithOld, &at, &r.Actor, &ended, &r.EndedBy)
		r.At, r.EndedAt = fromMicros(at), fromMicros(ended)
		return r, err
	}, sqlRollovers, nil)
}
