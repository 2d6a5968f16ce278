package sqldb_test

import (
	"database/sql"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
)

// fleetOf opens a ledger with so many devices, each with three certificates by line-a, as
// a factory has them after some years: they were written past the ledger, for speed.
// Those of every hundredth device are by
// line-b.
func fleetOf(t *testing.T, devices int) *sqldb.Store {
	t.Helper()
	dir := t.TempDir()
	store, log := open(t, dir)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	log.Close()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`PRAGMA synchronous = OFF`,
		`WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 3 * $1 - 1)
	INSERT INTO certificates (serial, issuer, profile, label, purpose, device, subject, requester_kind, requester, address, spki, not_before, not_after,
	state, intent_at, issued_at, epoch_server, epoch_number, der, shard)
	SELECT unhex(printf('%036x', n)), CASE WHEN n % $1 % 100 = 7 THEN 'line-b' ELSE 'line-a' END, 'p', 'line', 'device', printf('device-%07d', n % $1), 'CN=x', 'password', 'station-' || (n % 20), '', randomblob(32),
	1772600000000000 + n / $1 * 1000000000, 1804136000000000 + n / $1 * 1000000000, 'valid', n, 1772600000000000 + n / $1 * 1000000000, 'alpha', 1, randomblob(900), n % 16 FROM n`,
		`INSERT INTO devices (id, first_seen, last_issued, certificates, current_serial)
	SELECT device, min(issued_at), max(issued_at), count(*), max(serial) FROM certificates GROUP BY device HAVING $1 > 0`,
	} {
		args := []any{devices}
		if text[:6] == "PRAGMA" {
			args = nil
		}
		if _, err := db.Exec(text, args...); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	store, _ = open(t, dir, func(c *sqldb.Config) { c.NewLog = true })
	return store
}

// A rotation of a thousand devices, or of a hundred thousand with MINTMARK_LONG, where
// it also says how long things take: who has followed, what is noted of all, what is
// revoked in parts while others are issued, and the CRLs of shards.
func TestScaleRotation(t *testing.T) {
	devices := 1000
	if os.Getenv("MINTMARK_LONG") != "" {
		devices = 100_000
	}
	store := fleetOf(t, devices)
	ctx, now := t.Context(), time.UnixMicro(1772600000000000).Add(2*time.Hour).UTC()
	took := func(what string, do func()) {
		t.Helper()
		began := time.Now()
		do()
		t.Logf("%s: %v", what, time.Since(began))
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(store.PutRotation(ctx, ledger.Rotation{ID: "r-1", Kind: ledger.RotateRoot, Old: "a", New: "b", Plan: []byte("{}"), State: "DISTRIBUTING", At: now, Version: 1}, ledger.RotationEntry{At: now}, false))
	query := ledger.AnchorQuery{Rotation: "r-1", Issuers: []string{"line-a"}, Now: now}
	count := func(want map[ledger.AnchorClass]int) {
		t.Helper()
		got, err := store.AnchorCount(ctx, query)
		ok(err)
		if !maps.Equal(got, want) {
			t.Errorf("classes %v, want %v", got, want)
		}
	}
	ofA := devices - devices/100
	took("counting", func() { count(map[ledger.AnchorClass]int{ledger.AnchorLeft: ofA}) })
	var notes []ledger.AnchorNote
	for n := range devices {
		notes = append(notes, ledger.AnchorNote{Device: fmt.Sprintf("device-%07d", n), Trusts: now, How: "fetched"})
	}
	took("noting all", func() { ok(store.NoteAnchors(ctx, "r-1", notes)) })
	took("noting all again", func() { ok(store.NoteAnchors(ctx, "r-1", notes)) })
	took("counting with notes", func() { count(map[ledger.AnchorClass]int{ledger.AnchorTrusts: ofA}) })
	took("listing a class of nobody", func() {
		query := query
		query.Class = ledger.AnchorSilent
		none, next, err := store.Anchors(ctx, query)
		if err != nil || len(none) > 0 || next != "" {
			t.Errorf("%v, %q, %v", none, next, err)
		}
	})
	took("curve of renewals", func() {
		buckets, overdue, err := store.RenewalCurve(ctx, ledger.RenewalQuery{Now: now, Width: 24 * time.Hour, Count: 400})
		sum := 0
		for _, b := range buckets {
			sum += b.Renew
		}
		if err != nil || sum != devices || overdue.Devices != devices {
			t.Errorf("%d renewals of %+v, %v", sum, overdue, err)
		}
	})

	const part = 500
	all, longest := 0, time.Duration(0)
	var first []ledger.Serial
	took("revoking all in parts", func() {
		for s := (ledger.Selector{Issuer: "line-a", Limit: part}); ; {
			began := time.Now()
			revoked, err := store.Revoke(ctx, s, ledger.Superseded, "anna", now, func(c ledger.Certificate) []ledger.Task {
				return []ledger.Task{{Kind: "aws/line", Key: "certificate/" + string(c.Serial)}}
			})
			ok(err)
			longest = max(longest, time.Since(began))
			if len(revoked) == 0 {
				break
			}
			if first == nil {
				first = revoked
			}
			all, s.After = all+len(revoked), revoked[len(revoked)-1]
		}
	})
	t.Logf("%d were revoked, %d at a time, the longest in %v", all, part, longest)
	if all != 3*ofA {
		t.Errorf("%d revoked, want %d", all, 3*ofA)
	}
	if listed, _, err := store.ChangedSince(ctx, "0", part); err != nil || len(listed) != len(first) || listed[0] != first[0] || listed[part-1] != first[part-1] {
		t.Errorf("changes begin with %d others than what was revoked first: %v", len(listed), err)
	}
	fence, err := store.Acquire(ctx, "crl", "alpha", now, time.Hour)
	ok(err)
	entries := 0
	for shard := range 16 {
		took(fmt.Sprint("entries of shard ", shard), func() {
			work, err := store.NextCRL(ctx, fence, "line-a", shard, now, time.Hour)
			ok(err)
			entries += len(work.Entries)
		})
	}
	if entries != all {
		t.Errorf("shards have %d entries, want %d", entries, all)
	}
}
