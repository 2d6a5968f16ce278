package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
)

// flakyLog fails every tenth append, before or after writing it.
type flakyLog struct {
	*audit.Log
	count atomic.Int64
	off   atomic.Bool
}

func (l *flakyLog) Append(events []ledger.Event) (ledger.Head, error) {
	n := l.count.Add(1)
	if l.off.Load() || n%10 != 0 {
		return l.Log.Append(events)
	}
	if n%20 == 0 {
		l.Log.Append(events)
	}
	return l.Head(), errors.New("append failed")
}

// crowd is one of many who do everything at once.
type crowd struct {
	*sqldb.Store
	epoch ledger.Epoch
	mine  []ledger.Serial
}

const crowdOrders, crowdDevices = 3, 12

// one does something. Refusals are part of it.
func (c *crowd) one(ctx context.Context) error {
	now := time.Now()
	device, order := fmt.Sprint("dev-", rand.N(crowdDevices)), fmt.Sprint("WO-", rand.N(crowdOrders))
	switch rand.N(14) {
	case 0:
		_, err := c.VoidLapsed(ctx, now)
		return err
	case 1:
		_, err := c.Revoke(ctx, ledger.Selector{Device: device}, ledger.Superseded, "anna", now, nil)
		return err
	case 2:
		if len(c.mine) == 0 {
			return nil
		}
		_, err := c.Revoke(ctx, ledger.Selector{Serial: c.mine[rand.N(len(c.mine))]}, ledger.Superseded, "anna", now, nil)
		return err
	case 3:
		_, err := c.HoldDevice(ctx, device, ledger.Held, "anna", "", now)
		return err
	case 4, 5:
		_, err := c.HoldDevice(ctx, device, ledger.Expected, "anna", "", now)
		return err
	case 6:
		i := ledgertest.NewIntent(c.epoch, now, device, fmt.Sprint(rand.Int64()))
		_, err := c.ImportCertificates(ctx, []ledger.Certificate{{
			Serial: i.Serial, Issuer: "old", Purpose: ledger.ForDevice, Device: device, Order: order, Key: i.Key,
			NotBefore: now.Add(-time.Hour), NotAfter: i.NotAfter, DER: i.TBS,
		}}, "anna", now)
		return err
	case 7:
		n := 200 + rand.N(200)
		_, err := c.ChangeOrder(ctx, order, ledger.OrderChange{Quantity: &n}, "anna", now)
		return err
	}
	i := ledgertest.NewIntent(c.epoch, now, device, fmt.Sprint("key-", rand.N(40)))
	i.Order, i.SecondKey = order, true
	if len(c.mine) > 0 && rand.N(3) == 0 {
		i.Requester = ledger.Requester{Kind: "certificate", Name: string(c.mine[rand.N(len(c.mine))])}
	}
	if rand.N(5) == 0 { // whoever leaves before the answer
		var leave context.CancelFunc
		ctx, leave = context.WithCancel(ctx)
		leave()
	}
	done := c.Announce()
	defer done()
	if err := first(c.Begin(ctx, []ledger.Intent{i})); err != nil {
		return err
	}
	if rand.N(4) == 0 {
		if rand.N(3) == 0 {
			return nil // forgotten: it stays open
		}
		return errors.Join(c.Void(ctx, i.Serial, now), c.Void(ctx, i.Serial, now))
	}
	issued := ledgertest.Signed(i, now)
	if err := first(c.Finish(ctx, []ledger.Issued{issued})); err != nil {
		return err
	}
	c.mine = append(c.mine, i.Serial)
	return first(c.Finish(ctx, []ledger.Issued{issued}))
}

func first(results []error, err error) error { return errors.Join(append(results, err)...) }

