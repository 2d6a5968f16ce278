package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mintmark/internal/ledger"
)

// SetSchema changes what schema a database says that it has and needs.
func SetSchema(t *testing.T, path string, version int) {
	t.Helper()
	w, err := openWriter(t.Context(), newSQLite(path))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	for _, name := range []string{metaSchema, metaSchemaMin} {
		if _, err := w.exec(sqlPutMeta, name, strconv.Itoa(version)); err != nil {
			t.Fatal(err)
		}
	}
}

// MakeEmpty makes an SQLite file with this version's schema.
func MakeEmpty(path string) error {
	w, err := openWriter(context.Background(), newSQLite(path))
	if err != nil {
		return err
	}
	return errors.Join(w.migrate(context.Background(), true), w.close())
}

// ApplyFuture brings a database to the schema after this version's: a table and
// a column with a default. Servers must know the schema min to work on it.
func ApplyFuture(t testing.TB, cfg Config, min int) {
	t.Helper()
	d, err := newDialect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w, err := openWriter(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if err := w.migrate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	have, err := w.schemaOf(t.Context(), w.conn)
	if err != nil {
		t.Fatal(err)
	}
	err = w.apply(t.Context(), w.conn, migration{have.version + 1, min, "future.sql", `
CREATE TABLE IF NOT EXISTS future (id TEXT PRIMARY KEY);
ALTER TABLE certificates ADD COLUMN future TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN future TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN future TEXT NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS certificates_future ON certificates (future, serial)`})
	if err != nil {
		t.Fatal(err)
	}
}

// Every query that lists or checks finds its index: a scan of the table would
// not be noticed before a factory has its first million certificates.
func TestQueriesUseIndexes(t *testing.T) {
	w, err := openWriter(t.Context(), newSQLite(t.TempDir()+"/ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if err := w.migrate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	check := func(name, text, want string, args ...any) {
		t.Helper()
		var plan []string
		err := w.query("EXPLAIN QUERY PLAN "+text, func(rows *sql.Rows) error {
			var id, parent, unused int
			var detail string
			err := rows.Scan(&id, &parent, &unused, &detail)
			plan = append(plan, detail)
			return err
		}, args...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := strings.Join(plan, "; ")
		if !strings.Contains(got, want) || strings.Contains(got, "SCAN certificates") && !strings.Contains(got, "USING INDEX") {
			t.Errorf("%s: %s; want %s", name, got, want)
		}
	}
	after := ledger.Serial("00ff")
	for name, c := range map[string]struct {
		query ledger.Query
		want  string
	}{
		"all":                  {ledger.Query{After: after}, "sqlite_autoindex_certificates_1 (serial>?)"},
		"first page":           {ledger.Query{}, "USING INDEX"},
		"device":               {ledger.Query{Device: "d", After: after}, "certificates_device (device=?"},
		"key":                  {ledger.Query{Key: [32]byte{1}, After: after}, "certificates_spki (spki=?"},
		"requester":            {ledger.Query{Requester: "r", After: after}, "certificates_requester (requester=? AND serial>?)"},
		"order":                {ledger.Query{Order: "wo-1", After: after}, "certificates_order (order_id=? AND serial>?)"},
		"profile":              {ledger.Query{Profile: "p", After: after}, "certificates_profile (profile=? AND serial>?)"},
		"profile, first page":  {ledger.Query{Profile: "p"}, "certificates_profile (profile=?)"},
		"issuer":               {ledger.Query{Issuer: "i", After: after}, "certificates_issuer (issuer=? AND serial>?)"},
		"revoked":              {ledger.Query{State: ledger.Revoked, After: after}, "certificates_state (state=? AND serial>?)"},
		"open":                 {ledger.Query{State: ledger.Open}, "certificates_state (state=?)"},
		"valid":                {ledger.Query{State: ledger.Valid, After: after}, "(serial>?)"},
		"purpose":              {ledger.Query{Purpose: ledger.ForServer, After: after}, "certificates_purpose (purpose=? AND serial>?)"},
		"devices":              {ledger.Query{Purpose: ledger.ForDevice, After: after}, "(serial>?)"},
		"expiring":             {ledger.Query{ExpiresBefore: time.Unix(9, 0), After: after}, "certificates_end ((not_after,serial)>(?,?) AND not_after<?)"},
		"expiring, first page": {ledger.Query{ExpiresBefore: time.Unix(9, 0)}, "certificates_end (not_after<?)"},
		"in force":             {ledger.Query{ExpiresAfter: time.Unix(9, 0), State: ledger.Valid, After: after}, "certificates_end ((not_after,serial)>(?,?)"},
		"expiring valid":       {ledger.Query{ExpiresBefore: time.Unix(9, 0), State: ledger.Valid, After: after}, "certificates_end ((not_after,serial)>(?,?)"},
	} {
		text, args, err := w.selectCertificates(c.query, 10)
		if err != nil {
			t.Fatal(err)
		}
		check(name, text, c.want, args...)
	}
	for name, c := range map[string]struct {
		query ledger.DeviceQuery
		want  string
	}{
		"devices":                   {ledger.DeviceQuery{After: "d"}, "SEARCH d USING PRIMARY KEY (id>?)"},
		"devices, expected":         {ledger.DeviceQuery{State: ledger.Expected}, "devices_expected (held=? AND id>?)"},
		"devices, enrolled":         {ledger.DeviceQuery{State: ledger.Enrolled}, "devices_enrolled (held=? AND id>?)"},
		"devices, held":             {ledger.DeviceQuery{State: ledger.Held}, "devices_held (held=? AND id>?)"},
		"devices of an order":       {ledger.DeviceQuery{Order: "wo-1"}, "devices_order (order_id=? AND id>?)"},
		"devices of a product":      {ledger.DeviceQuery{Product: "p"}, "devices_product (product=? AND id>?)"},
		"devices of an import":      {ledger.DeviceQuery{Import: "i"}, "devices_import (import_id=? AND id>?)"},
		"devices, import and state": {ledger.DeviceQuery{Import: "i", State: ledger.Expected}, "devices_"},
	} {
		text, args := selectDevices(c.query, 10)
		check(name, text, c.want, args...)
	}
	text, args := selectByIdentifier(ledger.DeviceQuery{Text: "x", State: ledger.Enrolled}, 10)
	check("devices by identifier", text, "(held=? AND id>? AND id<?)", args...)
	text, args = selectMatching(ledger.DeviceQuery{Text: "x"}, 10)
	for _, want := range []string{"SEARCH d USING PRIMARY KEY (id=?)", "devices_product (product>? AND product<?)", "devices_order (order_id>? AND order_id<?)",
		"SEARCH device_fields USING PRIMARY KEY (run=? AND value>? AND value<?)"} {
		check("devices by text", text, want, args...)
	}
	for name, c := range map[string]struct {
		query ledger.RefusalQuery
		want  string
	}{
		"refusals":                           {ledger.RefusalQuery{Before: 9}, "USING INTEGER PRIMARY KEY (rowid<?)"},
		"refusals of a device":               {ledger.RefusalQuery{Device: "d", Before: 9}, "refusals_device (device=? AND id<?)"},
		"refusals of a key":                  {ledger.RefusalQuery{Key: [32]byte{1}}, "refusals_spki (spki=?)"},
		"refusals of an address":             {ledger.RefusalQuery{Address: "a"}, "refusals_address (address=?)"},
		"refusals of a requester":            {ledger.RefusalQuery{Requester: "r"}, "refusals_requester (requester=?)"},
		"refusals of an order":               {ledger.RefusalQuery{Order: "wo-1"}, "refusals_order (order_id=?)"},
		"refusals by a rule":                 {ledger.RefusalQuery{Rule: "r", Before: 9}, "refusals_rule (rule=? AND id<?)"},
		"refusals by a rule, of a device":    {ledger.RefusalQuery{Device: "d", Rule: "r", Before: 9}, "refusals_device (device=? AND id<?)"},
		"refusals by a rule, of a key":       {ledger.RefusalQuery{Key: [32]byte{1}, Rule: "r"}, "refusals_spki (spki=?)"},
		"refusals by a rule, of a requester": {ledger.RefusalQuery{Requester: "q", Rule: "r"}, "refusals_requester (requester=?)"},
		"refusals since":                     {ledger.RefusalQuery{Since: time.Unix(9, 0)}, "refusals_at (at>?)"},
	} {
		text, args := selectRefusals(c.query)
		check(name, text, c.want, args...)
	}
	check("standing of a device", sqlStanding, "SEARCH d USING PRIMARY KEY (id=?)", "d")
	check("open intents of a device", sqlOpenDevice, "certificates_device (device=?)", "d")
	check("units in flight", sqlOpenUnits, "certificates_state (state=?)", "wo-1")
	check("open intents of an order", sqlOpenUnder, "certificates_state (state=?)", "wo-1")
	check("account of an order", sqlUsage, "SEARCH c USING INDEX certificates_state (state=?)", "wo-1")
	check("last certificate of an order", sqlLastUnder, "certificates_order (order_id=?)", "wo-1")
	check("refusals of an order, counted", sqlRefusedUnder, "refusals_order (order_id=?)", "wo-1")
	check("giving a unit back", sqlReturnUnitOf, "SEARCH orders USING PRIMARY KEY (id=?)", []byte{1})
	check("devices of an import", sqlStagedDevices, "devices_import (import_id=?)", "i", 1)
	check("devices to be indexed", sqlIndexNext, "devices_import (import_id=? AND id>?)", "i", "d", 1)
	check("changes of an import", sqlChangedRows, "listings_import (import_id=? AND known=? AND device>?)", "i", "d", 1)
	check("refusals that are too many", sqlPruneRefusals, "PRIMARY KEY", 1, 1)
	check("pending approvals", approvalColumns+` WHERE state = $1 ORDER BY at DESC, id DESC LIMIT $2`, "approvals_state (state=?)", "pending", 1)
	check("all approvals", approvalColumns+` ORDER BY at DESC, id DESC LIMIT $1`, "approvals_at", 1)
	check("orders of a station", orderColumns+` WHERE id > $1 AND station = $2 ORDER BY id LIMIT $3`, "orders_station (station=? AND id>?)", "", "s", 1)
	check("what a key has", sqlSameKey, "certificates_spki (spki=?)", []byte{1}, 1)
	check("another key of a device", sqlOtherKey, "certificates_device (device=? AND not_after>?)", "d", 1, []byte{1}, "s", 1, "device")
	for name, c := range map[string]struct {
		query ledger.EnrollmentQuery
		want  string
	}{
		"enrollments":             {ledger.EnrollmentQuery{After: "e"}, "sqlite_autoindex_enrollments_1 (id>?)"},
		"pending enrollments":     {ledger.EnrollmentQuery{State: ledger.EnrollmentPending, After: "e", Now: time.Unix(9, 0)}, "enrollments_state (state=? AND id>?)"},
		"issued enrollments":      {ledger.EnrollmentQuery{State: ledger.EnrollmentIssued, After: "e"}, "enrollments_issued (id>?)"},
		"enrollments of a device": {ledger.EnrollmentQuery{Device: "d", After: "e"}, "enrollments_device (device=? AND id>?)"},
		"enrollments of a label":  {ledger.EnrollmentQuery{Label: "l", After: "e"}, "enrollments_label (label=? AND id>?)"},
	} {
		text, args := selectEnrollments(c.query)
		check(name, text, c.want, args...)
	}
	check("newest enrollment", sqlNewestEnrollment, "enrollments_spki (spki=?)", []byte{1}, "s", 1)
	check("newest enrollment that nobody has taken", sqlNewestUntaken, "enrollments_spki (spki=?)", []byte{1}, "s", 1)
	check("enrollments that wait", sqlCountWaiting, "enrollments_waiting (expires_at>?)", 1, 1)
	check("enrollments of a device that wait", sqlWaitingDevice, "enrollments_asker (device=?)", "d", 1, 1)
	check("enrollments of a requester that wait", sqlWaitingAsker, "enrollments_asker (device=? AND requester_kind=? AND requester=? AND expires_at>?)", "password", "line-1", 1, 1)
	check("enrollments long over", sqlSweepEnrollments, "enrollments_over (expires_at<?)", 1)
	check("last enrollment", sqlLastEnrollment, "sqlite_autoindex_enrollments_1")
	check("key that a device holds", sqlHeldKey, "certificates_device (device=? AND not_after>?)", "d", 1, []byte{1}, "device")
	check("giving an approval back", sqlReturnEnrollment, "enrollments_serial (serial=?)", []byte{1})
	check("giving a secret back", sqlReturnSecret, "device_secrets_serial (serial=?)", []byte{1})
	check("secrets long over", sqlSweepSecrets, "device_secrets_over (expires_at<?)", 1)
	check("who has taken something", sqlTaker, "sqlite_autoindex_certificates_1 (serial=?)", []byte{1}, 1)
	check("lapsed intents", sqlLapsed, "certificates_state (state=?)", 1)
	check("entries of a CRL", sqlEntries, "USING COVERING INDEX certificates_shard (issuer=? AND shard=? AND not_after>?)", "i", 3, 1)
	checkRotationPlans(check)
	check("replacing a task", sqlDropTask, "outbox_key (kind=? AND task_key=?)", "k", "t")
}

// waitFor takes batches in the background and says how large each was and when.
func takeAll(q *queue) (sizes chan int) {
	sizes = make(chan int, 100)
	go func() {
		for {
			ops := q.take()
			if ops == nil {
				close(sizes)
				return
			}
			sizes <- len(ops)
		}
	}()
	return sizes
}

func TestBatchClosesWhenAllWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(2*time.Millisecond, 256, always)
		sizes := takeAll(q)
		var done []func()
		for range 64 {
			done = append(done, q.announce())
		}
		began := time.Now()
		for range 63 {
			q.add(&op{items: 1, issuance: true})
			synctest.Wait()
		}
		q.add(&op{items: 1}) // of nobody who was announced: it does not count
		synctest.Wait()
		if len(sizes) != 0 {
			t.Error("closed before all waited")
		}
		q.add(&op{items: 1, issuance: true})
		synctest.Wait()
		if n := <-sizes; n != 65 {
			t.Errorf("batch of %d, want 65", n)
		}
		for _, d := range done {
			d()
			d() // twice is once
		}
		q.add(&op{items: 1})
		synctest.Wait()
		if n := <-sizes; n != 1 {
			t.Errorf("batch of %d, want 1", n)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("lingered %v though nobody was missing", waited)
		}
		q.close(errClosed)
		synctest.Wait()
	})
}

func TestBatchClosesWhenTheMissingOneEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(time.Hour, 256, always)
		sizes := takeAll(q)
		defer q.announce()()
		refused := q.announce()
		q.add(&op{items: 1, issuance: true})
		synctest.Wait()
		if len(sizes) != 0 {
			t.Error("closed before all waited")
		}
		refused()
		synctest.Wait()
		if len(sizes) != 1 {
			t.Error("waits for a request that has ended")
		}
		q.close(errClosed)
		synctest.Wait()
	})
}

func TestBatchLingersBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(2*time.Millisecond, 256, always)
		sizes := takeAll(q)
		for range 200 {
			q.announce()
		}
		began := time.Now()
		q.add(&op{items: 1, issuance: true})
		if n := <-sizes; n != 1 || time.Since(began) != 2*time.Millisecond {
			t.Errorf("batch of %d after %v, want 1 after 2 ms", n, time.Since(began))
		}
		began = time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 100 {
				q.add(&op{items: 1, issuance: true})
				time.Sleep(time.Millisecond)
			}
		})
		if n := <-sizes; n < 20 || n > 21 || time.Since(began) != 20*time.Millisecond {
			t.Errorf("batch of %d after %v, want 20 after 20 ms", n, time.Since(began))
		}
		wg.Wait()
		q.close(errClosed)
		synctest.Wait()
	})
}

