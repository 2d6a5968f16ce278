package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"mintmark/internal/ledger"
)

// dsn names the database file with the settings of a connection. FULL makes
// every commit wait for the disk. The WAL may grow to 16 MB before it is
// copied back, so that a page that many commits touch is copied once.
func dsn(file string, more string) (string, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", fmt.Errorf("locating database: %w", err)
	}
	u := url.URL{Scheme: "file", Path: abs, RawQuery: "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)" +
		"&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=wal_autocheckpoint(4000)" + more}
	return u.String(), nil
}

// A writer is the one connection that writes, with its prepared statements. It
// is thrown away after any failure of the disk: what SQLite holds in memory
// then is not what the disk holds.
type writer struct {
	db    *sql.DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func openWriter(ctx context.Context, file string) (*writer, error) {
	name, err := dsn(file, "&_pragma=cache_size(-32768)")
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, fmt.Errorf("opening database: %w", err)
	}
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("opening database: %w", err)
	}
	return &writer{db: db, conn: conn, stmts: map[string]*sql.Stmt{}}, nil
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
	s, err := w.conn.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, &storageError{err}
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
	result, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, &storageError{err}
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, &storageError{err}
	}
	return n, nil
}

// query runs a statement and calls each for its rows.
func (w *writer) query(text string, each func(*sql.Rows) error, args ...any) error {
	s, err := w.stmt(text)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(context.Background(), args...)
	if err != nil {
		return &storageError{err}
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return &storageError{err}
		}
	}
	if err := rows.Err(); err != nil {
		return &storageError{err}
	}
	return nil
}

// A storageError is the database's, as opposed to a refusal of ours.
type storageError struct{ err error }

func (e *storageError) Error() string { return e.err.Error() }
func (e *storageError) Unwrap() error { return e.err }

// ofItem reports whether the error comes from what was to be written and not
// from the disk: then it is the one op's and the store is sound.
func (e *storageError) ofItem() bool {
	var driver *sqlite.Error
	if !errors.As(e.err, &driver) {
		return false
	}
	switch driver.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE:
		return true
	}
	return false
}

// A tx is one transaction as its ops see it.
type tx struct {
	*writer
	events []ledger.Event
	ends   map[ledger.Epoch]int64 // when the epochs of this batch end
}

// record adds an event to the batch of the issuance log.
func (t *tx) record(e ledger.Event) { t.events = append(t.events, e) }
