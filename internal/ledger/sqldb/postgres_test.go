package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
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

// emptier returns what removes all records from a database, but leaves its schema: most of
// what a new database costs is that. The rows of meta that servers have go as well, unless one
// of them runs on. It keeps a connection, which has the plans of all statements.
func emptier(t testing.TB, url string, running bool) func(testing.TB) {
	t.Helper()
	// The first one makes the schema.
	s, log := openPostgres(t, url, "alpha", t.TempDir())
	if err := errors.Join(s.Close(), log.Close()); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`DELETE FROM meta WHERE name NOT LIKE 'schema%'`); err != nil {
		t.Fatal(err)
	}
	servers := "DELETE FROM meta WHERE name NOT LIKE ''schema%'';"
	if running {
		servers = ""
	}
	_, err = db.Exec(`DO $$ BEGIN
	EXECUTE 'CREATE FUNCTION pg_temp.empty() RETURNS void LANGUAGE plpgsql AS $body$ BEGIN '
		|| (SELECT string_agg(format('DELETE FROM %I;', tablename), ' ') FROM pg_tables WHERE schemaname = current_schema() AND tablename NOT IN ('meta', 'locks'))
		|| ' INSERT INTO field_runs (run, import_id) VALUES (0, ''''); ` + servers + ` END $body$';
	END $$`)
	if err != nil {
		t.Fatal(err)
	}
	return func(t testing.TB) {
		t.Helper()
		if _, err := db.Exec("SELECT pg_temp.empty()"); err != nil {
			t.Fatal(err)
		}
	}
}

// The suite runs on the schema of the next version, as while that is rolled out: it has
// all that this version's has, and what servers of this version do not know. On this version's
// schema run all other tests with PostgreSQL and, in make faults, the suite again. One store
// serves all cases: to connect and to prepare its statements takes longer than most of them.
func TestConformancePostgres(t *testing.T) {
	conformance := func(t *testing.T, prepare func(url string)) {
		url := pgtest.Start(t).NewDatabase(t)
		prepare(url)
		empty := emptier(t, url, true)
		s, _ := openPostgres(t, url, "alpha", t.TempDir())
		ledgertest.Run(t, func(t testing.TB) ledger.Ledger {
			empty(t)
			return s
		})
	}
	t.Run("next", func(t *testing.T) {
		conformance(t, func(url string) { sqldb.ApplyFuture(t, sqldb.Config{URL: url, Server: "next"}, 1) })
	})
	t.Run("this", func(t *testing.T) {
		if os.Getenv("MINTMARK_LONG") == "" {
			t.Skip("takes long: MINTMARK_LONG=1")
		}
		conformance(t, func(string) {})
	})
}

func TestReopenPostgres(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	empty := emptier(t, url, false)
	ledgertest.RunReopen(t, func(t testing.TB) (ledger.Ledger, func() ledger.Ledger) {
		empty(t)
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