// TestBatchExpectsWhatCameBefore: on a busy core requests are announced one
// after the other, each when the one before it waits already.
func TestBatchExpectsWhatCameBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(2*time.Millisecond, 256, always)
		sizes := takeAll(q)
		come := func() (done func()) {
			done = q.announce()
			q.add(&op{items: 1, issuance: true})
			synctest.Wait()
			return done
		}
		var done []func()
		for range 64 {
			done = append(done, q.announce())
		}
		for range 64 {
			q.add(&op{items: 1, issuance: true})
		}
		if n := <-sizes; n != 64 {
			t.Fatalf("batch of %d, want 64", n)
		}
		for _, d := range done {
			d()
		}
		began := time.Now()
		for range 64 {
			defer come()()
		}
		if n := <-sizes; n != 64 || time.Since(began) != 0 {
			t.Errorf("batch of %d after %v, want 64 at once", n, time.Since(began))
		}
		q.close(errClosed)
		synctest.Wait()
	})
}

// TestLoneRequestsDoNotLinger: after a busy time one request waits once for
// others, and from then on not at all.
func TestLoneRequestsDoNotLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(2*time.Millisecond, 256, always)
		sizes := takeAll(q)
		q.expected = 64
		for i := range 100 {
			began := time.Now()
			done := q.announce()
			q.add(&op{items: 1, issuance: true})
			<-sizes
			done()
			if waited := time.Since(began); i > 0 && waited != 0 {
				t.Errorf("request %d waited %v", i, waited)
			}
		}
		q.close(errClosed)
		synctest.Wait()
	})
}

