package sqldb_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pgtest"
)

// openPostgres opens a server's store on a database, with the log in a
// directory; both are closed at the end of the test.
func openPostgres(t testing.TB, url, server, dir string, change ...func(*sqldb.Config)) (*sqldb.Store, *audit.Log) {
	t.Helper()
	log, err := audit.Open(dir, audit.Config{Server: server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	cfg := sqldb.Config{URL: url, Server: server, Log: log, Migrate: true, Retry: 20 * time.Millisecond}
	for _, c := range change {
		c(&cfg)
	}
	s, err := sqldb.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, log
}

// empty removes all records and all servers from a database, but leaves its
// schema: most of what a new database costs is that.
func empty(t testing.TB, url string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Exec(`DO $$ DECLARE r record; BEGIN
	FOR r IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename NOT IN ('meta', 'locks') LOOP
		EXECUTE format('DELETE FROM %I', r.tablename);
	END LOOP;
	IF EXISTS (SELECT 1 FROM pg_tables WHERE tablename = 'field_runs') THEN INSERT INTO field_runs (run, import_id) VALUES (0, ''); END IF;
	IF EXISTS (SELECT 1 FROM pg_tables WHERE tablename = 'meta') THEN DELETE FROM meta WHERE name NOT LIKE 'schema%'; END IF;
	END $$`)
	if err != nil {
		t.Fatal(err)
	}
}

func TestConformancePostgres(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	ledgertest.Run(t, func(t testing.TB) ledger.Ledger {
		empty(t, url)
		s, _ := openPostgres(t, url, "alpha", t.TempDir())
		return s
	})
}

func TestReopenPostgres(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	ledgertest.RunReopen(t, func(t testing.TB) (ledger.Ledger, func() ledger.Ledger) {
		empty(t, url)
		dir := t.TempDir()
		s, log := openPostgres(t, url, "alpha", dir)
		return s, func() ledger.Ledger {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			log.Close()
			s, log = openPostgres(t, url, "alpha", dir)
			return s
		}
	})
}
