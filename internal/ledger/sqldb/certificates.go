package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"mintmark/internal/ledger"
)

const sqlCertificate = `SELECT ` + certificateColumns + ` FROM certificates WHERE serial = $1`

// Certificate implements ledger.Certificates. What it returns may be shared: nobody changes its DER.
func (s *Store) Certificate(ctx context.Context, serial ledger.Serial) (ledger.Certificate, error) {
	b, err := serialBytes(serial)
	if err != nil {
		return ledger.Certificate{}, fmt.Errorf("%w: %w", ledger.ErrNotFound, err)
	}
	if err := ctx.Err(); err != nil {
		return ledger.Certificate{}, reading("certificate "+string(serial), err)
	}
	var round uint64
	if s.recent != nil {
		var c ledger.Certificate
		var kept bool
		if c, kept, round = s.recent.get(b); kept {
			return c, nil
		}
		// One row by its key, from a file: to be ready to stop halfway costs more than to
		// finish, a goroutine in the driver and one in database/sql.
		ctx = context.WithoutCancel(ctx)
	}
	c, err := scanCertificate(s.bySerial.QueryRowContext(ctx, b))
	if err != nil {
		return ledger.Certificate{}, reading("certificate "+string(serial), err)
	}
	if s.recent != nil {
		s.recent.put(b, c, round)
	}
	return c, nil
}

// reading wraps the error of a query; no row is ErrNotFound, and so is a name
// that no row can have.
func reading(what string, err error) error {
	if errors.Is(err, sql.ErrNoRows) || noText(err) {
		err = ledger.ErrNotFound
	}
	return fmt.Errorf("reading %s: %w", what, err)
}

// Certificates implements ledger.Certificates.
func (s *Store) Certificates(ctx context.Context, query ledger.Query) (ledger.Page, error) {
	limit := query.Limit
	if limit <= 0 {
		limit = 100
	}
	limit = min(limit, 1000)
	text, args, err := s.dialect.selectCertificates(query, limit+1)
	if err != nil {
		return ledger.Page{}, fmt.Errorf("listing certificates: %w", err)
	}
	rows, err := s.readers.QueryContext(ctx, text, args...)
	if noText(err) {
		return ledger.Page{}, nil
	}
	if err != nil {
		return ledger.Page{}, fmt.Errorf("listing certificates: %w", err)
	}
	defer rows.Close()
	var page ledger.Page
	for rows.Next() {
		if len(page.Certificates) == limit {
			page.Next = page.Certificates[limit-1].Serial
			break
		}
		c, err := scanCertificate(rows)
		if err != nil {
			return ledger.Page{}, fmt.Errorf("listing certificates: %w", err)
		}
		page.Certificates = append(page.Certificates, c)
	}
	if err := rows.Err(); err != nil {
		return ledger.Page{}, fmt.Errorf("listing certificates: %w", err)
	}
	return page, nil
}

// selectCertificates writes the query. Its conditions are chosen so that each
// finds its index; see the migrations.
func (d *dialect) selectCertificates(q ledger.Query, limit int) (string, []any, error) {
	var where []string
	var args []any
	and := func(condition string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf("%s $%d", condition, len(args)))
	}
	if q.Device != "" {
		and("device <> '' AND device =", q.Device)
	}
	if q.Key != [32]byte{} {
		and("spki =", q.Key[:])
	}
	if q.Requester != "" {
		and("requester =", q.Requester)
	}
	if q.Order != "" {
		and("order_id <> '' AND order_id =", q.Order)
	}
	if q.Profile != "" {
		and("profile =", q.Profile)
	}
	if q.Issuer != "" {
		and("issuer =", q.Issuer)
	}
	if q.Purpose == ledger.ForDevice {
		and("purpose =", string(q.Purpose))
	} else if q.Purpose != "" {
		and("purpose <> 'device' AND purpose =", string(q.Purpose))
	}
	if q.State == ledger.Valid {
		and("state =", string(q.State))
	} else if q.State != "" {
		and("state <> 'valid' AND state =", string(q.State))
	}
	if !q.ExpiresBefore.IsZero() {
		and("not_after <", micros(q.ExpiresBefore))
	}
	byEnd := q.ByEnd()
	switch {
	case q.ExpiresAfter.IsZero():
	case byEnd && q.After != "":
		// Not by the index, in which the walk begins at After.
		and("0 + not_after >=", micros(q.ExpiresAfter))
	default:
		and("not_after >=", micros(q.ExpiresAfter))
	}
	text, order := `SELECT `+certificateColumns+` FROM certificates`, `serial`
	if byEnd {
		text, order = text+d.byEnd, `not_after, serial`
	}
	if q.After != "" {
		after, err := serialBytes(q.After)
		if err != nil {
			return "", nil, err
		}
		and("serial >", after)
		if byEnd {
			after := fmt.Sprintf("$%d", len(args))
			where[len(where)-1] = `(not_after, serial) > ((SELECT p.not_after FROM certificates p WHERE p.serial = ` + after + `), ` + after + `)`
		}
	}
	if len(where) > 0 {
		text += ` WHERE ` + strings.Join(where, ` AND `)
	}
	args = append(args, limit)
	return text + fmt.Sprintf(` ORDER BY %s LIMIT $%d`, order, len(args)), args, nil
}
