package sqldb

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"mintmark/internal/ledger"
)

// manyMatches is from how many devices on a search walks through all of them in
// the order of their identifiers: below, those that match are gathered by the
// indexes and then put in order.
const manyMatches = 10_000

// Devices implements ledger.Inventory.
func (s *Store) Devices(ctx context.Context, query ledger.DeviceQuery) ([]ledger.Device, error) {
	const what = "listing devices"
	limit := pageSize(query.Limit)
	if query.Text == "" {
		text, args := selectDevices(query, limit)
		return list(ctx, s, what, scanDevice, text, args)
	}
	if !utf8.ValidString(query.Text) || strings.ContainsRune(query.Text, 0) {
		return nil, nil // no device has such a text
	}
	many, err := s.matchMany(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	// Either way what is found is looked at: an index may still have a value
	// that the device has lost.
	selected := selectMatching
	if many {
		selected = selectDevices
	}
	found, err := s.matching(ctx, query, limit, selected)
	if err != nil || many {
		return found, err
	}
	// Identifiers are in order as they are: however many begin so, a page of them is enough.
	text, args := selectByIdentifier(query, limit)
	named, err := list(ctx, s, what, scanDevice, text, args)
	if err != nil {
		return nil, err
	}
	found = append(found, named...)
	slices.SortFunc(found, func(a, b ledger.Device) int { return cmp.Compare(a.ID, b.ID) })
	found = slices.CompactFunc(found, func(a, b ledger.Device) bool { return a.ID == b.ID })
	return found[:min(limit, len(found))], nil
}

// matching reads the devices that a query selects until a page of them has the text.
func (s *Store) matching(ctx context.Context, query ledger.DeviceQuery, limit int, selected func(ledger.DeviceQuery, int) (string, []any)) (all []ledger.Device, err error) {
	for {
		text, args := selected(query, 1000)
		page, err := list(ctx, s, "listing devices", scanDevice, text, args)
		if err != nil {
			return nil, err
		}
		for _, d := range page {
			if matches(d, query.Text) {
				all = append(all, d)
			}
		}
		if len(all) >= limit || len(page) < 1000 {
			return all[:min(limit, len(all))], nil
		}
		query.After = page[len(page)-1].ID
	}
}

func matches(d ledger.Device, text string) bool {
	has := func(value string) bool { return strings.HasPrefix(value, text) }
	return has(d.ID) || has(d.Order) || has(d.Product) || slices.ContainsFunc(slices.Collect(maps.Values(d.Fields)), has)
}

// selectDevices writes the query, its text left out. Each condition finds its
// index; see the migration.
func selectDevices(q ledger.DeviceQuery, limit int) (string, []any) {
	var c conditions
	c.restrict(q)
	return deviceColumns + c.text() + ` ORDER BY d.id LIMIT ` + c.value(limit), c.args
}

// restrict adds the conditions of a query, its text left out.
func (c *conditions) restrict(q ledger.DeviceQuery) {
	c.and("d.id >", q.After)
	c.restrictFields(q)
}

// restrictFields adds those that are about no order of pages.
func (c *conditions) restrictFields(q ledger.DeviceQuery) {
	c.where = append(c.where, sqlThere)
	switch q.State {
	case "":
	case ledger.Expected:
		c.where = append(c.where, `d.held = '' AND d.certificates = 0`)
	case ledger.Enrolled:
		c.where = append(c.where, `d.held = '' AND d.certificates > 0`)
	default:
		c.and("d.held <> '' AND d.held =", string(q.State))
	}
	if q.Import != "" {
		c.and("i.committed_at > 0 AND d.import_id <> '' AND d.import_id =", q.Import)
	}
	if q.Order != "" {
		c.and("i.committed_at > 0 AND d.order_id <> '' AND d.order_id =", q.Order)
	}
	if q.Product != "" {
		c.and("i.committed_at > 0 AND d.product <> '' AND d.product =", q.Product)
	}
}

// within writes the condition that a column begins with a text: from the text on, up to its
// end if it has one.
func (c *conditions) within(text string) func(column string) string {
	from, to := c.value(text), ""
	if end, ok := prefixEnd(text); ok {
		to = c.value(end)
	}
	return func(column string) string {
		if to == "" {
			return column + ` >= ` + from
		}
		return column + ` >= ` + from + ` AND ` + column + ` < ` + to
	}
}

// selectByIdentifier writes the query of devices whose identifiers begin with a text. There is
// one place where the walk begins, so that no database can choose the other.
func selectByIdentifier(q ledger.DeviceQuery, limit int) (string, []any) {
	var c conditions
	if q.After < q.Text {
		c.where = append(c.where, c.within(q.Text)("d.id"))
	} else {
		c.and("d.id >", q.After)
		if end, ok := prefixEnd(q.Text); ok {
			c.and("d.id <", end)
		}
	}
	c.restrictFields(q)
	return deviceColumns + c.text() + ` ORDER BY d.id LIMIT ` + c.value(limit), c.args
}

// matching are the places beside the identifier where a text is looked for.
func (c *conditions) matching(q ledger.DeviceQuery) []string {
	within, after := c.within(q.Text), c.value(q.After)
	return []string{
		`SELECT id FROM devices WHERE product <> '' AND ` + within("product") + ` AND id > ` + after,
		`SELECT id FROM devices WHERE order_id <> '' AND ` + within("order_id") + ` AND id > ` + after,
		`SELECT device FROM device_fields WHERE run IN (SELECT run FROM field_runs) AND ` + within("value") + ` AND device > ` + after,
	}
}

// matchMany reports whether a text is found so often that gathering the
// devices would cost more than walking.
func (s *Store) matchMany(ctx context.Context, q ledger.DeviceQuery) (bool, error) {
	var c conditions
	places := c.matching(q)
	for i, place := range places {
		places[i] = fmt.Sprintf(`(SELECT count(*) FROM (%s LIMIT %d) n%d)`, place, manyMatches, i)
	}
	n := 0
	err := s.readers.QueryRowContext(ctx, `SELECT `+strings.Join(places, ` + `), c.args...).Scan(&n)
	return n >= manyMatches, err
}

// selectMatching writes the query of a text that few devices have.
func selectMatching(q ledger.DeviceQuery, limit int) (string, []any) {
	var c conditions
	places := c.matching(q)
	c.restrict(q)
	c.where = append(c.where, `d.id IN (`+strings.Join(places, ` UNION `)+`)`)
	return deviceColumns + c.text() + ` ORDER BY d.id LIMIT ` + c.value(limit), c.args
}

// prefixEnd is the first text after all that begin with prefix, in the order of
// bytes, which is that of code points. There is none after the last code point.
func prefixEnd(prefix string) (string, bool) {
	for len(prefix) > 0 {
		last, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		if last == 0xd7ff {
			return prefix + "\ue000", true // past the surrogates
		}
		if last < utf8.MaxRune {
			return prefix + string(last+1), true
		}
	}
	return "", false
}
