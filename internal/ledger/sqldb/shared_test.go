package sqldb_test

import (
	"context"
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
				_, err := m.enroll(device, fmt.Sprint(device, "/", n))
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
					serial, err := m.enroll(fmt.Sprint("repeated-", round), fmt.Sprint(name, "/", round), change)
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
	if err != nil || unshown[ledger.CRLName{Issuer: "line-a"}] != changes {
		t.Errorf("%d changes are counted, there were %d; %v", unshown[ledger.CRLName{Issuer: "line-a"}], changes, err)
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
