package sqldb

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mintmark/internal/ledger"
)

const (
	sqlInsertRefusal = `INSERT INTO refusals (at, server, operation, label, profile, order_id, rule, text, device, subject, spki, requester_kind, requester, address)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`
	sqlNewestRefusal = `SELECT COALESCE(max(id), 0) FROM refusals`
	// The newest of those that are too many.
	sqlLastTooMany   = `SELECT id FROM refusals ORDER BY id DESC LIMIT 1 OFFSET $1`
	sqlPruneRefusals = `DELETE FROM refusals WHERE id IN (SELECT id FROM refusals WHERE id <= $1 ORDER BY id LIMIT $2)`

	refusalColumns = `SELECT id, at, server, operation, label, profile, order_id, rule, text, device, subject, spki, requester_kind, requester, address FROM refusals`
)

// pruneAtOnce bounds how many refusals one transaction removes.
const pruneAtOnce = 5000

// Refuse implements ledger.Refusals. Texts are cut to what a person reads:
// strangers write them. Old refusals are removed once in as many as are a
// two-hundredth of keep, since to find out which ones they are costs a walk
// through the index.
func (s *Store) Refuse(ctx context.Context, refused []ledger.Refused, keep int) error {
	if len(refused) == 0 || keep <= 0 {
		return nil
	}
	refused = slices.Clone(refused)
	every := int64(max(1, keep/200))
	o := &op{items: len(refused)}
	o.run = func(t *tx) error {
		for i := range refused {
			if err := t.refuse(&refused[i]); err != nil {
				return err
			}
		}
		var newest int64
		if err := t.query(sqlNewestRefusal, scanInto(&newest)); err != nil {
			return err
		}
		if newest/every == (newest-int64(len(refused)))/every {
			return nil
		}
		var last int64
		if err := t.query(sqlLastTooMany, scanInto(&last), keep); err != nil || last == 0 {
			return err
		}
		_, err := t.exec(sqlPruneRefusals, last, max(pruneAtOnce, 2*every, 2*int64(len(refused))))
		return err
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("recording refusals: %w", err)
	}
	return nil
}

func (t *tx) refuse(r *ledger.Refused) error {
	address := ""
	if r.Requester.Address.IsValid() {
		address = r.Requester.Address.String()
	}
	_, err := t.exec(sqlInsertRefusal, micros(r.At), cut(r.Server, 100), cut(r.Operation, 100), cut(r.Label, 100), cut(r.Profile, 100), cut(r.Order, 200), cut(r.Rule, 100),
		cut(r.Text, 1000), cut(r.Device, 256), cut(r.Subject, 1000), hashOrNull(r.Key), cut(r.Requester.Kind, 100), cut(r.Requester.Name, 256), address)
	return err
}

// cut makes a stranger's text fit for every database: UTF-8 without the zero
// byte, and of at most so many bytes.
func cut(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", "")
}

// Refusals implements ledger.Refusals.
func (s *Store) Refusals(ctx context.Context, query ledger.RefusalQuery) ([]ledger.Refused, error) {
	text, args := selectRefusals(query)
	return list(ctx, s, "listing refusals", scanRefused, text, args)
}

// selectRefusals writes the query. Each condition finds its index; see the
// migration.
func selectRefusals(q ledger.RefusalQuery) (string, []any) {
	var c conditions
	if q.Device != "" {
		c.and("device <> '' AND device =", cut(q.Device, 256))
	}
	if q.Key != [32]byte{} {
		c.and("spki IS NOT NULL AND spki =", q.Key[:])
	}
	if q.Address != "" {
		c.and("address <> '' AND address =", cut(q.Address, 100))
	}
	if q.Requester != "" {
		c.and("requester <> '' AND requester =", cut(q.Requester, 256))
	}
	if q.Order != "" {
		c.and("order_id <> '' AND order_id =", cut(q.Order, 200))
	}
	switch {
	case q.Rule == "":
	case len(c.where) > 0:
		// Of all that asks for, the rule is what most refusals have: no bare column, so that
		// SQLite does not take its index.
		c.and("rule || '' =", cut(q.Rule, 100))
	default:
		c.and("rule =", cut(q.Rule, 100))
	}
	if !q.Since.IsZero() {
		c.and("at >=", micros(q.Since))
	}
	if q.Before > 0 {
		c.and("id <", q.Before)
	}
	order := ` ORDER BY id DESC`
	if len(c.where) == 1 && !q.Since.IsZero() {
		// By the index of times and then sorted: the walk from the newest one on
		// would not know where to end.
		order = ` ORDER BY id + 0 DESC`
	}
	return refusalColumns + c.text() + order + c.limit(q.Limit), c.args
}

func scanRefused(row row) (ledger.Refused, error) {
	var r ledger.Refused
	var at int64
	var key []byte
	var address string
	err := row.Scan(&r.ID, &at, &r.Server, &r.Operation, &r.Label, &r.Profile, &r.Order, &r.Rule, &r.Text, &r.Device, &r.Subject, &key,
		&r.Requester.Kind, &r.Requester.Name, &address)
	if err != nil {
		return r, err
	}
	if address != "" {
		if r.Requester.Address, err = netip.ParseAddr(address); err != nil {
			return r, fmt.Errorf("address of refusal %d: %w", r.ID, err)
		}
	}
	r.At = fromMicros(at)
	copy(r.Key[:], key)
	return r, nil
}