// Sixteen do everything at once to few devices under few work orders, while
// logs fail and callers leave. No unit is lost or given twice, and all counts
// agree with the rows.
func TestInvariants(t *testing.T) {
	run := func(t *testing.T, db func() *sql.DB, open ...func(change func(*sqldb.Config)) (*sqldb.Store, *audit.Log)) {
		var logs []*flakyLog
		var stores []*sqldb.Store
		for _, open := range open {
			s, _ := open(func(c *sqldb.Config) {
				l := &flakyLog{Log: c.Log.(*audit.Log)}
				logs, c.Log, c.Retry = append(logs, l), l, time.Millisecond
				l.off.Store(true)
			})
			stores = append(stores, s)
		}
		now := time.Now()
		for n := range crowdOrders {
			o := ledger.Order{
				ID: fmt.Sprint("WO-", n), Profile: "gateway", Quantity: 30, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), CreatedAt: now,
			}
			if err := stores[0].CreateOrder(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		for n, s := range stores {
			epoch, err := s.Join(t.Context(), fmt.Sprint("server-", n), now, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			logs[n].off.Store(false)
			for range 16 / len(stores) {
				wg.Go(func() {
					c := crowd{Store: s, epoch: epoch}
					for range 60 {
						c.one(t.Context())
						for s.Health() != nil {
							runtime.Gosched()
						}
					}
				})
			}
		}
		wg.Wait()
		for n, s := range stores {
			logs[n].off.Store(true)
			eventually(t, "healing", func() bool { return s.Health() == nil })
			// What was written for nobody is void once this is written.
			if err := s.Done(t.Context(), []int64{1 << 40}); err != nil {
				t.Fatal(err)
			}
			if logs[n].count.Load() < 20 {
				t.Error("no two appends have failed")
			}
			s.Close()
		}
		sound(t, db())
	}
	t.Run("sqlite", func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "ledger.db")
		run(t, func() *sql.DB { return openFile(t, file) }, func(change func(*sqldb.Config)) (*sqldb.Store, *audit.Log) { return open(t, dir, change) })
		settleHead(t, dir)
		rebuilt, _ := replay(t, dir)
		same(t, openFile(t, file), openFile(t, rebuilt), "epochs")
		sound(t, openFile(t, rebuilt))
	})
	isolations(t, func(t *testing.T, url string) {
		member := func(server string) func(change func(*sqldb.Config)) (*sqldb.Store, *audit.Log) {
			dir := t.TempDir()
			return func(change func(*sqldb.Config)) (*sqldb.Store, *audit.Log) {
				return openPostgres(t, url, server, dir, change)
			}
		}
		run(t, func() *sql.DB {
			db, err := sql.Open("pgx", url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			return db
		}, member("alpha"), member("beta"))
	})
}

// sound compares the counts in a database with its rows.
func sound(t *testing.T, db *sql.DB) {
	t.Helper()
	for what, query := range map[string]string{
		"taken": `SELECT o.id, o.taken, count(c.serial) FROM orders o LEFT JOIN certificates c ON c.order_id = o.id AND c.purpose = 'device'
	AND c.state <> 'void' AND c.requester_kind <> 'import' GROUP BY o.id, o.taken`,
		"certificates of a device": `SELECT d.id, d.certificates, count(c.serial) FROM devices d LEFT JOIN certificates c ON c.device = d.id
	AND c.state IN ('valid', 'revoked') GROUP BY d.id, d.certificates`,
		"a current certificate": `SELECT d.id, CASE WHEN d.current_serial IS NULL THEN 0 ELSE 1 END, count(DISTINCT c.device) FROM devices d
	LEFT JOIN certificates c ON c.device = d.id AND c.state = 'valid' GROUP BY d.id, d.current_serial`,
		"the state of the current certificate": `SELECT d.id, 1, CASE WHEN c.state = 'valid' AND c.device = d.id THEN 1 ELSE 0 END FROM devices d
	JOIN certificates c ON c.serial = d.current_serial`,
		"changes of an issuer":   `SELECT r.issuer, r.changes, (SELECT count(*) FROM certificates c WHERE c.issuer = r.issuer AND c.state IN ('void', 'revoked')) FROM crls r`,
		"more than its quantity": `SELECT id, 0, 1 FROM orders WHERE taken > quantity OR taken < 0`,
	} {
		rows, err := db.Query(query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			var says, is int
			if err := rows.Scan(&id, &says, &is); err != nil {
				t.Fatal(err)
			}
			if says != is {
				t.Errorf("%s: %s says %d, the rows are %d", what, id, says, is)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
}
