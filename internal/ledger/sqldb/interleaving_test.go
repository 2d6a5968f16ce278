package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pgtest"
)

// hookedLog calls a function before each append: between the statements of a
// transaction and its commit.
type hookedLog struct {
	*audit.Log
	before atomic.Pointer[func()]
}

func (l *hookedLog) Append(events []ledger.Event) (ledger.Head, error) {
	if f := l.before.Swap(nil); f != nil {
		(*f)()
	}
	return l.Log.Append(events)
}

func hooked(t *testing.T, url, name string) (*member, *hookedLog) {
	t.Helper()
	var log *hookedLog
	m := &member{dir: t.TempDir()}
	m.Store, m.log = openPostgres(t, url, name, m.dir, func(c *sqldb.Config) {
		log = &hookedLog{Log: c.Log.(*audit.Log)}
		c.Log = log
	})
	m.join(t, name)
	return m, log
}

// waiting waits until a statement waits for the lock of another transaction.
// It may be called by the committer, and so does not end the test.
func waiting(t *testing.T, url string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Error(err)
		return
	}
	defer db.Close()
	for range 200 {
		n := 0
		err := db.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n)
		if err == nil && n > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("no statement waits for a lock")
}

// A renewal that is being recorded while its certificate is revoked on another
// server is void.
func TestRevokeWaitsForBegin(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	alpha, log := hooked(t, url, "alpha")
	beta := together(t, url, "beta")[0]
	asks, err := beta.enroll("dev-1", "k1")
	if err != nil {
		t.Fatal(err)
	}
	var revoked sync.WaitGroup
	hook := func() {
		revoked.Go(func() {
			if _, err := beta.Revoke(context.Background(), ledger.Selector{Serial: asks}, ledger.KeyCompromise, "officer", time.Now(), nil); err != nil {
				t.Error(err)
			}
		})
		waiting(t, url)
	}
	log.before.Store(&hook)
	i := ledgertest.NewIntent(alpha.epoch, time.Now(), "dev-1", "k2")
	i.Requester = ledger.Requester{Kind: "certificate", Name: string(asks)}
	if results, err := alpha.Begin(t.Context(), []ledger.Intent{i}); err != nil || results[0] != nil {
		t.Fatal(results, err)
	}
	revoked.Wait()
	if results, err := alpha.Finish(t.Context(), []ledger.Issued{ledgertest.Signed(i, time.Now())}); err != nil || !errors.Is(results[0], ledger.ErrVoided) {
		t.Errorf("renewal of a revoked certificate: %v, %v", results, err)
	}
}

// Of two servers that revoke a certificate at once, one has done it.
func TestRevokedOnce(t *testing.T) {
	for name, selector := range map[string]func(ledger.Serial) ledger.Selector{
		"serial": func(s ledger.Serial) ledger.Selector { return ledger.Selector{Serial: s} },
		"device": func(ledger.Serial) ledger.Selector { return ledger.Selector{Device: "dev-1"} },
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Start(t).NewDatabase(t)
			alpha, log := hooked(t, url, "alpha")
			beta := together(t, url, "beta")[0]
			serial, err := beta.enroll("dev-1", "k1")
			if err != nil {
				t.Fatal(err)
			}
			revoke := func(m *member, by ledger.Selector) int {
				changed, err := m.Revoke(context.Background(), by, ledger.KeyCompromise, "officer", time.Now(), nil)
				if err != nil {
					t.Error(err)
				}
				return len(changed)
			}
			var second sync.WaitGroup
			n := 0
			hook := func() {
				second.Go(func() { n = revoke(beta, selector(serial)) })
				waiting(t, url)
			}
			log.before.Store(&hook)
			if n := revoke(alpha, ledger.Selector{Serial: serial}); n != 1 {
				t.Errorf("the first has revoked %d", n)
			}
			if second.Wait(); n != 0 {
				t.Errorf("the second has revoked %d", n)
			}
			accounts(t, alpha, beta)
		})
	}
}

// A device's newest certificate is the one that another server is recording
// while an older one is revoked.
func TestRevokeSeesWhatItHasWaitedFor(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	alpha, log := hooked(t, url, "alpha")
	beta := together(t, url, "beta")[0]
	first, err := beta.enroll("dev-1", "k1")
	if err != nil {
		t.Fatal(err)
	}
	i := ledgertest.NewIntent(alpha.epoch, time.Now(), "dev-1", "k2")
	i.SecondKey = true
	if results, err := alpha.Begin(t.Context(), []ledger.Intent{i}); err != nil || results[0] != nil {
		t.Fatal(results, err)
	}
	var revoked sync.WaitGroup
	hook := func() {
		revoked.Go(func() {
			if _, err := beta.Revoke(context.Background(), ledger.Selector{Serial: first}, ledger.Superseded, "officer", time.Now(), nil); err != nil {
				t.Error(err)
			}
		})
		waiting(t, url)
	}
	log.before.Store(&hook)
	if results, err := alpha.Finish(t.Context(), []ledger.Issued{ledgertest.Signed(i, time.Now())}); err != nil || results[0] != nil {
		t.Fatal(results, err)
	}
	revoked.Wait()
	if d, err := beta.Device(t.Context(), "dev-1"); err != nil || d.Current != i.Serial {
		t.Errorf("the newest certificate is %q, want %s; %v", d.Current, i.Serial, err)
	}
}

