package sqldb_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
)

func TestReopen(t *testing.T) {
	ledgertest.RunReopen(t, func(t testing.TB) (ledger.Ledger, func() ledger.Ledger) {
		dir := t.TempDir()
		s, log := open(t, dir)
		return s, func() ledger.Ledger {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			log.Close()
			s, log = open(t, dir)
			return s
		}
	})
}

// brittleLog fails appends on command, before or after writing them.
type brittleLog struct {
	*audit.Log
	mode atomic.Int32 // a ledgertest.Mode
}

func (l *brittleLog) Append(events []ledger.Event) (ledger.Head, error) {
	switch ledgertest.Mode(l.mode.Load()) {
	case ledgertest.NotPersist:
		return l.Head(), errors.New("append failed")
	case ledgertest.ButPersist:
		l.Log.Append(events)
		return l.Head(), errors.New("append failed though it was written")
	}
	return l.Log.Append(events)
}

func (l *brittleLog) Reopen() error {
	if l.mode.Load() != 0 {
		return errors.New("log is still broken")
	}
	return l.Log.Reopen()
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 3000 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("not within 30 s: " + what)
}

func TestLogFailure(t *testing.T) {
	for name, mode := range map[string]ledgertest.Mode{"not persisted": ledgertest.NotPersist, "persisted all the same": ledgertest.ButPersist} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var log *brittleLog
			s, _ := open(t, dir, func(c *sqldb.Config) {
				log = &brittleLog{Log: c.Log.(*audit.Log)}
				c.Log = log
			})
			ctx, now := context.Background(), time.Now()
			epoch, err := s.Join(ctx, "alpha", now, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			begun := ledgertest.NewIntent(epoch, now, "dev-1", "k1")
			if results, err := s.Begin(ctx, []ledger.Intent{begun}); err != nil || results[0] != nil {
				t.Fatal(results, err)
			}
			log.mode.Store(int32(mode))
			if _, err := s.Finish(ctx, []ledger.Issued{ledgertest.Signed(begun, now)}); !errors.Is(err, ledger.ErrUnavailable) {
				t.Fatalf("finish: %v", err)
			}
			if s.Health() == nil {
				t.Error("store calls itself sound")
			}
			if _, err := s.Join(ctx, "alpha", now, time.Hour); !errors.Is(err, ledger.ErrUnavailable) {
				t.Errorf("join while unsound: %v", err)
			}
			if c, err := s.Certificate(ctx, begun.Serial); err != nil || c.State != ledger.Open {
				t.Errorf("reading while unsound: %v, %v", c.State, err)
			}
			log.mode.Store(0)
			eventually(t, "healing", func() bool { return s.Health() == nil })
			// Its caller was told of a failure: the intent must not stand in
			// the way of the next attempt.
			eventually(t, "voiding", func() bool {
				c, err := s.Certificate(ctx, begun.Serial)
				return err == nil && c.State == ledger.Voided
			})
			again := ledgertest.NewIntent(epoch, now, "dev-1", "k1")
			if results, err := s.Begin(ctx, []ledger.Intent{again}); err != nil || results[0] != nil {
				t.Errorf("the next attempt: %v, %v", results, err)
			}
			if results, err := s.Finish(ctx, []ledger.Issued{ledgertest.Signed(again, now)}); err != nil || results[0] != nil {
				t.Errorf("the next attempt: %v, %v", results, err)
			}
			s.Close()
			log.Close()
			inspect(t, dir, []ledger.Serial{again.Serial})
		})
	}
}

// fill issues some certificates and closes everything.
func fill(t *testing.T, dir string, n int) {
	t.Helper()
	s, log := open(t, dir)
	epoch, err := s.Join(context.Background(), "alpha", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if _, err := enroll(s, epoch); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	log.Close()
}

func copyFiles(t *testing.T, to, from, pattern string) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(from, pattern))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(f)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// What does not belong together is not opened, and the error says what to do.
func TestDiverged(t *testing.T) {
	dir, saved := t.TempDir(), t.TempDir()
	fill(t, dir, 3)
	copyFiles(t, saved, dir, "*")
	fill(t, dir, 3)

	refused := func(t *testing.T, dir, why string) {
		t.Helper()
		log, err := audit.Open(dir, audit.Config{Server: "alpha"})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		s, err := sqldb.Open(context.Background(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log, Migrate: true})
		if err == nil {
			s.Close()
			t.Fatal("opened")
		}
		if !errors.Is(err, sqldb.ErrDiverged) || !strings.Contains(err.Error(), why) {
			t.Errorf("error %q does not say %q", err, why)
		}
	}
	t.Run("older database", func(t *testing.T) {
		mixed := t.TempDir()
		copyFiles(t, mixed, dir, "issuance-*")
		copyFiles(t, mixed, saved, "ledger.db*")
		refused(t, mixed, "database is older than its issuance log")
	})
	t.Run("older log", func(t *testing.T) {
		mixed := t.TempDir()
		copyFiles(t, mixed, saved, "issuance-*")
		copyFiles(t, mixed, dir, "ledger.db*")
		refused(t, mixed, "issuance log is older than the database or was lost")
	})
	t.Run("no database", func(t *testing.T) {
		mixed := t.TempDir()
		copyFiles(t, mixed, dir, "issuance-*")
		refused(t, mixed, "database is older than its issuance log")
	})
	t.Run("no log", func(t *testing.T) {
		mixed := t.TempDir()
		copyFiles(t, mixed, dir, "ledger.db*")
		refused(t, mixed, "was lost")
		s, _ := open(t, mixed, func(c *sqldb.Config) { c.NewLog = true })
		epoch, err := s.Join(context.Background(), "alpha", time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := enroll(s, epoch); err != nil {
			t.Errorf("with a new log: %v", err)
		}
	})
}

// A crash between the log's fsync and the commit leaves the log one ahead.
func TestUncommittedBatchIsAborted(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 3)
	log, err := audit.Open(dir, audit.Config{Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	lost := ledgertest.NewSerial(time.Now())
	if _, err := log.Append([]ledger.Event{{Kind: ledger.EventVoided, At: time.Now(), Voided: &lost}}); err != nil {
		t.Fatal(err)
	}
	log.Close()
	fill(t, dir, 1)
	report, err := audit.Verify(dir)
	if err != nil || report.Aborted != 1 {
		t.Errorf("verify: %+v, %v", report, err)
	}
}

func TestSchema(t *testing.T) {
	dir := t.TempDir()
	log, err := audit.Open(dir, audit.Config{Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cfg := sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log}
	if _, err := sqldb.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "has schema 0, this version needs schema") {
		t.Errorf("without migration: %v", err)
	}
	cfg.Migrate = true
	s, err := sqldb.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	sqldb.SetSchema(t, cfg.Path, 99)
	if _, err := sqldb.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "this version knows schemas up to") {
		t.Errorf("newer schema: %v", err)
	}
}

func TestCloseRefusesWrites(t *testing.T) {
	s, _ := open(t, t.TempDir())
	epoch, err := s.Join(t.Context(), "alpha", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := enroll(s, epoch); err == nil {
		t.Error("wrote to a closed store")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
