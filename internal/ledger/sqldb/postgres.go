package sqldb

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// newPostgres is the dialect of a database that servers share. Only what
// PostgreSQL, CockroachDB and YugabyteDB have in common is used: see
// docs/scale.md.
func newPostgres(cfg Config) (*dialect, error) {
	p, err := parsePostgres(cfg)
	if err != nil {
		return nil, err
	}
	return &dialect{
		migrations: "postgres",
		shared:     true,
		begin:      "BEGIN",
		forUpdate:  " FOR UPDATE",
		forShare:   " FOR SHARE",
		hasMeta:    `SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'meta'`,
		patience:   cmp.Or(cfg.Patience, defaultPatience),
		openWriter: func() (*sql.DB, error) { return p.open(1, nil), nil },
		openReaders: func() (*sql.DB, error) {
			return p.open(p.most-1, map[string]string{"default_transaction_read_only": "on"}), nil
		},
		// A migration takes what it takes, and waits for another server's.
		openMigrator: func() (*sql.DB, error) {
			return p.open(2, map[string]string{"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0"}), nil
		},
		pipeline:   pipelinePostgres,
		fit:        fitPostgres,
		sound:      soundPostgres,
		checkpoint: func(context.Context, *sql.Conn) error { return nil }, // the database sees to that itself
		ofItem:     func(err error) bool { return hasState(err, "22", "23", "54") },
		again:      func(err error) bool { return hasState(err, "40001", "40P01", "55P03") },
	}, nil
}

// hasState reports whether the error is the database's and its SQLSTATE
// begins with one of the given ones.
func hasState(err error, states ...string) bool {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return false
	}
	for _, s := range states {
		if strings.HasPrefix(refused.Code, s) {
			return true
		}
	}
	return false
}

// noText reports whether a query has looked for something that PostgreSQL has in
// no text: what is not UTF-8, or the zero byte.
func noText(err error) bool { return hasState(err, "22021") }

// fitPostgres leaves out the collation where text sorts by its bytes anyway:
// CockroachDB always sorts so and has no such columns.
func fitPostgres(ctx context.Context, conn *sql.Conn, text string) (string, error) {
	var bytewise bool
	if err := conn.QueryRowContext(ctx, `SELECT 'B' < 'a' AND 'a-b' < 'aa' AND 'Z' < '_'`).Scan(&bytewise); err != nil {
		return "", fmt.Errorf("asking how the database sorts: %w", err)
	}
	if bytewise {
		text = strings.ReplaceAll(text, ` COLLATE "C"`, "")
	}
	return text, nil
}

// soundPostgres refuses settings under which a commit can be lost, text can be
// garbled, or the lock of a slot would not show what its last holder wrote.
func soundPostgres(ctx context.Context, conn *sql.Conn) error {
	// The database plans a statement when it has been run some times, and keeps the plan: one made while a
	// table is nearly empty reads the whole of it for each batch, when it has become large,
	// until the table is analysed. Everything that the writer asks has an index. Databases that do not know
	// the setting plan in a way of their own.
	if _, err := conn.ExecContext(ctx, `SET enable_seqscan = off`); err != nil && !hasState(err, "42704", "0A000") {
		return fmt.Errorf("having the database use its indexes: %w", err)
	}
	var isolation string
	if err := conn.QueryRowContext(ctx, `SHOW transaction_isolation`).Scan(&isolation); err != nil {
		return fmt.Errorf("asking for the isolation of transactions: %w", err)
	}
	if isolation != "read committed" && isolation != "serializable" {
		return fmt.Errorf("transactions of the database are isolated as %q: quotas need \"read committed\" or \"serializable\", set default_transaction_isolation", isolation)
	}
	rows, err := conn.QueryContext(ctx, `SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'server_encoding')`)
	if err != nil {
		return fmt.Errorf("asking for settings of the database: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, setting string
		if err := rows.Scan(&name, &setting); err != nil {
			return fmt.Errorf("asking for settings of the database: %w", err)
		}
		if setting == "off" {
			return fmt.Errorf("the database has %s = off and may lose what it has confirmed: set it to on", name)
		}
		if name == "server_encoding" && !strings.EqualFold(setting, "UTF8") {
			return fmt.Errorf("the database is encoded in %s: create it with encoding UTF8", setting)
		}
	}
	return rows.Err()
}
