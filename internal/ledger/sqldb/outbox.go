package sqldb

import (
	"context"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

// Due implements ledger.Outbox.
func (s *Store) Due(ctx context.Context, kind string, now time.Time, limit int) ([]ledger.Task, error) {
	rows, err := s.readers.QueryContext(ctx, `SELECT id, kind, task_key, payload, due, attempts, last_err FROM outbox
	WHERE kind = $1 AND due <= $2 ORDER BY due, id LIMIT $3`, kind, micros(now), limit)
	if err != nil {
		return nil, fmt.Errorf("listing due tasks: %w", err)
	}
	defer rows.Close()
	var all []ledger.Task
	for rows.Next() {
		var task ledger.Task
		var due int64
		if err := rows.Scan(&task.ID, &task.Kind, &task.Key, &task.Payload, &due, &task.Attempts, &task.LastErr); err != nil {
			return nil, fmt.Errorf("listing due tasks: %w", err)
		}
		task.Due = fromMicros(due)
		all = append(all, task)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing due tasks: %w", err)
	}
	return all, nil
}

// Done implements ledger.Outbox. Tasks that are gone are no error: they were
// replaced meanwhile.
func (s *Store) Done(ctx context.Context, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	o := &op{items: 1}
	o.run = func(t *tx) error {
		for _, id := range ids {
			if _, err := t.exec(`DELETE FROM outbox WHERE id = $1`, id); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("removing delivered tasks: %w", err)
	}
	return nil
}

// Retry implements ledger.Outbox. A task that is gone is no error. The cause is
// cut to what a person reads: the other side writes it.
func (s *Store) Retry(ctx context.Context, id int64, at time.Time, cause string) error {
	o := &op{items: 1}
	o.run = func(t *tx) error {
		_, err := t.exec(`UPDATE outbox SET due = $2, attempts = attempts + 1, last_err = $3 WHERE id = $1`, id, micros(at), cut(cause, 1000))
		return err
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("postponing task: %w", err)
	}
	return nil
}

// Backlog implements ledger.Outbox.
func (s *Store) Backlog(ctx context.Context) (map[string]int, error) {
	return s.counts(ctx, "counting undelivered tasks", `SELECT kind, count(*) FROM outbox GROUP BY kind`)
}
