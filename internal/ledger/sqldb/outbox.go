package sqldb

import (
	"context"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

// Due implements ledger.Outbox.
func (s *Store) Due(ctx context.Context, kind string, now time.Time, limit int) ([]ledger.Task, error) {
	return list(ctx, s, "listing due tasks", scanTask, taskColumns+` WHERE kind = $1 AND due <= $2 ORDER BY due, id LIMIT $3`, []any{kind, micros(now), limit})
}

const (
	taskColumns = `SELECT id, kind, task_key, payload, due, attempts, last_err FROM outbox`
	sqlTasksOf  = taskColumns + ` WHERE task_key <> '' AND task_key = $1 ORDER BY id LIMIT 1000`
)

func scanTask(row row) (ledger.Task, error) {
	var task ledger.Task
	var due int64
	err := row.Scan(&task.ID, &task.Kind, &task.Key, &task.Payload, &due, &task.Attempts, &task.LastErr)
	task.Due = fromMicros(due)
	return task, err
}

// Tasks implements ledger.Outbox: at most 1000, the oldest first.
func (s *Store) Tasks(ctx context.Context, key string) ([]ledger.Task, error) {
	return list(ctx, s, "listing tasks", scanTask, sqlTasksOf, []any{key})
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