func always() bool { return true }

// TestIdleProcessorsDoNotWaitLong: what waiting would save is a commit that nobody lacks.
func TestIdleProcessorsDoNotWaitLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := false
		q := newQueue(4*time.Millisecond, 256, func() bool { return busy })
		for range 50 {
			q.took(3 * time.Millisecond)
		}
		sizes := takeAll(q)
		// Requests that come every millisecond, and more than the last batches had.
		most := func() (size int, took time.Duration) {
			q.mu.Lock()
			q.expected = 100
			q.mu.Unlock()
			began, stop := time.Now(), make(chan struct{})
			var wait sync.WaitGroup
			wait.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						q.announce()
						q.add(&op{items: 1, issuance: true})
						time.Sleep(time.Millisecond)
					}
				}
			})
			size, took = <-sizes, time.Since(began)
			close(stop)
			wait.Wait()
			q.mu.Lock()
			q.empty()
			q.mu.Unlock()
			return size, took
		}
		if n, took := most(); took > 6*time.Millisecond || took < 5*time.Millisecond {
			t.Errorf("with idle processors and commits of 3 ms a batch of %d waited %v, want 6 ms", n, took)
		}
		q.mu.Lock()
		busy = true
		q.mu.Unlock()
		if n, took := most(); took != 40*time.Millisecond {
			t.Errorf("with busy processors a batch of %d waited %v, want 40 ms", n, took)
		}
		q.close(errClosed)
		synctest.Wait()
	})
}

