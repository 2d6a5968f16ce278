package sqldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mintmark/internal/ledger"
)

const (
	sqlTakeNumber = `INSERT INTO shard_crls (issuer, shard, taken_number) VALUES ($1, $2, $3)
	ON CONFLICT (issuer, shard) DO UPDATE SET taken_number = excluded.taken_number, taken = shard_crls.changes`
	sqlNumbers = `SELECT taken_number, number FROM shard_crls WHERE issuer = $1 AND shard = $2`

	// Unsorted: the index has them in another order, and the caller sorts faster.
	sqlEntries = `SELECT serial, revoked_at, reason FROM certificates
	WHERE issuer = $1 AND shard = $2 AND state IN ('revoked', 'void') AND not_after >= $3`

	sqlPutCRL = `INSERT INTO shard_crls (issuer, shard, number, this_update, next_update, der) VALUES ($1, $2, $3, $4, $5, $6)
	ON CONFLICT (issuer, shard) DO UPDATE SET number = excluded.number, this_update = excluded.this_update, next_update = excluded.next_update,
	der = excluded.der, shown = CASE WHEN shard_crls.taken_number = excluded.number THEN shard_crls.taken ELSE shard_crls.shown END`

	sqlLatestCRL = `SELECT number, this_update, next_update, der FROM shard_crls WHERE issuer = $1 AND shard = $2 AND number > 0`
	sqlUnshown   = `SELECT issuer, shard, changes - shown FROM shard_crls WHERE changes > shown`
)

// maxShard bounds the shards of an issuer.
const maxShard = 1<<16 - 1

func checkShard(shard int) error {
	if shard < 0 || shard > maxShard {
		return fmt.Errorf("shard %d is not between 0 and %d", shard, maxShard)
	}
	return nil
}

// crlLocks are the names that a change of a CRL locks.
func crlLocks(fence ledger.Fence, issuer string, shard int) []string {
	name := "crl:" + issuer
	if shard > 0 {
		name = fmt.Sprintf("%s:%d", name, shard)
	}
	return []string{"job:" + fence.Job, name}
}

// NextCRL implements ledger.Revocations. The number is taken in a transaction of its
// own; what the CRL must hold is read after that, and holds nobody up: whatever the
// number counts was committed before it, and what comes in between is listed and
// counted again.
func (s *Store) NextCRL(ctx context.Context, fence ledger.Fence, issuer string, shard int, now time.Time, period time.Duration) (ledger.CRLWork, error) {
	var work ledger.CRLWork
	if err := errors.Join(checkShard(shard), checkNames(issuer)); err != nil {
		return work, fmt.Errorf("taking CRL number: %w", err)
	}
	o := &op{items: 1, locks: crlLocks(fence, issuer, shard)}
	o.run = func(t *tx) error {
		if err := t.fenced(fence, now); err != nil {
			return err
		}
		var taken, stored int64
		if err := t.query(sqlNumbers, scanInto(&taken, &stored), issuer, shard); err != nil {
			return err
		}
		work = ledger.CRLWork{Number: max(taken+1, stored+1, now.Unix())}
		_, err := t.exec(sqlTakeNumber, issuer, shard, work.Number)
		return err
	}
	if err := s.write(ctx, o); err != nil {
		return ledger.CRLWork{}, fmt.Errorf("taking CRL number: %w", err)
	}
	var err error
	if work.Entries, err = s.entries(ctx, issuer, shard, now.Add(-period)); err != nil {
		return ledger.CRLWork{}, err
	}
	return work, nil
}

// entries lists what is revoked or void and has not expired before a time, by serial
// number.
func (s *Store) entries(ctx context.Context, issuer string, shard int, since time.Time) ([]ledger.CRLEntry, error) {
	var serial sql.RawBytes
	var at int64
	rows, err := s.readers.QueryContext(ctx, sqlEntries, issuer, shard, micros(since))
	if err != nil {
		return nil, fmt.Errorf("listing entries of a CRL: %w", err)
	}
	defer rows.Close()
	var all []ledger.CRLEntry
	for rows.Next() {
		var entry ledger.CRLEntry
		if err := rows.Scan(&serial, &at, &entry.Reason); err != nil {
			return nil, fmt.Errorf("listing entries of a CRL: %w", err)
		}
		entry.Serial, entry.At = serialOf(serial), fromMicros(at)
		all = append(all, entry)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing entries of a CRL: %w", err)
	}
	// In the order of bytes, which is not that of lengths.
	slices.SortFunc(all, func(a, b ledger.CRLEntry) int { return strings.Compare(string(a.Serial), string(b.Serial)) })
	return all, nil
}

