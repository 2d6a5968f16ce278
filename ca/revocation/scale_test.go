package revocation_test

import (
	"cmp"
	"crypto/x509"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestScale fills a ledger with revoked certificates in 16 shards, signs every CRL, and rebuilds one after one more revocation. Four
// thousand certificates, or a million with MINTMARK_LONG, where the rebuilding from the
// ledger's read to the stored CRL must take less than two seconds.
func TestScale(t *testing.T) {
	const shards = 16
	n, long := 4_000, os.Getenv("MINTMARK_LONG") != ""
	if long {
		n = 1_000_000
	}
	w := newWorld(t)
	began := time.Now()
	fill(t, w.store, w.epoch, w.now, shards, func(i int) int { return 1 + i }, &w.last)
	w.multiply(n-shards, shards)
	t.Logf("%d certificates issued and revoked in %v", n, time.Since(began).Round(time.Millisecond))
	p := w.publisher(shards)
	began = time.Now()
	if err := p.PublishPending(t.Context(), w.fence, w.line); err != nil {
		t.Fatal(err)
	}
	if pending, err := w.store.RevocationsSince(t.Context()); err != nil || len(pending) > 0 || len(w.numbers()) != shards+1 {
		t.Fatalf("not on a CRL: %v, %v; CRLs %v", pending, err, w.numbers())
	}
	t.Logf("%d CRLs of %d entries each signed in %v", shards, n/shards, time.Since(began).Round(time.Millisecond))

	w.now = w.now.Add(time.Minute)
	w.revoked(7, 1)
	before := w.numbers()
	var took time.Duration
	used := time.Hour // of processor time, whatever else the machine does
	for range 3 {
		runtime.GC()
		began = time.Now()
		before := processor(t)
		if err := p.Publish(t.Context(), w.fence, w.line, 7); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); took == 0 || d < took {
			took = d
		}
		used = min(used, processor(t)-before)
	}
	crl, err := w.store.LatestCRL(t.Context(), "line-a", 7)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(crl.DER)
	if err != nil || len(list.RevokedCertificateEntries) != n/shards+1 || crl.Number <= before[7] {
		t.Fatalf("CRL %d after %d with %d entries: %v", crl.Number, before[7], len(list.RevokedCertificateEntries), err)
	}
	t.Logf("shard 7 of %d entries, %d bytes, rebuilt in %v, %v of it processor time: read, encoded, linted, signed, verified, stored", n/shards+1, len(crl.DER), took.Round(time.Millisecond), used.Round(time.Millisecond))
	if long && took >= 2*time.Second {
		t.Errorf("one shard of %d takes %v", shards, took)
	}
	for shard, number := range w.numbers() {
		if shard != 7 && number != before[shard] {
			t.Errorf("shard %d was signed, too", shard)
		}
	}
}

// processor is the processor time of this process until now.
func processor(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// multiply makes n further certificates of one that there is, in all shards: issued and
// revoked one by one, a million take a quarter of an hour. That there is something to sign
// is known from those that were.
func (w *world) multiply(n, shards int) {
	w.t.Helper()
	w.close()
	db, err := sql.Open("sqlite", filepath.Join(w.dir, "ledger.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT name FROM pragma_table_info('certificates')`)
	if err != nil {
		w.t.Fatal(err)
	}
	var columns, values []string
	own := map[string]string{
		"serial": "unhex(printf('5b%034x', i))", "spki": "unhex(printf('%064x', i))", "device": "printf('device-%d', i)", "shard": fmt.Sprintf("1 + i %% %d", shards),
		"not_after": "not_after + 1000 * i", "revoked_at": "revoked_at - 1000 * i",
	}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			w.t.Fatal(err)
		}
		columns, values = append(columns, name), append(values, cmp.Or(own[name], name))
	}
	const numbers = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) `
	text := numbers + `INSERT INTO certificates (` + strings.Join(columns, ", ") + `) SELECT ` + strings.Join(values, ", ") + ` FROM n, (SELECT * FROM certificates LIMIT 1)`
	if _, err := db.Exec(text, n); err != nil {
		w.t.Fatalf("%s: %v", text, err)
	}
	if err := db.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
}