// A commit whose connection was lost may still be on its way in the database.
// The store waits for its end before it believes what it reads.
func TestReopenWaitsForACommit(t *testing.T) {
	server := pgtest.Start(t)
	url := server.NewDatabase(t)
	alpha := together(t, url, "alpha")[0]
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`UPDATE meta SET value = value WHERE name = 'log:alpha'`); err != nil {
		t.Fatal(err)
	}
	server.Cut(t, "application_name = 'mintmark alpha' AND datname = '"+databaseOf(url)+"'")
	if _, err := alpha.enroll("dev-1", "k1"); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("after the connection was cut: %v", err)
	}
	waiting(t, url)
	if alpha.Health() == nil {
		t.Error("store calls itself sound while a commit may be on its way")
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "healing", func() bool { return alpha.Health() == nil })
	if _, err := alpha.enroll("dev-1", "k1"); err != nil {
		t.Error(err)
	}
	accounts(t, alpha)
}

// databaseOf is the name of the database in a URL.
func databaseOf(url string) string {
	name, _, _ := strings.Cut(url[strings.LastIndex(url, "/test")+1:], "?")
	return name
}

// A transaction that the database could not put in a row with another is run
// again, and nobody notices.
func TestSerializationFailureIsRunAgain(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t) + "&default_transaction_isolation=serializable"
	alpha, log := hooked(t, url, "alpha")
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	key := ledgertest.Key("k1")
	hook := func() {
		tx, err := db.Begin()
		if err != nil {
			t.Error(err)
			return
		}
		defer tx.Rollback()
		n := 0
		if err := tx.QueryRow(`SELECT count(*) FROM certificates WHERE spki = $1`, key[:]).Scan(&n); err != nil {
			t.Error(err)
		}
		_, err = tx.Exec(`INSERT INTO certificates (serial, issuer, profile, label, purpose, device, subject, requester_kind, requester, address,
	spki, not_before, not_after, state, intent_at, epoch_server, epoch_number) VALUES ('\x0f', 'line-a', 'gateway', '', 'device', 'dev-1', '', '', '', '', $1, 0, 0, 'void', 0, '', 0)`, key[:])
		if err == nil {
			err = tx.Commit()
		}
		if err != nil {
			t.Error(err)
		}
	}
	log.before.Store(&hook)
	if _, err := alpha.enroll("dev-1", "k1"); err != nil {
		t.Error(err)
	}
	if err := alpha.Health(); err != nil {
		t.Error(err)
	}
	if report, err := audit.Verify(alpha.dir); err != nil || report.Aborted != 1 {
		t.Errorf("the first attempt is not aborted in the log: %+v, %v", report, err)
	}
}

// Requests that another server stands in the way of for too long are refused,
// and the store is sound all the same.
func TestCrowded(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	alpha := together(t, url+"&lock_timeout=10", "alpha")[0]
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`SELECT slot FROM locks FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	_, err = alpha.enroll("dev-1", "k1")
	if !errors.Is(err, ledger.ErrUnavailable) || !strings.Contains(err.Error(), "other servers were in the way") {
		t.Errorf("while everything is locked: %v", err)
	}
	if err := alpha.Health(); err != nil {
		t.Error(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := alpha.enroll("dev-1", "k2"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	accounts(t, alpha)
}

// A server that is late must not finish what another one has decided meanwhile.
func TestLapsedIntentIsVoidedByWhoeverMeetsIt(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	servers := together(t, url, "alpha", "beta")
	alpha, beta := servers[0], servers[1]
	now := time.Now()
	sameKey, otherKey := ledgertest.NewIntent(alpha.epoch, now, "dev-1", "k1"), ledgertest.NewIntent(alpha.epoch, now, "dev-2", "k2")
	if results, err := alpha.Begin(t.Context(), []ledger.Intent{sameKey, otherKey}); err != nil || results[0] != nil || results[1] != nil {
		t.Fatal(results, err)
	}
	later := func(i ledger.Intent) ledger.Intent { // by the clock of beta, alpha has stopped
		i.At = now.Add(2 * time.Hour)
		return i
	}
	if err := beta.Extend(t.Context(), beta.epoch, now, 4*time.Hour); err != nil {
		t.Fatal(err)
	}
	results, err := beta.Begin(t.Context(), []ledger.Intent{
		later(ledgertest.NewIntent(beta.epoch, now, "dev-1", "k1")), later(ledgertest.NewIntent(beta.epoch, now, "dev-2", "k3")),
	})
	if err != nil || results[0] != nil || results[1] != nil {
		t.Fatal(results, err)
	}
	results, err = alpha.Finish(t.Context(), []ledger.Issued{ledgertest.Signed(sameKey, now), ledgertest.Signed(otherKey, now)})
	if err != nil || !errors.Is(results[0], ledger.ErrVoided) || !errors.Is(results[1], ledger.ErrVoided) {
		t.Errorf("the late server: %v, %v", results, err)
	}
}