// PutCRL implements ledger.Revocations. The fence holds as long as nobody else
// has taken the lease, also past its time: that harms nobody.
func (s *Store) PutCRL(ctx context.Context, fence ledger.Fence, crl ledger.CRL) error {
	if crl.Number <= 0 || len(crl.DER) == 0 {
		return fmt.Errorf("storing CRL: it has number %d and %d bytes", crl.Number, len(crl.DER))
	}
	if err := errors.Join(checkShard(crl.Shard), checkNames(crl.Issuer)); err != nil {
		return fmt.Errorf("storing CRL: %w", err)
	}
	o := &op{items: 1, locks: crlLocks(fence, crl.Issuer, crl.Shard)}
	o.run = func(t *tx) error {
		if err := t.fenced(fence, time.Time{}); err != nil {
			return err
		}
		var taken, stored int64
		if err := t.query(sqlNumbers, scanInto(&taken, &stored), crl.Issuer, crl.Shard); err != nil {
			return err
		}
		if crl.Number <= stored {
			return fmt.Errorf("number %d, stored %d: %w", crl.Number, stored, ledger.ErrOldCRL)
		}
		if _, err := t.exec(sqlPutCRL, crl.Issuer, crl.Shard, crl.Number, micros(crl.ThisUpdate), micros(crl.NextUpdate), crl.DER); err != nil {
			return err
		}
		t.record(ledger.Event{Kind: ledger.EventCRL, At: s.cfg.Now(), CRL: &ledger.CRLIssued{
			Issuer: crl.Issuer, Shard: crl.Shard, Number: crl.Number, ThisUpdate: crl.ThisUpdate, NextUpdate: crl.NextUpdate, SHA256: sha256.Sum256(crl.DER),
		}})
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("storing CRL: %w", err)
	}
	return nil
}

// LatestCRL implements ledger.Revocations.
func (s *Store) LatestCRL(ctx context.Context, issuer string, shard int) (ledger.CRL, error) {
	crl := ledger.CRL{Issuer: issuer, Shard: shard}
	var thisUpdate, nextUpdate int64
	err := s.readers.QueryRowContext(ctx, sqlLatestCRL, issuer, shard).Scan(&crl.Number, &thisUpdate, &nextUpdate, &crl.DER)
	if err != nil {
		return ledger.CRL{}, reading("CRL of "+issuer, err)
	}
	crl.ThisUpdate, crl.NextUpdate = fromMicros(thisUpdate), fromMicros(nextUpdate)
	return crl, nil
}

// RevocationsSince implements ledger.Revocations. Those whose stored CRL shows
// everything are left out.
func (s *Store) RevocationsSince(ctx context.Context) (map[ledger.CRLName]int, error) {
	type unshown struct {
		ledger.CRLName
		n int
	}
	all, err := list(ctx, s, "counting revocations", func(row row) (u unshown, err error) {
		err = row.Scan(&u.Issuer, &u.Shard, &u.n)
		return u, err
	}, sqlUnshown, nil)
	if err != nil {
		return nil, err
	}
	counts := make(map[ledger.CRLName]int, len(all))
	for _, u := range all {
		counts[u.CRLName] = u.n
	}
	return counts, nil
}

// counts reads rows of a name and a number.
func (s *Store) counts(ctx context.Context, what, text string, args ...any) (map[string]int, error) {
	rows, err := s.readers.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer rows.Close()
	all := map[string]int{}
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		all[name] = n
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return all, nil
}

// fenced returns ErrLapsed unless the fence holds; a zero now leaves the time
// out of it.
func (t *tx) fenced(fence ledger.Fence, now time.Time) error {
	held, err := t.lease(fence.Job)
	if err != nil {
		return err
	}
	if held.Token != fence.Token || held.Holder != fence.Holder || fence.Token == 0 || !now.IsZero() && micros(now) >= held.ends {
		return fmt.Errorf("job %q: %w", fence.Job, ledger.ErrLapsed)
	}
	return nil
}

// heldLease is a lease as stored; its zero value is one never held.
type heldLease struct {
	ledger.Fence
	ends int64
}

func (t *tx) lease(job string) (heldLease, error) {
	l := heldLease{Fence: ledger.Fence{Job: job}}
	err := t.query(`SELECT holder, token, ends_at FROM leases WHERE job = $1`, scanInto(&l.Holder, &l.Token, &l.ends), job)
	return l, err
}

// Acquire implements ledger.Leases.
func (s *Store) Acquire(ctx context.Context, job, holder string, now time.Time, ttl time.Duration) (ledger.Fence, error) {
	if job == "" || holder == "" {
		return ledger.Fence{}, errors.New("acquiring lease: no job or no holder named")
	}
	fence := ledger.Fence{Job: job, Holder: holder}
	o := &op{items: 1, locks: []string{"job:" + job}}
	o.run = func(t *tx) error {
		held, err := t.lease(job)
		if err != nil {
			return err
		}
		switch {
		case held.Holder == holder:
			fence.Token = held.Token
		case micros(now) < held.ends:
			return fmt.Errorf("job %q is held by %q: %w", job, held.Holder, ledger.ErrBusy)
		default:
			fence.Token = held.Token + 1
		}
		_, err = t.exec(`INSERT INTO leases (job, holder, token, ends_at) VALUES ($1, $2, $3, $4)
	ON CONFLICT (job) DO UPDATE SET holder = excluded.holder, token = excluded.token, ends_at = excluded.ends_at`,
			job, holder, fence.Token, micros(now.Add(ttl)))
		return err
	}
	if err := s.write(ctx, o); err != nil {
		return ledger.Fence{}, fmt.Errorf("acquiring lease: %w", err)
	}
	return fence, nil
}
