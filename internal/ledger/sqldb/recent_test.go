package sqldb_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
)

// Nobody reads that a certificate is in force after somebody was told that it is revoked, however
// often it was read before, and nothing is issued to it.
func TestRevokedIsReadAtOnce(t *testing.T) {
	s, _ := open(t, t.TempDir())
	epoch, err := s.Join(t.Context(), "alpha", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for round := range 50 {
		i := issue(t, s, epoch, now, round)
		stop := make(chan struct{})
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := s.Certificate(t.Context(), i.Serial); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		if c, err := s.Certificate(t.Context(), i.Serial); err != nil || c.State != ledger.Valid || string(c.DER) != "signed: "+string(i.TBS) {
			t.Fatalf("%v, %v", c, err)
		}
		if _, err := s.Revoke(t.Context(), ledger.Selector{Serial: i.Serial}, ledger.Superseded, "test", now, nil); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if c, err := s.Certificate(t.Context(), i.Serial); err != nil || c.State != ledger.Revoked {
				t.Fatalf("round %d: after its revocation the certificate is %s, %v", round, c.State, err)
			}
		}
		next := ledgertest.NewIntent(epoch, now, fmt.Sprint("dev-", round), fmt.Sprint("next-", round))
		next.Requester = ledger.Requester{Kind: "certificate", Name: string(i.Serial)}
		if results, err := s.Begin(t.Context(), []ledger.Intent{next}); err != nil || !errors.Is(results[0], ledger.ErrRevoked) {
			t.Fatalf("round %d: a revoked certificate asks: %v, %v", round, results, err)
		}
		close(stop)
		readers.Wait()
	}
}

// Many certificates are read, and each is its own.
func TestReadManyTimes(t *testing.T) {
	s, _ := open(t, t.TempDir())
	epoch, err := s.Join(t.Context(), "alpha", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	var all []ledger.Intent
	for n := range 600 { // more than are kept
		all = append(all, issue(t, s, epoch, now, n))
	}
	for range 3 {
		for _, i := range all {
			if c, err := s.Certificate(t.Context(), i.Serial); err != nil || c.Serial != i.Serial || c.Device != i.Device {
				t.Fatalf("%v, %v", c, err)
			}
		}
	}
}

func issue(t *testing.T, s *sqldb.Store, epoch ledger.Epoch, now time.Time, n int) ledger.Intent {
	t.Helper()
	i := ledgertest.NewIntent(epoch, now, fmt.Sprint("dev-", n), fmt.Sprint("key-", n))
	results, err := s.Begin(t.Context(), []ledger.Intent{i})
	if err != nil || results[0] != nil {
		t.Fatal(results, err)
	}
	if results, err = s.Finish(t.Context(), []ledger.Issued{ledgertest.Signed(i, now)}); err != nil || results[0] != nil {
		t.Fatal(results, err)
	}
	return i
}
