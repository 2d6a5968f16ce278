package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
)

// Of the writes to certificates some fail, in every way that the database has: others are in the way, the row
// is refused, it is not there, the connection ends; when the statement is run, or when it is committed.
const injectFaults = `
CREATE SEQUENCE faults;
CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE n FLOAT := random();
BEGIN
	IF n < 0.015 THEN
		PERFORM nextval('faults');
	END IF;
	CASE
		WHEN n < 0.002 THEN RAISE EXCEPTION 'injected' USING ERRCODE = '40001';
		WHEN n < 0.004 THEN RAISE EXCEPTION 'injected' USING ERRCODE = '40P01';
		WHEN n < 0.006 THEN RAISE EXCEPTION 'injected' USING ERRCODE = '55P03';
		WHEN n < 0.010 THEN RAISE EXCEPTION 'injected' USING ERRCODE = '23514';
		WHEN n < 0.012 THEN PERFORM pg_terminate_backend(pg_backend_pid());
		WHEN n < 0.015 AND TG_WHEN = 'BEFORE' THEN RETURN NULL;
		ELSE NULL;
	END CASE;
	RETURN NEW;
END $body$;
CREATE TRIGGER at_once BEFORE INSERT OR UPDATE ON certificates FOR EACH ROW EXECUTE FUNCTION fault();
CREATE CONSTRAINT TRIGGER at_end AFTER INSERT OR UPDATE ON certificates DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fault()`

// Whatever fails within a batch, each is told what became of its own, and the database has what the logs have.
func TestWritesFailWithinBatches(t *testing.T) {
	isolations(t, func(t *testing.T, url string) {
		servers := together(t, url, "alpha", "beta")
		db, err := sql.Open("pgx", url)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(injectFaults); err != nil {
			t.Fatal(err)
		}
		var answered sync.Map // the DER that was recorded, by serial number
		var wg sync.WaitGroup
		var refused atomic.Int64
		for _, m := range servers {
			for range 12 {
				wg.Go(func() {
					var mine []ledger.Serial
					for range 30 {
						got := issueSome(t, m, mine)
						for _, c := range got {
							answered.Store(c.Serial, string(c.DER))
							mine = append(mine, c.Serial)
						}
						if len(got) == 0 {
							refused.Add(1)
						}
						for m.Health() != nil {
							m.Device(t.Context(), "none") // spinning would keep the cores from the healing
						}
					}
				})
			}
		}
		wg.Wait()
		if _, err := db.Exec(`DROP TRIGGER at_once ON certificates; DROP TRIGGER at_end ON certificates`); err != nil {
			t.Fatal(err)
		}
		for _, m := range servers {
			eventually(t, "healing", func() bool { return m.Health() == nil })
			// What was written for nobody is void once this is written.
			if err := m.Done(t.Context(), []int64{1 << 40}); err != nil {
				t.Fatal(err)
			}
		}
		count := 0
		answered.Range(func(serial, der any) bool {
			count++
			c, err := servers[0].Certificate(t.Context(), serial.(ledger.Serial))
			if err != nil || c.State != ledger.Valid || string(c.DER) != der {
				t.Errorf("%s was answered, and is %s, %q; %v", serial, c.State, c.DER, err)
			}
			return true
		})
		var faults int
		if err := db.QueryRow(`SELECT last_value FROM faults`).Scan(&faults); err != nil || faults < 20 || count < 100 {
			t.Errorf("%d faults and %d certificates, %v", faults, count, err)
		}
		t.Logf("%d faults, %d certificates, %d times none", faults, count, refused.Load())
		sound(t, db)
		accounts(t, servers...)
	})
}

// issueSome begins some intents at once, some of them for clients that do not wait, and returns the certificates that it
// was told are recorded. Others it leaves open.
func issueSome(t *testing.T, m *member, mine []ledger.Serial) (recorded []ledger.Issued) {
	ctx := t.Context()
	if rand.N(10) == 0 {
		var leave context.CancelFunc
		ctx, leave = context.WithTimeout(ctx, rand.N(5*time.Millisecond))
		defer leave()
	}
	defer m.Announce()()
	now := time.Now()
	var intents []ledger.Intent
	for range 1 + rand.N(4) {
		i := ledgertest.NewIntent(m.epoch, now, fmt.Sprint("dev-", rand.N(60)), fmt.Sprint("key-", rand.N(4000)))
		i.SecondKey = rand.N(2) == 0
		if len(mine) > 0 && rand.N(2) == 0 {
			i.Requester = ledger.Requester{Kind: "certificate", Name: string(mine[rand.N(len(mine))])}
		}
		intents = append(intents, i)
	}
	results, err := m.Begin(ctx, intents)
	if err != nil {
		return nil
	}
	var issued []ledger.Issued
	for n, i := range intents {
		if results[n] != nil {
			continue
		}
		if c, err := m.Certificate(t.Context(), i.Serial); errors.Is(err, ledger.ErrNotFound) || err == nil && c.Key != i.Key {
			t.Errorf("%s was begun, and is of key %x; %v", i.Serial, c.Key, err)
		}
		issued = append(issued, ledgertest.Signed(i, now))
	}
	if results, err = m.Finish(ctx, issued); err != nil {
		return nil
	}
	for n := range issued {
		if results[n] == nil {
			recorded = append(recorded, issued[n])
		}
	}
	return recorded
}
