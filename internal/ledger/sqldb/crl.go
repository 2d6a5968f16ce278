package sqldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

const (
	sqlTakeNumber = `INSERT INTO crls (issuer, taken_number) VALUES ($1, $2)
	ON CONFLICT (issuer) DO UPDATE SET taken_number = excluded.taken_number, taken = crls.changes`
	sqlNumbers = `SELECT taken_number, number FROM crls WHERE issuer = $1`

	sqlEntries = `SELECT serial, revoked_at, reason FROM certificates
	WHERE issuer = $1 AND state IN ('revoked', 'void') AND not_after >= $2 ORDER BY serial`

	sqlPutCRL = `INSERT INTO crls (issuer, number, this_update, next_update, der) VALUES ($1, $2, $3, $4, $5)
	ON CONFLICT (issuer) DO UPDATE SET number = excluded.number, this_update = excluded.this_update, next_update = excluded.next_update,
	der = excluded.der, shown = CASE WHEN crls.taken_number = excluded.number THEN crls.taken ELSE crls.shown END`

	sqlLatestCRL = `SELECT number, this_update, next_update, der FROM crls WHERE issuer = $1 AND number > 0`
	sqlUnshown   = `SELECT issuer, changes - shown FROM crls WHERE changes > shown`
)

// NextCRL implements ledger.Revocations.
func (s *Store) NextCRL(ctx context.Context, fence ledger.Fence, issuer string, shard int, now time.Time, period time.Duration) (ledger.CRLWork, error) {
	var work ledger.CRLWork
	o := &op{items: 1, locks: []string{"job:" + fence.Job, "crl:" + issuer}}
	o.run = func(t *tx) error {
		if err := t.fenced(fence, now); err != nil {
			return err
		}
		var taken, stored int64
		if err := t.query(sqlNumbers, scanInto(&taken, &stored), issuer); err != nil {
			return err
		}
		work = ledger.CRLWork{Number: max(taken+1, stored+1, now.Unix())}
		if _, err := t.exec(sqlTakeNumber, issuer, work.Number); err != nil {
			return err
		}
		return t.query(sqlEntries, func(rows *sql.Rows) error {
			var serial []byte
			var at int64
			var entry ledger.CRLEntry
			err := rows.Scan(&serial, &at, &entry.Reason)
			entry.Serial, entry.At = serialOf(serial), fromMicros(at)
			work.Entries = append(work.Entries, entry)
			return err
		}, issuer, micros(now.Add(-period)))
	}
	if err := s.write(ctx, o); err != nil {
		return ledger.CRLWork{}, fmt.Errorf("taking CRL number: %w", err)
	}
	return work, nil
}

// PutCRL implements ledger.Revocations. The fence holds as long as nobody else
// has taken the lease, also past its time: that harms nobody.
func (s *Store) PutCRL(ctx context.Context, fence ledger.Fence, crl ledger.CRL) error {
	if crl.Number <= 0 || len(crl.DER) == 0 {
		return fmt.Errorf("storing CRL: it has number %d and %d bytes", crl.Number, len(crl.DER))
	}
	o := &op{items: 1, locks: []string{"job:" + fence.Job, "crl:" + crl.Issuer}}
	o.run = func(t *tx) error {
		if err := t.fenced(fence, time.Time{}); err != nil {
			return err
		}
		var taken, stored int64
		if err := t.query(sqlNumbers, scanInto(&taken, &stored), crl.Issuer); err != nil {
			return err
		}
		if crl.Number <= stored {
			return fmt.Errorf("number %d, stored %d: %w", crl.Number, stored, ledger.ErrOldCRL)
		}
		if _, err := t.exec(sqlPutCRL, crl.Issuer, crl.Number, micros(crl.ThisUpdate), micros(crl.NextUpdate), crl.DER); err != nil {
			return err
		}
		t.record(ledger.Event{Kind: ledger.EventCRL, At: s.cfg.Now(), CRL: &ledger.CRLIssued{
			Issuer: crl.Issuer, Number: crl.Number, ThisUpdate: crl.ThisUpdate, NextUpdate: crl.NextUpdate, SHA256: sha256.Sum256(crl.DER),
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
	crl := ledger.CRL{Issuer: issuer}
	var thisUpdate, nextUpdate int64
	err := s.readers.QueryRowContext(ctx, sqlLatestCRL, issuer).Scan(&crl.Number, &thisUpdate, &nextUpdate, &crl.DER)
	if err != nil {
		return ledger.CRL{}, reading("CRL of "+issuer, err)
	}
	crl.ThisUpdate, crl.NextUpdate = fromMicros(thisUpdate), fromMicros(nextUpdate)
	return crl, nil
}

// RevocationsSince implements ledger.Revocations. Issuers whose stored CRL
// shows everything are left out.
func (s *Store) RevocationsSince(ctx context.Context) (map[ledger.CRLName]int, error) {
	counts, err := s.counts(ctx, "counting revocations", sqlUnshown)
	if err != nil {
		return nil, err
	}
	names := make(map[ledger.CRLName]int, len(counts))
	for issuer, n := range counts {
		names[ledger.CRLName{Issuer: issuer}] = n
	}
	return names, nil
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