func TestProcessorsAreFull(t *testing.T) {
	for _, c := range []struct {
		before        bool
		used, elapsed time.Duration
		processors    int
		want          bool
	}{
		{false, 84, 100, 1, false},
		{false, 86, 100, 1, true},
		{true, 71, 100, 1, true},
		{true, 69, 100, 1, false},
		{false, 160, 100, 2, false},
		{false, 172, 100, 2, true},
	} {
		if got := full(c.before, c.used, c.elapsed, c.processors); got != c.want {
			t.Errorf("full(%v, %d of %d on %d) is %v", c.before, c.used, c.elapsed, c.processors, got)
		}
	}
}

// TestProcessorsAreLookedAt: a process that does nothing else keeps its processors busy, and
// one that sleeps does not.
func TestProcessorsAreLookedAt(t *testing.T) {
	var p processors
	p.busy()
	p.at = p.at.Add(-time.Hour)
	if p.busy() {
		t.Error("an hour in which next to nothing was used counts as busy")
	}
	p.at, p.used = p.at.Add(-lookEvery), p.used-time.Hour
	if !p.busy() {
		t.Error("an hour of processor time in next to none counts as idle")
	}
}

func TestBatchIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(time.Hour, 10, always)
		for range 25 {
			q.announce()
			q.add(&op{items: 1, issuance: true})
		}
		q.announce()
		sizes := takeAll(q)
		synctest.Wait()
		if a, b := <-sizes, <-sizes; a != 10 || b != 10 || len(sizes) != 0 {
			t.Errorf("batches of %d, %d and %d more", a, b, len(sizes))
		}
		q.add(&op{items: 1000, issuance: true}) // one call is never divided
		synctest.Wait()
		if n := <-sizes; n != 6 {
			t.Errorf("batch of %d, want 6", n)
		}
		q.close(errClosed)
		synctest.Wait()
	})
}

