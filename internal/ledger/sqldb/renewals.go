package sqldb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

const (
	// The newest certificate of each device that was not revoked, page by page.
	sqlLives = `SELECT d.id, c.not_before, c.not_after FROM devices d JOIN certificates c ON c.serial = d.current_serial
	WHERE d.id > $1 ORDER BY d.id LIMIT $2`

	// $2 of the life of the certificate, in percent, is over at $3, and its end is not
	// before $4. Divided first: a life may be 8000 years, in microseconds.
	sqlOverdue = `SELECT d.id FROM devices d JOIN certificates c ON c.serial = d.current_serial
	WHERE d.id > $1 AND $3 - c.not_before >= (c.not_after - c.not_before) / 100 * $2 AND c.not_after >= $4 ORDER BY d.id LIMIT $5`

	sqlRefusalsByRule = `SELECT rule, count(*) FROM refusals WHERE at >= $1 GROUP BY rule`
)

// yearOfOverdue is how long ago a certificate may have expired for its device to count:
// what is gone for longer is not late, but gone.
const yearOfOverdue = 365 * 24 * time.Hour

const defaultShare = 66

// RenewalCurve implements ledger.Renewals.
func (s *Store) RenewalCurve(ctx context.Context, query ledger.RenewalQuery) ([]ledger.RenewalBucket, ledger.Overdue, error) {
	var overdue ledger.Overdue
	if query.Share == 0 {
		query.Share = defaultShare
	}
	if query.Now.IsZero() || query.Share < 1 || query.Share > 100 || query.Count < 0 || query.Count > 400 || query.Count > 0 && query.Width <= 0 {
		return nil, overdue, fmt.Errorf("drawing the curve of renewals: %d buckets of %v at %d percent cannot be drawn", query.Count, query.Width, query.Share)
	}
	buckets := make([]ledger.RenewalBucket, query.Count)
	for i := range buckets {
		buckets[i].From = query.Now.Add(time.Duration(i) * query.Width)
		buckets[i].To = buckets[i].From.Add(query.Width)
	}
	now, width := micros(query.Now), query.Width.Microseconds()
	in := func(at int64) *ledger.RenewalBucket {
		if at < now || width == 0 || (at-now)/width >= int64(len(buckets)) {
			return new(ledger.RenewalBucket)
		}
		return &buckets[(at-now)/width]
	}
	type life struct {
		device     string
		begin, end int64
	}
	for after := ""; ; {
		page, err := list(ctx, s, "drawing the curve of renewals", func(row row) (l life, err error) {
			err = row.Scan(&l.device, &l.begin, &l.end)
			return l, err
		}, sqlLives, []any{after, devicesInPage})
		if err != nil {
			return nil, overdue, err
		}
		for _, l := range page {
			overdue.Devices++
			part := func(percent int) int64 { return l.begin + (l.end-l.begin)/100*int64(percent) }
			in(part(query.Share)).Renew++
			in(l.end).Expire++
			switch {
			case l.end < now:
				if now-l.end <= yearOfOverdue.Microseconds() {
					overdue.Past100++
				}
			case part(90) <= now:
				overdue.Past90++
			case part(80) <= now:
				overdue.Past80++
			}
		}
		if len(page) < devicesInPage {
			return buckets, overdue, nil
		}
		after = page[len(page)-1].device
	}
}

// OverdueDevices implements ledger.Renewals.
func (s *Store) OverdueDevices(ctx context.Context, now time.Time, percent int, after string, limit int) ([]ledger.Certificate, error) {
	const what = "listing devices that are overdue"
	if percent != 80 && percent != 90 && percent != 100 {
		return nil, fmt.Errorf("%s: past %d percent of their life: say 80, 90 or 100", what, percent)
	}
	if now.IsZero() {
		return nil, errors.New(what + ": no time is given")
	}
	text, args := selectOverdue(now, percent, after, pageSize(limit))
	return list(ctx, s, what, func(row row) (ledger.Certificate, error) { return scanCertificate(row) }, text, args)
}

// selectOverdue writes the query: the walk reads small rows, and whole certificates only
// of those that it has found.
func selectOverdue(now time.Time, percent int, after string, limit int) (string, []any) {
	return `SELECT ` + certificateColumns + ` FROM certificates WHERE serial IN (SELECT current_serial FROM devices WHERE id IN (` + sqlOverdue + `)) ORDER BY device`,
		[]any{after, percent, micros(now), micros(now.Add(-yearOfOverdue)), limit}
}

// RefusalsByRule implements ledger.Renewals.
func (s *Store) RefusalsByRule(ctx context.Context, since time.Time) (map[string]int, error) {
	return s.counts(ctx, "counting refusals", sqlRefusalsByRule, micros(since))
}
