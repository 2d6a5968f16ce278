package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
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

// member is one of the servers of a test.
type member struct {
	*sqldb.Store
	log   *audit.Log
	dir   string
	epoch ledger.Epoch
}

// together opens a store for each name on one new database.
func together(t *testing.T, url string, names ...string) []*member {
	t.Helper()
	var all []*member
	for _, name := range names {
		m := &member{dir: t.TempDir()}
		m.Store, m.log = openPostgres(t, url, name, m.dir, func(c *sqldb.Config) { c.MaxConnections = 4 })
		m.join(t, name)
		all = append(all, m)
	}
	return all
}

func (m *member) join(t *testing.T, name string) {
	t.Helper()
	var err error
	if m.epoch, err = m.Join(t.Context(), name, time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
}

// enroll asks until it has an answer: a certificate of its own, an earlier one,
// or a refusal.
func (m *member) enroll(device, key string, change ...func(*ledger.Intent)) (ledger.Serial, error) {
	for {
		serial, err := m.attempt(device, key, change...)
		if !errors.Is(err, ledger.ErrInFlight) {
			return serial, err
		}
		time.Sleep(time.Millisecond)
	}
}

func (m *member) attempt(device, key string, change ...func(*ledger.Intent)) (ledger.Serial, error) {
	defer m.Announce()()
	ctx, now := context.Background(), time.Now()
	i := ledgertest.NewIntent(m.epoch, now, device, key)
	for _, c := range change {
		c(&i)
	}
	results, err := m.Begin(ctx, []ledger.Intent{i})
	if err == nil {
		err = results[0]
	}
	var prior *ledger.PriorError
	if errors.As(err, &prior) {
		return prior.Certificate.Serial, nil
	}
	if err != nil {
		return "", err
	}
	results, err = m.Finish(ctx, []ledger.Issued{ledgertest.Signed(i, now)})
	if err == nil {
		err = results[0]
	}
	return i.Serial, err
}

// isolations are the two ways to keep transactions apart that are supported;
// with the second, transactions have to be run again all the time.
func isolations(t *testing.T, run func(t *testing.T, url string)) {
	server := pgtest.Start(t)
	for _, isolation := range []string{"read committed", "serializable"} {
		t.Run(isolation, func(t *testing.T) {
			run(t, server.NewDatabase(t)+"&default_transaction_isolation="+strings.ReplaceAll(isolation, " ", "%20"))
		})
	}
}

func TestServersRace(t *testing.T) {
	isolations(t, func(t *testing.T, url string) {
		servers := together(t, url, "alpha", "beta")
		const clients = 8 // of each server
		race := func(f func(m *member, n int)) {
			var wg sync.WaitGroup
			for s, m := range servers {
				for n := range clients {
					wg.Go(func() { f(m, s*clients+n) })
				}
			}
			wg.Wait()
		}
		for round := range 15 {
			device := fmt.Sprint("contested-", round)
			var won, clones atomic.Int32
			race(func(m *member, n int) {
				_, err := m.enroll(device, fmt.Sprint(device, "-key-", n))
				var clone *ledger.CloneError
				switch {
				case err == nil:
					won.Add(1)
				case errors.As(err, &clone):
					clones.Add(1)
				default:
					t.Error(err)
				}
			})
			if won.Load() != 1 || clones.Load() != 2*clients-1 {
				t.Errorf("%s: %d keys have won, %d are clones", device, won.Load(), clones.Load())
			}
			for name, change := range map[string]func(*ledger.Intent){
				"device": func(*ledger.Intent) {},
				"server": func(i *ledger.Intent) { i.Purpose, i.Device = ledger.ForServer, "" },
			} {
				var answers sync.Map
				race(func(m *member, n int) {
					serial, err := m.enroll(fmt.Sprint("repeated-", round), fmt.Sprint(name, round), change)
					if err != nil {
						t.Error(err)
					}
					answers.Store(serial, true)
				})
				n := 0
				answers.Range(func(any, any) bool { n++; return true })
				if n != 1 {
					t.Errorf("%s %d: %d certificates for one request", name, round, n)
				}
			}
			var fences atomic.Int32
			race(func(m *member, n int) {
				switch _, err := m.Acquire(t.Context(), device, fmt.Sprint("holder-", n), time.Now(), time.Minute); {
				case err == nil:
					fences.Add(1)
				case !errors.Is(err, ledger.ErrBusy):
					t.Error(err)
				}
			})
			if fences.Load() != 1 {
				t.Errorf("%s: %d hold the lease", device, fences.Load())
			}
		}
		for _, m := range servers {
			if err := m.Health(); err != nil {
				t.Error(err)
			}
		}
		accounts(t, servers...)
	})
}

// TestServersMixture does everything at once to few devices, on two servers,
// and then compares the database with both logs.
func TestServersMixture(t *testing.T) {
	isolations(t, func(t *testing.T, url string) {
		servers := together(t, url, "alpha", "beta")
		var wg sync.WaitGroup
		for _, m := range servers {
			for range 8 {
				wg.Go(func() {
					var mine []ledger.Serial
					for range 25 {
						device := fmt.Sprint("dev-", rand.N(4))
						var err error
						switch rand.N(6) {
						case 0:
							_, err = m.Revoke(t.Context(), ledger.Selector{Device: device}, ledger.Superseded, "officer", time.Now(), nil)
						case 1:
							if len(mine) > 0 {
								_, err = m.Revoke(t.Context(), ledger.Selector{Serial: mine[rand.N(len(mine))]}, ledger.Superseded, "officer", time.Now(), nil)
							}
						case 2:
							i := ledgertest.NewIntent(m.epoch, time.Now(), device, fmt.Sprint(rand.Int64()))
							i.SecondKey = true
							if _, err = m.Begin(t.Context(), []ledger.Intent{i}); err == nil {
								err = m.Void(t.Context(), i.Serial, time.Now())
							}
						case 3:
							_, err = m.VoidLapsed(t.Context(), time.Now())
						default:
							var serial ledger.Serial
							serial, err = m.attempt(device, fmt.Sprint(rand.Int64()), func(i *ledger.Intent) {
								i.SecondKey = true
								if len(mine) > 0 {
									i.Requester = ledger.Requester{Kind: "certificate", Name: string(mine[rand.N(len(mine))])}
								}
							})
							if err == nil {
								mine = append(mine, serial)
							}
						}
						if err != nil && !errors.Is(err, ledger.ErrNotFound) && !errors.Is(err, ledger.ErrRevoked) && !errors.Is(err, ledger.ErrVoided) {
							t.Error(err)
						}
					}
				})
			}
		}
		wg.Wait()
		accounts(t, servers...)
	})
}

// accounts compares what the database says with the logs of all servers: each
// certificate has come to its state once, and the counts agree with the rows.
func accounts(t *testing.T, servers ...*member) {
	t.Helper()
	type story struct{ intents, issued, revoked, voided int }
	stories := map[ledger.Serial]*story{}
	of := func(serial ledger.Serial) *story {
		if stories[serial] == nil {
			stories[serial] = &story{}
		}
		return stories[serial]
	}
	for _, m := range servers {
		for b, err := range m.log.Batches(ledger.Head{}) {
			if err != nil {
				t.Fatal(err)
			}
			if b.Aborted {
				continue
			}
			for _, e := range b.Events {
				switch e.Kind {
				case ledger.EventIntent:
					of(e.Intent.Serial).intents++
				case ledger.EventIssued:
					of(e.Issued.Serial).issued++
				case ledger.EventRevocation:
					of(e.Revocation.Serial).revoked++
				case ledger.EventVoided:
					of(*e.Voided).voided++
				}
			}
		}
		if _, err := audit.Verify(m.dir); err != nil {
			t.Error(err)
		}
	}
	want := map[ledger.State]story{
		ledger.Open:    {1, 0, 0, 0},
		ledger.Valid:   {1, 1, 0, 0},
		ledger.Revoked: {1, 1, 1, 0},
		ledger.Voided:  {1, 0, 0, 1},
	}
	changes := 0
	count := map[string]int{}
	newest := map[string]ledger.Certificate{}
	revoked := map[string]time.Time{}
	all := everything(t, servers[0].Store)
	for _, c := range all {
		if *of(c.Serial) != want[c.State] {
			t.Errorf("%s is %s and has in the logs %+v", c.Serial, c.State, *of(c.Serial))
		}
		delete(stories, c.Serial)
		switch c.State {
		case ledger.Revoked:
			changes++
			count[c.Device]++
			revoked[string(c.Serial)] = c.RevokedAt
		case ledger.Voided:
			changes++
		case ledger.Valid:
			count[c.Device]++
			newest[c.Device] = c
		}
	}
	for serial, s := range stories {
		t.Errorf("%s is in the logs, %+v, and not in the database", serial, s)
	}
	for _, c := range all {
		if _, ok := revoked[c.Requester.Name]; ok && c.State == ledger.Open {
			t.Errorf("%s is open and was asked for by a revoked certificate", c.Serial)
		}
	}
	unshown, err := servers[0].RevocationsSince(t.Context())
	if err != nil || unshown["line-a"] != changes {
		t.Errorf("%d changes are counted, there were %d; %v", unshown["line-a"], changes, err)
	}
	for id, n := range count {
		d, err := servers[0].Device(t.Context(), id)
		if id != "" && (err != nil || d.Certificates != n || (d.Current == "") != (newest[id].Serial == "")) {
			t.Errorf("%s has %d certificates and the newest valid %q; the rows say %d, %q; %v", id, d.Certificates, d.Current, n, newest[id].Serial, err)
		}
	}
}

// everything lists all certificates.
func everything(t *testing.T, s *sqldb.Store) (all []ledger.Certificate) {
	t.Helper()
	for query := (ledger.Query{Limit: 1000}); ; {
		page, err := s.Certificates(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Certificates...)
		if query.After = page.Next; page.Next == "" {
			return all
		}
	}
}

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
