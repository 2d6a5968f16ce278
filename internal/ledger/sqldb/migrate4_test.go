package sqldb

import (
	"path/filepath"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/pgtest"
)

// schema3 is what the version with schema 3 has written: a certificate that was revoked,
// one that is valid, and a CRL that does not show the revocation yet.
var schema3 = []string{
	`INSERT INTO certificates (serial, issuer, profile, label, purpose, device, subject, requester_kind, requester, address,
	spki, not_before, not_after, state, intent_at, issued_at, revoked_at, reason, revoked_by, epoch_server, epoch_number, order_id)
	VALUES ($1, 'line-a', 'p', 'l', 'device', 'dev-1', 's', 'password', 'r', '', $1, 1, 3000000000000000, 'revoked', 1, 2, 1772600000000000, 1, 'anna', 'alpha', 1, '')`,
	`INSERT INTO crls (issuer, changes, taken_number, taken, number, shown, this_update, next_update, der)
	SELECT issuer, 4, 3000000007, 3, 3000000005, 3, 1, 2, serial FROM certificates WHERE serial = $1`,
}

// A database of schema 3 keeps its CRLs and their numbers, and what it has issued is in no
// shard. A migration that was cut off after any part of it is run again as a whole.
func TestMigrateFromSchema3(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		testMigrateFrom3(t, Config{URL: pgtest.Start(t).NewDatabase(t), Server: "alpha"})
	})
	t.Run("sqlite", func(t *testing.T) { testMigrateFrom3(t, Config{Path: filepath.Join(t.TempDir(), "ledger.db")}) })
}

func testMigrateFrom3(t *testing.T, cfg Config) {
	d, err := newDialect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w, err := openWriter(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	all, err := steps(d.migrations)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range all[:3] {
		if err := w.apply(t.Context(), w.conn, step); err != nil {
			t.Fatal(err)
		}
	}
	serial := []byte{0x0a, 0xff}
	for _, text := range schema3 {
		if n, err := w.exec(text, serial); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if d.shared {
		// Where the schema is no part of the transaction it may be cut off before its
		// version is written down.
		if err := w.apply(t.Context(), w.conn, all[3]); err != nil {
			t.Fatal(err)
		}
		if _, err := w.exec(sqlPutMeta, metaSchema, "3"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.migrate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	// What the version before does when it revokes or voids.
	old := `INSERT INTO crls (issuer, changes) SELECT issuer, 1 FROM certificates WHERE serial = $1 ON CONFLICT (issuer) DO UPDATE SET changes = crls.changes + 1`
	if _, err := w.exec(old, serial); err == nil {
		t.Error("a server of the version before counts a revocation where nobody looks")
	}

	dir := t.TempDir()
	log, err := audit.Open(dir, audit.Config{Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cfg.Log, cfg.NewLog = log, true
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, now := t.Context(), time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	crl, err := s.LatestCRL(ctx, "line-a", 0)
	if err != nil || crl.Number != 3000000005 || crl.Shard != 0 || string(crl.DER) != string(serial) {
		t.Errorf("CRL %+v, %v", crl, err)
	}
	if counts, err := s.RevocationsSince(ctx); err != nil || len(counts) != 1 || counts[ledger.CRLName{Issuer: "line-a"}] != 1 {
		t.Errorf("not shown: %v, %v", counts, err)
	}
	fence, err := s.Acquire(ctx, "crl", "alpha", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	work, err := s.NextCRL(ctx, fence, "line-a", 0, now, time.Hour)
	if err != nil || work.Number != 3000000008 || len(work.Entries) != 1 || work.Entries[0].Serial != "0aff" {
		t.Errorf("next CRL: %+v, %v", work, err)
	}
	if c, err := s.Certificate(ctx, "0aff"); err != nil || c.Shard != 0 || c.State != ledger.Revoked {
		t.Errorf("certificate: %+v, %v", c, err)
	}
}
