package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"mintmark/internal/ledger"
)

// A writer is the one connection that writes, with its prepared statements. It
// is thrown away after any failure of the database: what is held in memory
// then is not what the disk holds.
type writer struct {
	*dialect
	db    *sql.DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	ctx   context.Context // bounds the statements of the transaction
	// failed is the first error of a statement in the transaction: PostgreSQL
	// answers the COMMIT of one that has failed by rolling back, without an
	// error.
	failed error
}

// openWriter connects and checks that the database can be relied on.
func openWriter(ctx context.Context, d *dialect) (*writer, error) {
	db, err := d.openWriter()
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("opening database: %w", err)
	}
	w := &writer{dialect: d, db: db, conn: conn, stmts: map[string]*sql.Stmt{}, ctx: context.Background()}
	if err := d.sound(ctx, conn); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *writer) close() error {
	for _, s := range w.stmts {
		s.Close()
	}
	return errors.Join(w.conn.Close(), w.db.Close())
}

func (w *writer) stmt(text string) (*sql.Stmt, error) {
	if s, ok := w.stmts[text]; ok {
		return s, nil
	}
	s, err := w.conn.PrepareContext(w.ctx, text)
	if err != nil {
		return nil, w.fail(err)
	}
	w.stmts[text] = s
	return s, nil
}

// exec runs a statement and returns how many rows it changed. Statements are
// not interrupted: a caller that leaves abandons the wait, not the write.
func (w *writer) exec(text string, args ...any) (int64, error) {
	s, err := w.stmt(text)
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(w.ctx, args...)
	if err != nil {
		return 0, w.fail(err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, w.fail(err)
	}
	return n, nil
}

// query runs a statement and calls each for its rows, which must not run
// another one.
func (w *writer) query(text string, each func(*sql.Rows) error, args ...any) error {
	s, err := w.stmt(text)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(w.ctx, args...)
	if err != nil {
		return w.fail(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return w.fail(err)
		}
	}
	if err := rows.Err(); err != nil {
		return w.fail(err)
	}
	return nil
}

// fail keeps the first error of a transaction.
func (w *writer) fail(err error) error {
	err = &storageError{err}
	if w.failed == nil {
		w.failed = err
	}
	return err
}

// A storageError is the database's, as opposed to a refusal of ours.
type storageError struct{ err error }

func (e *storageError) Error() string { return e.err.Error() }
func (e *storageError) Unwrap() error { return e.err }

// A tx is one transaction as its ops see it.
type tx struct {
	*writer
	events []ledger.Event
	// gather is set where statements wait for those that follow: see execOne.
	gather   bool
	gathered []statement
	ends     map[ledger.Epoch]int64 // when the epochs of this batch end
	ahead    *ahead                 // nil if nothing was asked ahead
	recent   *recent                // nil where the batch may change what is kept
	// unlisted are the serials that were revoked or voided and are not in changes yet.
	unlisted [][]byte
	cancel   context.CancelFunc
	wrote    bool // something was changed
	logged   bool // the events are in the log
	over     bool // the database has ended the transaction
}

// record adds an event to the batch of the issuance log.
func (t *tx) record(e ledger.Event) { t.events = append(t.events, e) }

// exec runs a statement and returns how many rows it changed.
func (t *tx) exec(text string, args ...any) (int64, error) {
	if err := t.flush(); err != nil {
		return 0, err
	}
	n, err := t.writer.exec(text, args...)
	t.wrote = t.wrote || n > 0
	return n, err
}

// query runs a statement and calls each for its rows, which must not run another one.
func (t *tx) query(text string, each func(*sql.Rows) error, args ...any) error {
	if err := t.flush(); err != nil {
		return err
	}
	return t.writer.query(text, each, args...)
}
