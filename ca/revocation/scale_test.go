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
	w.revoked(1, 1)
	w.multiply(n-1, shards)
	t.Logf("%d certificates issued and revoked in %v", n, time.Since(began).Round(time.Millisecond))
	p := w.publisher(shards)
	began = time.Now()
	for { // what takes longer than the others wait goes on beside this
		w.publish(p)
		pending, err := w.store.RevocationsSince(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(pending) == 0 && len(w.numbers()) == shards+1 {
			break
		}
	}
	t.Logf("%d CRLs of %d entries each signed in %v", shards, n/shards, time.Since(began).Round(time.Millisecond))

	w.now = w.now.Add(time.Minute)
	w.revoked(7, 1)
	before := w.numbers()
	var took time.Duration
	for range 3 {
		runtime.GC()
		began = time.Now()
		if err := p.Publish(t.Context(), w.fence, w.line, 7); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); took == 0 || d < took {
			took = d
		}
	}
	crl, err := w.store.LatestCRL(t.Context(), "line-a", 7)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(crl.DER)
	if err != nil || len(list.RevokedCertificateEntries) != n/shards+1 || crl.Number <= before[7] {
		t.Fatalf("CRL %d after %d with %d entries: %v", crl.Number, before[7], len(list.RevokedCertificateEntries), err)
	}
	t.Logf("shard 7 of %d entries, %d bytes, rebuilt in %v: read, encoded, linted, signed, verified, stored", n/shards+1, len(crl.DER), took.Round(time.Millisecond))
	if long && took >= 2*time.Second {
		t.Errorf("one shard of %d takes %v", shards, took)
	}
	for shard, number := range w.numbers() {
		if shard != 7 && number != before[shard] {
			t.Errorf("shard %d was signed, too", shard)
		}
	}
}

// multiply makes n further certificates of the one that there is, with all that issuing and
// revoking them writes for it: one by one, a million take a quarter of an hour.
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
	for _, text := range []string{
		numbers + `INSERT INTO certificates (` + strings.Join(columns, ", ") + `) SELECT ` + strings.Join(values, ", ") + ` FROM n, (SELECT * FROM certificates LIMIT 1)`,
		numbers + `INSERT INTO changes (number, serial) SELECT (SELECT max(number) FROM changes) + i, unhex(printf('5b%034x', i)) FROM n`,
		numbers + `UPDATE counters SET value = value + (SELECT count(*) FROM n) WHERE name = 'changes'`,
		numbers + fmt.Sprintf(`INSERT INTO crls (issuer, shard, changes) SELECT 'line-a', 1 + i %% %d, count(*) FROM n WHERE true GROUP BY 2
	ON CONFLICT (issuer, shard) DO UPDATE SET changes = changes + excluded.changes`, shards),
	} {
		if _, err := db.Exec(text, n); err != nil {
			w.t.Fatalf("%s: %v", text, err)
		}
	}
	if err := db.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
}
