package sqldb

import (
	"database/sql"
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
		"profile":              {ledger.Query{Profile: "p", After: after}, "certificates_profile (profile=? AND serial>?)"},
		"profile, first page":  {ledger.Query{Profile: "p"}, "certificates_profile (profile=?)"},
		"issuer":               {ledger.Query{Issuer: "i", After: after}, "certificates_issuer (issuer=? AND serial>?)"},
		"revoked":              {ledger.Query{State: ledger.Revoked, After: after}, "certificates_state (state=? AND serial>?)"},
		"open":                 {ledger.Query{State: ledger.Open}, "certificates_state (state=?)"},
		"valid":                {ledger.Query{State: ledger.Valid, After: after}, "(serial>?)"},
		"purpose":              {ledger.Query{Purpose: ledger.ForServer, After: after}, "(serial>?)"},
		"expiring":             {ledger.Query{ExpiresBefore: time.Unix(9, 0), After: after}, "certificates_expiry (serial>?"},
		"expiring, first page": {ledger.Query{ExpiresBefore: time.Unix(9, 0)}, "certificates_expiry"},
		"expiring valid":       {ledger.Query{ExpiresBefore: time.Unix(9, 0), State: ledger.Valid, After: after}, "certificates_expiry (serial>?"},
	} {
		text, args, err := w.selectCertificates(c.query, 10)
		if err != nil {
			t.Fatal(err)
		}
		check(name, text, c.want, args...)
	}
	check("what a key has", sqlSameKey, "certificates_spki (spki=?)", []byte{1}, "d", 1)
	check("another key of a device", sqlOtherKey, "certificates_device (device=? AND not_after>?)", "d", []byte{1}, 1)
	check("lapsed intents", sqlLapsed, "certificates_state (state=?)", 1)
	check("entries of a CRL", sqlEntries, "certificates_crl (issuer=? AND not_after>?)", "i", 1)
	check("certificates of a device", sqlDeviceValid, "certificates_device (device=?)", "d")
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
		q := newQueue(2*time.Millisecond, 256)
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
		q := newQueue(time.Hour, 256)
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
		q := newQueue(2*time.Millisecond, 256)
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
		q := newQueue(2*time.Millisecond, 256)
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
		q := newQueue(2*time.Millisecond, 256)
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

func TestBatchIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(time.Hour, 10)
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
