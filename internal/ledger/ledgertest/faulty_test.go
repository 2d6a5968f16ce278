package ledgertest_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
)

func TestFaulty(t *testing.T) {
	dir := t.TempDir()
	log, err := audit.Open(dir, audit.Config{Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mode := ledgertest.Pass
	var l ledger.Ledger = &ledgertest.Faulty{Ledger: s, Fail: func(op string) ledgertest.Mode {
		if op == "Begin" {
			return mode
		}
		return ledgertest.Pass
	}}
	ctx, now := context.Background(), time.Now()
	epoch, err := l.Join(ctx, "alpha", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for m, written := range map[ledgertest.Mode]bool{ledgertest.Pass: true, ledgertest.NotPersist: false, ledgertest.ButPersist: true} {
		mode = m
		device := string(ledgertest.NewSerial(now))
		i := ledgertest.NewIntent(epoch, now, device, device)
		_, err := l.Begin(ctx, []ledger.Intent{i})
		if failed := m != ledgertest.Pass; errors.Is(err, ledgertest.ErrInjected) != failed {
			t.Errorf("mode %d: error %v", m, err)
		}
		if _, err := l.Certificate(ctx, i.Serial); (err == nil) != written {
			t.Errorf("mode %d: reading %v, written %v", m, err, written)
		}
	}
}
