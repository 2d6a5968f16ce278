package sqldb

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

func checkSelector(s ledger.Selector) error {
	named := 0
	for _, set := range []bool{s.Serial != "", s.Device != "", s.Order != "", s.Issuer != "", s.Key != [32]byte{}, s.Requester != ""} {
		if set {
			named++
		}
	}
	switch {
	case named != 1:
		return errors.New("name either a serial number, a device, a work order, an issuer, a key or a requester")
	case s.RequesterKind != "" && s.Requester == "":
		return errors.New("a kind of requester is named without a requester")
	case s.Superseded && s.Issuer == "":
		return errors.New("what is superseded is selected by its issuer")
	case checkNames(s.Device, s.Order, s.Issuer, s.Requester, s.RequesterKind) != nil:
		return fmt.Errorf("nothing can have that name: %w", ledger.ErrNotFound)
	case s.Most < 0 || s.Limit < 0:
		return fmt.Errorf("at most %d certificates, %d at a time", s.Most, s.Limit)
	}
	if s.After != "" {
		if _, err := serialBytes(s.After); err != nil {
			return err
		}
	}
	return nil
}

// selectValid writes the condition of what a selector names, Limit and After left out. The
// certificates of CAs and their OCSP responders are no part of it: with a CA goes everything
// below it, and that takes two persons, who name the certificate.
func (c *conditions) selectValid(s ledger.Selector, now time.Time) {
	c.selectNamed(s)
	c.where = append(c.where, `c.state = 'valid'`, `c.purpose NOT IN ('ca', 'responder')`)
	if s.Superseded {
		at := c.value(micros(now))
		c.where = append(c.where, `c.device <> '' AND EXISTS (SELECT 1 FROM certificates n WHERE n.device = c.device AND n.device <> '' AND n.purpose = c.purpose
	AND n.state = 'valid' AND n.issuer <> c.issuer AND n.issued_at > c.issued_at AND n.not_before <= `+at+` AND n.not_after >= `+at+`)`)
	}
}

// selectNamed writes the condition of what a selector names, of any purpose and state.
func (c *conditions) selectNamed(s ledger.Selector) {
	switch {
	case s.Device != "":
		c.and("c.device <> '' AND c.device =", s.Device)
	case s.Order != "":
		c.and("c.order_id <> '' AND c.order_id =", s.Order)
	case s.Key != [32]byte{}:
		c.and("c.spki =", s.Key[:])
	case s.Requester != "":
		c.and("c.requester =", s.Requester)
		if s.RequesterKind != "" {
			c.and("c.requester_kind =", s.RequesterKind)
		}
	case s.Issuer != "":
		c.and("c.issuer =", s.Issuer)
	}
}

// selectSerials writes the query of the serial numbers that a selector names.
func selectSerials(s ledger.Selector, now time.Time) (string, []any) {
	var c conditions
	c.selectValid(s, now)
	if s.After != "" {
		after, _ := serialBytes(s.After) // checkSelector has read it
		c.and("c.serial >", after)
	}
	text := `SELECT c.serial FROM certificates c` + c.text() + ` ORDER BY c.serial`
	if s.Limit > 0 {
		text += ` LIMIT ` + c.value(s.Limit)
	}
	return text, c.args
}

// selectCount writes the query of how many a selector names in all.
func selectCount(s ledger.Selector, now time.Time) (string, []any) {
	var c conditions
	c.selectValid(s, now)
	return `SELECT count(*) FROM certificates c` + c.text(), c.args
}

// selected finds the valid certificates that a selector names, as many as this call is to
// revoke.
func (t *tx) selected(s ledger.Selector, now time.Time) (serials [][]byte, err error) {
	if s.Serial != "" {
		return t.selectedOne(s)
	}
	if s.Most > 0 {
		count := 0
		text, args := selectCount(s, now)
		if err := t.query(text, scanInto(&count), args...); err != nil {
			return nil, err
		}
		if count > s.Most {
			return nil, &ledger.TooManyError{Count: count, Most: s.Most}
		}
	}
	text, args := selectSerials(s, now)
	if t.forUpdate != "" {
		text += t.forUpdate + ` OF c`
	}
	err = t.query(text, func(rows *sql.Rows) error {
		var serial []byte
		err := rows.Scan(&serial)
		serials = append(serials, serial)
		return err
	}, args...)
	if err != nil || len(serials) > 0 || s.After != "" {
		return serials, err
	}
	if err := t.known(s); err != nil {
		return nil, err
	}
	return nil, t.spared(s)
}

// spared returns ErrAuthorities if what a selector names is nothing, and never was, but what
// it leaves out, and some of that is valid. An issuer's name is that of its subordinates,
// too, and nobody means those by it.
func (t *tx) spared(s ledger.Selector) error {
	if s.Issuer != "" {
		return nil
	}
	var c conditions
	c.selectNamed(s)
	others, valid := 0, 0
	err := t.query(`SELECT count(CASE WHEN c.purpose NOT IN ('ca', 'responder') THEN 1 END), count(CASE WHEN c.purpose IN ('ca', 'responder') AND c.state = 'valid' THEN 1 END)
	FROM certificates c`+c.text(), scanInto(&others, &valid), c.args...)
	if err != nil || others > 0 || valid == 0 {
		return err
	}
	return ledger.ErrAuthorities
}

// selectedOne finds the certificate of a serial number. A void one counts as revoked
// already; an open one is not found, for it has no certificate.
func (t *tx) selectedOne(s ledger.Selector) ([][]byte, error) {
	b, err := serialBytes(s.Serial)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ledger.ErrNotFound, err)
	}
	c, err := t.certificateFor(b, t.forUpdate)
	switch {
	case err != nil:
		return nil, err
	case c.State == ledger.Open:
		return nil, fmt.Errorf("%w: no certificate was recorded for %s yet", ledger.ErrNotFound, s.Serial)
	case c.State != ledger.Valid:
		return nil, nil
	}
	return [][]byte{b}, nil
}

const (
	sqlKnownIssuer = `SELECT count(*) FROM (SELECT 1 FROM authorities WHERE name = $1 UNION ALL
	SELECT 1 FROM (SELECT 1 FROM certificates WHERE issuer = $1 LIMIT 1) AS one) AS known`
	sqlKnownKey = `SELECT count(*) FROM (SELECT 1 FROM certificates WHERE spki = $1 LIMIT 1) AS one`
	// An empty kind is any.
	sqlKnownRequester = `SELECT count(*) FROM (SELECT 1 FROM certificates WHERE requester = $1 AND (CAST($2 AS TEXT) = '' OR requester_kind = $2) LIMIT 1) AS one`
)

// known returns ErrNotFound if nothing of what a selector names was ever there.
func (t *tx) known(s ledger.Selector) (err error) {
	n := 0
	what := ""
	switch {
	case s.Device != "":
		_, err = t.device(s.Device)
		return err
	case s.Order != "":
		_, err = t.order(s.Order)
		return err
	case s.Issuer != "":
		what = fmt.Sprintf("authority %q", s.Issuer)
		err = t.query(sqlKnownIssuer, scanInto(&n), s.Issuer)
	case s.Requester != "":
		what = fmt.Sprintf("requester %q", s.Requester)
		err = t.query(sqlKnownRequester, scanInto(&n), s.Requester, s.RequesterKind)
	default:
		what = fmt.Sprintf("key %x", s.Key[:8])
		err = t.query(sqlKnownKey, scanInto(&n), s.Key[:])
	}
	if err == nil && n == 0 {
		err = fmt.Errorf("%s: %w", what, ledger.ErrNotFound)
	}
	return err
}
