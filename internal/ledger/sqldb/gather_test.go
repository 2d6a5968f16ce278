package sqldb_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pgtest"
)

// Whom the database refuses in the middle of a batch is told so, alone: what was gathered with it is
// written, and the log has what the database has.
func TestGatheredWithOneThatIsRefused(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	var most atomic.Int64
	s, log := openPostgres(t, url, "alpha", t.TempDir(), func(c *sqldb.Config) {
		c.ObserveCommit = func(n int, _ time.Duration) { most.Store(max(most.Load(), int64(n))) }
	})
	epoch, err := s.Join(t.Context(), "alpha", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`ALTER TABLE certificates ADD CONSTRAINT sound CHECK (device <> 'unsound' AND (device <> 'unsound later' OR state = 'open'))`); err != nil {
		t.Fatal(err)
	}
	const n = 20
	now := time.Now()
	devices := make([]string, n)
	for i := range devices {
		devices[i] = fmt.Sprintf("dev-%d", i)
	}
	devices[7], devices[13] = "unsound", "unsound later"
	intents, begun, finished := make([]ledger.Intent, n), make([]error, n), make([]error, n)
	// All are announced first, so that they share a batch.
	var ends []func()
	for range n {
		ends = append(ends, s.Announce())
	}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			defer ends[i]()
			intents[i] = ledgertest.NewIntent(epoch, now.Add(time.Duration(i)*time.Millisecond), devices[i], fmt.Sprint("key", i))
			results, err := s.Begin(t.Context(), intents[i:i+1])
			if begun[i] = err; err != nil {
				return
			}
			if begun[i] = results[0]; results[0] != nil {
				return
			}
			results, err = s.Finish(t.Context(), []ledger.Issued{ledgertest.Signed(intents[i], now)})
			if finished[i] = err; err == nil {
				finished[i] = results[0]
			}
		})
	}
	all.Wait()
	if most.Load() < n/2 {
		t.Fatalf("at most %d shared a batch", most.Load())
	}
	for i, device := range devices {
		c, err := s.Certificate(t.Context(), intents[i].Serial)
		switch device {
		case "unsound":
			if begun[i] == nil || !strings.Contains(begun[i].Error(), "sound") || !errors.Is(err, ledger.ErrNotFound) {
				t.Errorf("%s: %v; stored: %v", device, begun[i], err)
			}
		case "unsound later":
			if begun[i] != nil || finished[i] == nil || c.State == ledger.Valid {
				t.Errorf("%s: %v, %v; stored: %v", device, begun[i], finished[i], c.State)
			}
		default:
			if begun[i] != nil || finished[i] != nil || c.State != ledger.Valid {
				t.Errorf("%s: %v, %v; stored: %v, %v", device, begun[i], finished[i], c.State, err)
			}
		}
	}
	if err := s.Health(); err != nil {
		t.Error(err)
	}
	logged := make(map[string]int)
	for b, err := range log.Batches(ledger.Head{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			logged[string(e.Kind)]++
		}
	}
	if logged[string(ledger.EventIntent)] != n-1 || logged[string(ledger.EventIssued)] != n-2 {
		t.Errorf("the log has %v", logged)
	}
}

// However full the tables are that were empty when their statements were planned, a batch reads no row that
// it is not about.
func TestBatchesReadNoWholeTable(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	s, _ := openPostgres(t, url, "alpha", t.TempDir(), func(*sqldb.Config) {})
	epoch, err := s.Join(t.Context(), "alpha", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	gateway := issue(t, s, epoch, now, 0)
	for batch := range 40 {
		var intents []ledger.Intent
		var issued []ledger.Issued
		for n := range 50 {
			i := ledgertest.NewIntent(epoch, now.Add(time.Duration(50*batch+n)*time.Millisecond), fmt.Sprintf("dev-%d-%d", batch, n), fmt.Sprintf("key-%d-%d", batch, n))
			if n%2 == 0 {
				i.Requester = ledger.Requester{Kind: "ra", Name: string(gateway.Serial)}
			}
			intents = append(intents, i)
			issued = append(issued, ledgertest.Signed(i, now))
		}
		results, err := s.Begin(t.Context(), intents)
		if err := errors.Join(append(results, err)...); err != nil {
			t.Fatal(err)
		}
		results, err = s.Finish(t.Context(), issued)
		if err := errors.Join(append(results, err)...); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil { // what a connection has counted is told when it ends
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var whole, rows int64
		if err := db.QueryRow(`SELECT SUM(seq_tup_read), SUM(n_tup_ins) FROM pg_stat_user_tables WHERE relname IN ('certificates', 'devices')`).Scan(&whole, &rows); err != nil {
			t.Fatal(err)
		}
		if whole > 0 {
			t.Fatalf("%d rows were read in scans of whole tables", whole)
		}
		if rows >= 4000 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d rows are counted", rows)
		}
	}
}
