package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// newSQLite is the dialect of a file that one server works on.
func newSQLite(file string) *dialect {
	open := func(most int, more string) (*sql.DB, error) {
		name, err := dsn(file, more)
		if err != nil {
			return nil, err
		}
		db, err := sql.Open("sqlite", name)
		if err != nil {
			return nil, fmt.Errorf("opening database: %w", err)
		}
		db.SetMaxOpenConns(most)
		db.SetMaxIdleConns(most)
		return db, nil
	}
	openWriter := func() (*sql.DB, error) {
		if err := createPrivate(file); err != nil {
			return nil, err
		}
		return open(1, "&_pragma=cache_size(-32768)")
	}
	return &dialect{
		migrations: "sqlite",
		begin:      "BEGIN IMMEDIATE",
		// Left to itself SQLite may prefer the index of states, since it cannot know
		// how many rows match.
		byEnd:        ` INDEXED BY certificates_end`,
		hasMeta:      `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'meta'`,
		openWriter:   openWriter,
		openReaders:  func() (*sql.DB, error) { return open(4, "&_pragma=query_only(1)&_pragma=cache_size(-4096)") },
		openMigrator: openWriter,
		fit:          func(_ context.Context, _ *sql.Conn, text string) (string, error) { return text, nil },
		sound:        func(context.Context, *sql.Conn) error { return nil },
		checkpoint:   checkpointSQLite,
		ofItem:       ofItemSQLite,
		again:        func(error) bool { return false }, // one server, one writer
	}
}

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

// createPrivate makes the file if it is new, for its mode: SQLite would let
// all read it.
func createPrivate(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// checkpointSQLite copies the WAL into the database and begins a new one. A
// commit that failed may have left frames in the WAL that the kernel holds as
// clean and the disk does not have; afterwards nothing depends on them, and
// nothing is left that a crash could bring back.
func checkpointSQLite(ctx context.Context, conn *sql.Conn) error {
	var busy, frames, copied int
	if err := conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &frames, &copied); err != nil {
		return fmt.Errorf("copying the WAL into the database: %w", err)
	}
	if busy != 0 {
		return errors.New("copying the WAL into the database: readers are in the way")
	}
	return nil
}

func ofItemSQLite(err error) bool {
	var driver *sqlite.Error
	if !errors.As(err, &driver) {
		return false
	}
	switch driver.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE:
		return true
	}
	return false
}
