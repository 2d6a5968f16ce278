package sqldb

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mintmark/internal/ledger"
)

// How devices are classed in a rotation.
//
// The walk is over the rows of devices, in pages, and not over certificates: a device
// that has renewed twenty times costs one row and the lookup of its current certificate.
// Only for one whose current certificate is by none of the CAs in question are its
// others looked at. CA certificates of gateways, which the row of a device does not name,
// come from an index of their own, page by page.

// devicesInPage is how many devices are read at a time. Each page is a read of its own:
// a long one would keep the database from copying back its log.
const devicesInPage = 2000

// fleetDevice is a device of a rotation with what its class follows from.
type fleetDevice struct {
	ledger.AnchorNote
	issuer       string // of its newest certificate by the CAs in question
	label        string // of that
	notAfter     int64  // of that
	lastNotAfter int64  // the latest of all by these CAs
	lastIssued   int64  // of any certificate
	certificates int64  // ever recorded, of devices and of gateways
}

// class is the first that fits.
func (d *fleetDevice) class(q *ledger.AnchorQuery) ledger.AnchorClass {
	moved := !d.Trusts.IsZero() && !d.Chains.IsZero()
	if q.New != "" {
		moved = d.issuer == q.New
	}
	silent := q.Silent
	if silent <= 0 {
		silent = 30 * 24 * time.Hour
	}
	switch {
	case moved:
		return ledger.AnchorMoved
	case !d.Waived.IsZero():
		return ledger.AnchorWaived
	case !d.Trusts.IsZero():
		return ledger.AnchorTrusts
	case d.lastNotAfter < micros(q.Now):
		return ledger.AnchorExpired
	case d.certificates == 1 && d.Chains.IsZero():
		return ledger.AnchorNever
	case d.lastSeen() < micros(q.Now.Add(-silent)):
		return ledger.AnchorSilent
	}
	return ledger.AnchorLeft
}

func (d *fleetDevice) lastSeen() int64 {
	return max(d.lastIssued, micros(d.Trusts), micros(d.Chains))
}

// mostIssuers bounds the CAs of a query.
const mostIssuers = 500

func checkFleet(q *ledger.AnchorQuery) error {
	switch {
	case q.Rotation == "" || q.Now.IsZero():
		return errors.New("the query has no rotation or no time")
	case len(q.Issuers) > mostIssuers:
		return fmt.Errorf("the query names %d CAs, at most %d may be", len(q.Issuers), mostIssuers)
	}
	return checkNames(append(slices.Clone(q.Issuers), q.New, q.Rotation, q.After)...)
}

// Anchors implements ledger.Rotations.
func (s *Store) Anchors(ctx context.Context, query ledger.AnchorQuery) (devices []ledger.AnchorDevice, next string, err error) {
	limit := pageSize(query.Limit)
	err = s.fleet(ctx, query, func(d *fleetDevice) bool {
		class := d.class(&query)
		if query.Class != "" && class != query.Class {
			return true
		}
		if len(devices) == limit {
			next = devices[limit-1].Device
			return false
		}
		devices = append(devices, ledger.AnchorDevice{
			AnchorNote: d.AnchorNote, Class: class, Issuer: d.issuer, Label: d.label, NotAfter: fromMicros(d.notAfter), LastSeen: fromMicros(d.lastSeen()),
		})
		return true
	})
	if err != nil {
		return nil, "", fmt.Errorf("listing devices of a rotation: %w", err)
	}
	return devices, next, nil
}

