package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"mintmark/internal/ledger"
)

// Changes are numbered so that whoever has read up to a number has missed nothing
// before it. A number that the database gives out when a row is inserted would not do
// on a database that servers share: the transaction with the lower one may commit
// later, and a reader who has seen the higher one by then would skip it for ever.
//
// So the numbers come from the row of a counter. A transaction raises it by as many as
// it has changes, which locks the row until it has committed; the next one waits, and
// gets higher numbers. Whoever sees a number sees all lower ones, in the order of the
// commits. The row is changed last, after everything else that the batch does: nothing
// is waited for while it is locked but the log and the commit themselves.
const (
	counterChanges = "changes"

	sqlRaise = `INSERT INTO counters (name, value) VALUES ($1, $2)
	ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value`
	sqlCounter      = `SELECT value FROM counters WHERE name = $1`
	sqlInsertChange = `INSERT INTO changes (number, serial) VALUES ($1, $2)`
	sqlChangesAfter = `SELECT number, serial FROM changes WHERE number > $1 ORDER BY number LIMIT $2`
)

// changed counts a serial number that was revoked or voided, for its CRL, and lists it
// at the end of the transaction.
func (t *tx) changed(serial []byte) error {
	t.unlisted = append(t.unlisted, slices.Clone(serial))
	_, err := t.exec(sqlChanged, serial)
	return err
}

// listChanges writes down what the transaction has revoked and voided.
func (t *tx) listChanges() error {
	if len(t.unlisted) == 0 {
		return nil
	}
	if _, err := t.exec(sqlRaise, counterChanges, len(t.unlisted)); err != nil {
		return err
	}
	var last int64
	if err := t.query(sqlCounter, scanInto(&last), counterChanges); err != nil {
		return err
	}
	first := last - int64(len(t.unlisted)) + 1
	for n, serial := range t.unlisted {
		if _, err := t.exec(sqlInsertChange, first+int64(n), serial); err != nil {
			return err
		}
	}
	return nil
}

// ChangedSince implements ledger.Revocations. A position is a number in decimal.
func (s *Store) ChangedSince(ctx context.Context, position string, limit int) (serials []ledger.Serial, next string, err error) {
	const what = "listing changes"
	var last int64
	if err := s.readers.QueryRowContext(ctx, sqlCounter, counterChanges).Scan(&last); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, "", fmt.Errorf("%s: %w", what, err)
	}
	if position == "" {
		return nil, strconv.FormatInt(last, 10), nil
	}
	after, err := strconv.ParseInt(position, 10, 64)
	switch {
	case err != nil || after < 0:
		return nil, "", fmt.Errorf("%s: %.40q is no position", what, position)
	case after > last:
		return nil, "", fmt.Errorf("%s: position %d, and the last one is %d: %w", what, after, last, ledger.ErrStale)
	}
	type change struct {
		number int64
		serial []byte
	}
	all, err := list(ctx, s, what, func(row row) (c change, err error) {
		err = row.Scan(&c.number, &c.serial)
		return c, err
	}, sqlChangesAfter, []any{after, pageSize(limit)})
	if err != nil {
		return nil, "", err
	}
	for _, c := range all {
		serials, after = append(serials, serialOf(c.serial)), c.number
	}
	return serials, strconv.FormatInt(after, 10), nil
}
