package sqldb_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
)

// open opens the store and its log in a directory; both are closed at the end
// of the test.
func open(t testing.TB, dir string, change ...func(*sqldb.Config)) (*sqldb.Store, *audit.Log) {
	t.Helper()
	log, err := audit.Open(dir, audit.Config{Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	cfg := sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log, Migrate: true, Retry: 20 * time.Millisecond}
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

func TestConformance(t *testing.T) {
	ledgertest.Run(t, func(t testing.TB) ledger.Ledger {
		s, _ := open(t, t.TempDir())
		return s
	})
}