// AnchorCount implements ledger.Rotations.
func (s *Store) AnchorCount(ctx context.Context, query ledger.AnchorQuery) (map[ledger.AnchorClass]int, error) {
	query.After = ""
	counts := map[ledger.AnchorClass]int{}
	err := s.fleet(ctx, query, func(d *fleetDevice) bool {
		counts[d.class(&query)]++
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("counting devices of a rotation: %w", err)
	}
	return counts, nil
}

// fleet calls each for the devices of a query, in the order of their names, until it
// returns false.
func (s *Store) fleet(ctx context.Context, query ledger.AnchorQuery, each func(*fleetDevice) bool) error {
	if err := checkFleet(&query); err != nil {
		return err
	}
	if !slices.ContainsFunc(append(slices.Clone(query.Issuers), query.New), func(name string) bool { return name != "" }) {
		return nil // a root with nothing below it: nobody has to move
	}
	after := query.After
	for {
		page, last, err := s.fleetPage(ctx, &query, after)
		if err != nil {
			return err
		}
		for i := range page {
			if !each(&page[i]) {
				return nil
			}
		}
		if last == "" {
			return nil
		}
		after = last
	}
}

// fleetPage reads the devices after a name. last is the name from where to go on, empty
// at the end.
func (s *Store) fleetPage(ctx context.Context, q *ledger.AnchorQuery, after string) (page []fleetDevice, last string, err error) {
	text, args := selectFleet(q, after, devicesInPage)
	page, err = list(ctx, s, "reading devices", scanFleet, text, args)
	if err != nil {
		return nil, "", err
	}
	if len(page) == devicesInPage {
		last = page[devicesInPage-1].Device
	}
	text, args = selectGateways(q, after, last)
	gateways, err := list(ctx, s, "reading gateways", scanGateway, text, args)
	if err != nil || len(gateways) == 0 {
		return page, last, err
	}
	return mergeGateways(q, page, gateways), last, nil
}

// fleetIssuers is the list of the CAs of a query.
func (c *conditions) fleetIssuers(q *ledger.AnchorQuery) string {
	var all []string
	for _, name := range append(slices.Clone(q.Issuers), q.New) {
		if name != "" {
			all = append(all, c.value(name))
		}
	}
	return `(` + strings.Join(all, ", ") + `)`
}

// selectFleet writes the query of a page of devices with a certificate of their own. One
// whose current certificate is by another CA is looked at closer.
func selectFleet(q *ledger.AnchorQuery, after string, limit int) (string, []any) {
	var c conditions
	rotation, from, issuers := c.value(q.Rotation), c.value(after), c.fleetIssuers(q)
	now := c.value(micros(q.Now))
	newest := `(SELECT x.serial FROM certificates x WHERE x.device = d.id AND x.device <> '' AND x.purpose = 'device' AND x.state = 'valid' AND x.issuer IN ` + issuers + `
	ORDER BY x.issued_at DESC, x.serial DESC LIMIT 1)`
	// One certificate may end after a newer one: it matters once that is over.
	latest := `CASE WHEN COALESCE(c.not_after, k.not_after) >= ` + now + ` OR d.certificates = 1 THEN COALESCE(c.not_after, k.not_after)
	ELSE (SELECT max(y.not_after) FROM certificates y WHERE y.device = d.id AND y.device <> '' AND y.purpose = 'device' AND y.state = 'valid' AND y.issuer IN ` + issuers + `) END`
	// The issuer is hidden in an expression, or SQLite would look for the certificate by
	// each of the issuers.
	return `SELECT d.id, d.certificates, d.last_issued, COALESCE(c.issuer, k.issuer), COALESCE(c.label, k.label), COALESCE(c.not_after, k.not_after), ` + latest + `,
	CASE WHEN a.trusts > 0 AND d.last_issued > a.trusts OR a.chains > 0 AND d.last_issued > a.chains THEN ` + sqlBegan("d.id") + ` END,
	a.device, a.trusts, a.how, a.chains, a.waived, a.waived_by, a.why
	FROM devices d
	LEFT JOIN certificates c ON c.serial = d.current_serial AND c.issuer || '' IN ` + issuers + `
	LEFT JOIN certificates k ON c.serial IS NULL AND k.serial = CASE WHEN c.serial IS NULL THEN ` + newest + ` END
	LEFT JOIN anchors a ON a.rotation = ` + rotation + ` AND a.device = d.id
	WHERE d.id > ` + from + ` AND d.certificates > 0 AND (c.serial IS NOT NULL OR k.serial IS NOT NULL)
	ORDER BY d.id LIMIT ` + c.value(limit), c.args
}

func scanFleet(row row) (fleetDevice, error) {
	var d fleetDevice
	var id string
	var began sql.NullInt64
	var note storedNote
	err := row.Scan(append([]any{&id, &d.certificates, &d.lastIssued, &d.issuer, &d.label, &d.notAfter, &d.lastNotAfter, &began}, note.into()...)...)
	d.AnchorNote = since(note.note(), began.Int64)
	d.Device = id
	return d, err
}

// gatewayRow is a CA certificate of a gateway, with what is noted of the device.
type gatewayRow struct {
	fleetDevice
	serial   []byte
	counts   bool // not revoked, and by one of the CAs in question
	issuedAt int64
}

// selectGateways writes the query of the CA certificates of gateways from after a device
// up to another one, or to the end.
func selectGateways(q *ledger.AnchorQuery, after, last string) (string, []any) {
	var c conditions
	rotation, issuers := c.value(q.Rotation), c.fleetIssuers(q)
	c.and("g.purpose = 'gateway' AND g.state IN ('valid', 'revoked') AND g.device >", after)
	if last != "" {
		c.and("g.device <=", last)
	}
	return `SELECT g.device, g.serial, CASE WHEN g.state = 'valid' AND g.issuer IN ` + issuers + ` THEN 1 ELSE 0 END, g.issuer, g.label, g.not_after, g.issued_at,
	COALESCE(d.certificates, 0), COALESCE(d.last_issued, 0), CASE WHEN a.device IS NOT NULL THEN ` + sqlBegan("g.device") + ` END, a.device, a.trusts, a.how, a.chains, a.waived, a.waived_by, a.why
	FROM certificates g LEFT JOIN devices d ON d.id = g.device LEFT JOIN anchors a ON a.rotation = ` + rotation + ` AND a.device = g.device` +
		c.text() + ` ORDER BY g.device, g.serial`, c.args
}

func scanGateway(row row) (gatewayRow, error) {
	var g gatewayRow
	var id string
	var counts int64
	var began sql.NullInt64
	var note storedNote
	err := row.Scan(append([]any{&id, &g.serial, &counts, &g.issuer, &g.label, &g.notAfter, &g.issuedAt, &g.certificates, &g.lastIssued, &began}, note.into()...)...)
	g.AnchorNote = since(note.note(), began.Int64)
	g.Device, g.counts = id, counts != 0
	return g, err
}

// mergeGateways adds CA certificates of gateways to a page of devices. A gateway that has
// a certificate of its own as well has moved when both have: of the newest of each, the one
// by the CA that is replaced stands for the device.
func mergeGateways(q *ledger.AnchorQuery, page []fleetDevice, gateways []gatewayRow) []fleetDevice {
	for _, of := range groupByDevice(gateways) {
		var g fleetDevice
		var newest *gatewayRow
		for i := range of {
			r := &of[i]
			g.lastIssued = max(g.lastIssued, r.issuedAt)
			if !r.counts {
				continue
			}
			g.lastNotAfter = max(g.lastNotAfter, r.notAfter)
			if newest == nil || cmp.Or(cmp.Compare(r.issuedAt, newest.issuedAt), slices.Compare(r.serial, newest.serial)) > 0 {
				newest = r
			}
		}
		at, known := slices.BinarySearchFunc(page, of[0].Device, func(d fleetDevice, id string) int { return cmp.Compare(d.Device, id) })
		switch {
		case known:
			d := &page[at]
			own := d.lastIssued
			d.certificates += int64(len(of))
			d.lastIssued = max(own, g.lastIssued)
			if newest == nil {
				continue
			}
			d.lastNotAfter = max(d.lastNotAfter, g.lastNotAfter)
			if left := q.New != "" && d.issuer != q.New; !left && (q.New != "" || newest.issuedAt > own) {
				d.issuer, d.label, d.notAfter = newest.issuer, newest.label, newest.notAfter
			}
		case newest != nil:
			g.AnchorNote, g.issuer, g.label, g.notAfter = newest.AnchorNote, newest.issuer, newest.label, newest.notAfter
			g.certificates = newest.certificates + int64(len(of))
			g.lastIssued = max(g.lastIssued, newest.lastIssued)
			page = slices.Insert(page, at, g)
		}
	}
	return page
}

// groupByDevice divides rows that are sorted by device.
func groupByDevice(rows []gatewayRow) (groups [][]gatewayRow) {
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].Device == rows[0].Device {
			n++
		}
		groups, rows = append(groups, rows[:n]), rows[n:]
	}
	return groups
}
