package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// A statement that changes one row, as nearly every one of a batch does.
type statement struct {
	text string
	args []any
}

// errApart says that a gathered statement did not do what was taken for granted: the batch is
// run again, each statement by itself.
var errApart = errors.New("a statement among others changed nothing")

// execOne runs a statement that changes one row or none, and returns how many. To a shared
// database it goes with those that follow, in one way there and back, and it is taken for granted that
// it changes one: a batch in which it does not is run again, and not gathered. Nothing else is
// asked or written before those that wait were run.
func (t *tx) execOne(text string, args ...any) (int64, error) {
	if !t.gather {
		return t.exec(text, args...)
	}
	t.gathered = append(t.gathered, statement{text, args})
	t.wrote = true
	return 1, nil
}

// flush runs the statements that were gathered.
func (t *tx) flush() error {
	list := t.gathered
	if len(list) == 0 {
		return nil
	}
	t.gathered = nil
	err := t.pipeline(t.ctx, t.conn, list)
	if err != nil && t.ofItem(err) {
		err = fmt.Errorf("%w: %w", errApart, err) // whose fault it is shows when each runs by itself
	}
	if err != nil {
		return t.fail(err)
	}
	return nil
}

// pipelinePostgres sends statements one behind the other, without waiting for the answer of each.
func pipelinePostgres(ctx context.Context, conn *sql.Conn, list []statement) error {
	return conn.Raw(func(c any) (err error) {
		var all pgx.Batch
		for _, s := range list {
			all.Queue(s.text, s.args...)
		}
		results := c.(*stdlib.Conn).Conn().SendBatch(ctx, &all)
		defer func() {
			if e := results.Close(); err == nil {
				err = e
			}
		}()
		for range list {
			tag, err := results.Exec()
			if err != nil {
				return err
			}
			if tag.RowsAffected() != 1 {
				return errApart
			}
		}
		return nil
	})
}