// schema1 is what the version with schema 1 wrote for a certificate.
var schema1 = []string{
	`INSERT INTO certificates (serial, issuer, profile, label, purpose, device, subject, requester_kind, requester, address,
	spki, not_before, not_after, state, intent_at, epoch_server, epoch_number, tbs)
	VALUES ($1, 'line-a', 'p', 'l', 'device', $2, 's', 'password', 'r', '', $1, 1, 9, 'open', 1, 'alpha', 1, $1)`,
	`UPDATE certificates SET state = 'valid', tbs = NULL, der = $1, issued_at = 2 WHERE serial = $1 AND state = 'open'`,
	`INSERT INTO devices (id, first_seen, last_issued, certificates, current_serial)
	SELECT device, 2, 2, 1, serial FROM certificates WHERE serial = $1 AND purpose = 'device'
	ON CONFLICT (id) DO UPDATE SET last_issued = excluded.last_issued, certificates = devices.certificates + 1, current_serial = excluded.current_serial`,
}

// MakeSchema1 makes a database of schema 1 with one certificate.
func MakeSchema1(t *testing.T, path string) {
	t.Helper()
	w, err := openWriter(t.Context(), newSQLite(path))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	all, err := steps("sqlite")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.apply(t.Context(), w.conn, all[0]); err != nil {
		t.Fatal(err)
	}
	enrollSchema1(t, w, []byte{0x0a, 0xff}, "dev-old")
}

// UseAsSchema1 writes as the version with schema 1 does.
func UseAsSchema1(t *testing.T, path string) {
	t.Helper()
	w, err := openWriter(t.Context(), newSQLite(path))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	enrollSchema1(t, w, []byte{0x0b, 0xff}, "dev-new")
	enrollSchema1(t, w, []byte{0x0c, 0xff}, "dev-old")
}

func enrollSchema1(t *testing.T, w *writer, serial []byte, device string) {
	t.Helper()
	for n, text := range schema1 {
		args := []any{serial}
		if n == 0 {
			args = append(args, device)
		}
		if changed, err := w.exec(text, args...); err != nil || changed != 1 {
			t.Fatalf("statement %d: %d rows, %v", n, changed, err)
		}
	}
}
