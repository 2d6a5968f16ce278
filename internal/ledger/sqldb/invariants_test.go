package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/audit/auditor"
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
	switch rand.N(17) {
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
	case 8:
		return c.PutSecrets(ctx, []ledger.DeviceSecret{{Device: device, SHA256: ledgertest.Key(fmt.Sprint(rand.N(3))), At: now, ExpiresAt: now.Add(time.Hour)}})
	case 9:
		e, err := c.QueueEnrollment(ctx, ledger.Enrollment{
			Key: ledgertest.Key(fmt.Sprint("key-", rand.N(4))), Subject: "CN=" + device, Profile: "gateway", Device: device, Cause: "label", At: now, ExpiresAt: now.Add(time.Hour),
		}, 1000)
		if err == nil {
			_, err = c.DecideEnrollment(ctx, e.ID, rand.N(4) > 0, "anna", "", now, now.Add(time.Hour))
		}
		return err
	}
	i := ledgertest.NewIntent(c.epoch, now, device, fmt.Sprint("key-", rand.N(40)))
	i.Order, i.SecondKey = order, true
	if len(c.mine) > 0 && rand.N(3) == 0 {
		i.Requester = ledger.Requester{Kind: "certificate", Name: string(c.mine[rand.N(len(c.mine))])}
	}
	switch rand.N(6) {
	case 0, 1:
		i.Secret = ledgertest.Key(fmt.Sprint(rand.N(3)))
	case 2, 3:
		i.Key, i.Repeat = ledgertest.Key(fmt.Sprint("key-", rand.N(4))), 0
		if e, err := c.FindEnrollment(ctx, i.Key, i.Subject, now); err == nil {
			i.Enrollment = e.ID
		}
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
	run := func(t *testing.T, dirs *[]string, db func() *sql.DB, open ...func(change func(*sqldb.Config)) (*sqldb.Store, *audit.Log)) {
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
			epoch, err := s.Join(t.Context(), logs[n].Server(), now, time.Hour)
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
							time.Sleep(time.Millisecond) // spinning, sixteen keep both cores from the healing
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
		report, err := auditor.Verify(t.Context(), auditor.Config{Logs: *dirs, Unread: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range report.Findings {
			t.Error(f)
		}
		for _, kind := range []string{ledger.EventEnrollment, ledger.EventSecrets} {
			if report.Kinds[kind] == 0 {
				t.Errorf("nothing of kind %q was done", kind)
			}
		}
	}
	t.Run("sqlite", func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "ledger.db")
		run(t, &[]string{dir}, func() *sql.DB { return openFile(t, file) }, func(change func(*sqldb.Config)) (*sqldb.Store, *audit.Log) { return open(t, dir, change) })
		settleHead(t, dir)
		rebuilt, _ := replay(t, dir)
		same(t, openFile(t, file), openFile(t, rebuilt), "epochs")
		sound(t, openFile(t, rebuilt))
	})
	isolations(t, func(t *testing.T, url string) {
		var dirs []string
		member := func(server string) func(change func(*sqldb.Config)) (*sqldb.Store, *audit.Log) {
			dir := t.TempDir()
			dirs = append(dirs, dir)
			return func(change func(*sqldb.Config)) (*sqldb.Store, *audit.Log) {
				return openPostgres(t, url, server, dir, change)
			}
		}
		run(t, &dirs, func() *sql.DB {
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
	AND c.purpose = 'device' AND c.state IN ('valid', 'revoked') GROUP BY d.id, d.certificates`,
		"a current certificate": `SELECT d.id, CASE WHEN d.current_serial IS NULL THEN 0 ELSE 1 END, count(DISTINCT c.device) FROM devices d
	LEFT JOIN certificates c ON c.device = d.id AND c.state = 'valid' GROUP BY d.id, d.current_serial`,
		"the state of the current certificate": `SELECT d.id, 1, CASE WHEN c.state = 'valid' AND c.device = d.id THEN 1 ELSE 0 END FROM devices d
	JOIN certificates c ON c.serial = d.current_serial`,
		"what has taken an approval": `SELECT e.id, 1, CASE WHEN c.state <> 'void' AND c.spki = e.spki AND c.device = e.device AND e.state = 'approved' THEN 1 ELSE 0 END
	FROM enrollments e LEFT JOIN certificates c ON c.serial = e.serial WHERE e.serial IS NOT NULL`,
		"what has taken a secret": `SELECT s.device, 1, CASE WHEN c.state <> 'void' AND c.device = s.device THEN 1 ELSE 0 END
	FROM device_secrets s LEFT JOIN certificates c ON c.serial = s.serial WHERE s.serial IS NOT NULL`,
		"changes of a shard":     `SELECT r.issuer, r.changes, (SELECT count(*) FROM certificates c WHERE c.issuer = r.issuer AND c.shard = r.shard AND c.state IN ('void', 'revoked')) FROM shard_crls r`,
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
