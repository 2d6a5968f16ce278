package sqldb_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
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
	file := filepath.Join(dir, "ledger.db")
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		// A copy of an empty ledger: making one takes longer than most tests.
		if err := os.WriteFile(file, emptyLedger(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := sqldb.Config{Path: file, Log: log, Migrate: true, Retry: 20 * time.Millisecond}
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

// emptyLedger is an SQLite file with this version's schema, and nothing in it.
var emptyLedger = sync.OnceValue(func() []byte {
	dir, err := os.MkdirTemp("", "ledger")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "ledger.db")
	if err := sqldb.MakeEmpty(file); err != nil {
		panic(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	return data
})

func TestConformance(t *testing.T) {
	ledgertest.Run(t, func(t testing.TB) ledger.Ledger {
		s, _ := open(t, t.TempDir())
		return s
	})
}
