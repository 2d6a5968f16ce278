package sqldb_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pgtest"
	"mintmark/internal/pkitest"
)

// While a new version is rolled out, this one works on the schema of the next.
func TestRollingUpgrade(t *testing.T) {
	// The statements are those that TestConformancePostgres runs on the next schema each time.
	t.Run("sqlite", func(t *testing.T) {
		if os.Getenv("MINTMARK_LONG") == "" {
			t.Skip("the suite once more: MINTMARK_LONG=1")
		}
		next := filepath.Join(t.TempDir(), "ledger.db")
		sqldb.ApplyFuture(t, sqldb.Config{Path: next}, 1)
		ledgertest.Run(t, func(t testing.TB) ledger.Ledger {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "ledger.db"), pkitest.ReadFile(t, next), 0o600); err != nil {
				t.Fatal(err)
			}
			s, _ := open(t, dir)
			return s
		})
	})
	// With PostgreSQL: TestConformancePostgres.
	// A server that runs already does not notice.
	t.Run("while running", func(t *testing.T) {
		url := pgtest.Start(t).NewDatabase(t)
		m := together(t, url, "alpha")[0]
		if _, err := m.enroll("dev-1", "k1"); err != nil {
			t.Fatal(err)
		}
		sqldb.ApplyFuture(t, sqldb.Config{URL: url, Server: "next"}, 1)
		if _, err := m.enroll("dev-2", "k2"); err != nil {
			t.Error(err)
		}
		if err := m.Health(); err != nil {
			t.Error(err)
		}
		accounts(t, m)
	})
}

// A schema that this version cannot work on is refused with words.
func TestSchemaBeyondThisVersion(t *testing.T) {
	const future = 1000
	t.Run("sqlite", func(t *testing.T) {
		dir := t.TempDir()
		cfg := sqldb.Config{Path: filepath.Join(dir, "ledger.db")}
		sqldb.ApplyFuture(t, cfg, future)
		log, err := audit.Open(dir, audit.Config{Server: "alpha"})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		cfg.Log, cfg.Migrate = log, true
		s, err := sqldb.Open(t.Context(), cfg)
		if err == nil {
			s.Close()
			t.Fatal("opened")
		}
		if !strings.Contains(err.Error(), "which servers that know schema 1000 or a later one can work on") {
			t.Error(err)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		url := pgtest.Start(t).NewDatabase(t)
		sqldb.ApplyFuture(t, sqldb.Config{URL: url, Server: "next"}, future)
		refusedPostgres(t, sqldb.Config{URL: url}, "which servers that know schema 1000 or a later one can work on")
	})
}
