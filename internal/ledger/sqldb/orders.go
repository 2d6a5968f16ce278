package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

const (
	// The quota of an order is one number in its row, so that two servers that
	// take its last unit wait for each other there.
	sqlTakeUnit = `UPDATE orders SET taken = taken + 1
	WHERE id = $1 AND state = 'open' AND not_before <= $2 AND not_after > $2 AND taken < quantity`
	sqlReturnUnit = `UPDATE orders SET taken = taken - 1 WHERE id = $1`
	// What a void serial gives back; claims have cost nothing.
	sqlReturnUnitOf = `UPDATE orders SET taken = taken - 1
	WHERE id = (SELECT order_id FROM certificates WHERE serial = $1 AND purpose = 'device' AND order_id <> '')`

	// Without order_id <> '' the index of open intents is used, of which there
	// are few, and not the order's, which may have a million certificates.
	sqlOpenUnder = `SELECT serial FROM certificates WHERE state = 'open' AND state <> 'valid' AND order_id = $1`
	sqlOpenUnits = `SELECT count(*) FROM certificates WHERE state = 'open' AND state <> 'valid' AND order_id = $1 AND purpose = 'device'`

	sqlCreateOrder = `INSERT INTO orders (id, product, profile, label, station, quantity, ranges, listed, networks, not_before, not_after, secret, state, created_at, created_by)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'open', $13, $14) ON CONFLICT (id) DO NOTHING`
	sqlChangeOrder = `UPDATE orders SET quantity = $2, not_after = $3, secret = $4, state = $5, changed_at = $6, changed_by = $7 WHERE id = $1`

	orderColumns = `SELECT id, product, profile, label, station, quantity, ranges, listed, networks, not_before, not_after, secret, state,
	created_at, created_by, changed_at, changed_by, taken FROM orders`
	sqlOrder = orderColumns + ` WHERE id = $1`

	// Certificates are what is taken and not open: one statement, for both to
	// be of the same moment.
	sqlUsage = `SELECT o.quantity, o.taken, (SELECT count(*) FROM certificates c
	WHERE c.state = 'open' AND c.state <> 'valid' AND c.order_id = o.id AND c.purpose = 'device') FROM orders o WHERE o.id = $1`
	// Serial numbers are in the order of issuance to within seconds.
	sqlLastUnder = `SELECT COALESCE(max(n.issued_at), 0) FROM (SELECT issued_at FROM certificates
	WHERE order_id <> '' AND order_id = $1 AND purpose = 'device' AND issued_at > 0 ORDER BY serial DESC LIMIT 100) n`
	sqlRefusedUnder = `SELECT rule, count(*) FROM refusals WHERE order_id <> '' AND order_id = $1 GROUP BY rule`
)

// takeUnit takes a unit of an order's quota or says why there is none; the
// second error is the database's.
func (t *tx) takeUnit(id string, now time.Time) (refusal, err error) {
	n, err := t.exec(sqlTakeUnit, id, micros(now))
	if n == 1 || err != nil {
		return nil, err
	}
	order, err := t.order(id)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return &ledger.OrderError{Order: id, Why: "unknown"}, nil
	case err != nil:
		return nil, err
	case order.State != ledger.OrderOpen:
		return &ledger.OrderError{Order: id, Why: string(order.State)}, nil
	case now.Before(order.NotBefore):
		return &ledger.OrderError{Order: id, Why: "early"}, nil
	case !now.Before(order.NotAfter):
		return &ledger.OrderError{Order: id, Why: "expired"}, nil
	}
	open := 0
	if err := t.query(sqlOpenUnits, scanInto(&open), id); err != nil {
		return nil, err
	}
	if open > 0 {
		return &ledger.OrderError{Order: id, Why: "in-flight"}, nil
	}
	return &ledger.OrderError{Order: id, Why: "exhausted"}, nil
}

// CreateOrder implements ledger.Orders. The order is open and nothing of it is
// taken, whatever the record says.
func (s *Store) CreateOrder(ctx context.Context, order ledger.Order, tasks ...ledger.Task) error {
	ranges, networks, err := checkOrder(&order)
	if err == nil {
		err = checkNames(order.ID, order.Product, order.Profile, order.Label, order.Station)
	}
	if err != nil {
		return fmt.Errorf("creating work order %q: %w", order.ID, err)
	}
	order.State, order.Taken = ledger.OrderOpen, 0
	order.ChangedAt, order.ChangedBy = time.Time{}, ""
	o := &op{items: 1, locks: []string{"order:" + order.ID}}
	o.run = func(t *tx) error {
		n, err := t.exec(sqlCreateOrder, order.ID, order.Product, order.Profile, order.Label, order.Station, order.Quantity, ranges, zeroOrOne(order.Listed), networks,
			micros(order.NotBefore), micros(order.NotAfter), hashOrNull(order.Secret), micros(order.CreatedAt), clean(order.CreatedBy))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("there is one of that name: %w", ledger.ErrTaken)
		}
		t.record(ledger.Event{Kind: ledger.EventOrder, At: order.CreatedAt, Order: &order})
		return t.enqueue(tasks, order.CreatedAt)
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("creating work order %q: %w", order.ID, err)
	}
	return nil
}

// checkOrder says what a work order lacks, and writes its lists as JSON: the
// same in all dialects, and never searched.
func checkOrder(order *ledger.Order) (ranges, networks string, err error) {
	switch {
	case order.ID == "" || order.Profile == "":
		return "", "", errors.New("it has no name or no profile")
	case order.Quantity < 1:
		return "", "", fmt.Errorf("a quantity of %d", order.Quantity)
	case order.NotBefore.IsZero() || !order.NotAfter.After(order.NotBefore):
		return "", "", errors.New("its window has no beginning or ends before it begins")
	case order.CreatedAt.IsZero():
		return "", "", errors.New("it has no time of creation")
	}
	r, err := json.Marshal(order.Ranges)
	if err != nil {
		return "", "", err
	}
	n, err := json.Marshal(order.Networks)
	return string(r), string(n), err
}

// Order implements ledger.Orders.
func (s *Store) Order(ctx context.Context, id string) (ledger.Order, error) {
	order, err := scanOrder(s.readers.QueryRowContext(ctx, sqlOrder, id))
	if err != nil {
		return ledger.Order{}, reading(fmt.Sprintf("work order %q", id), err)
	}
	return order, nil
}

// order reads one inside the transaction.
func (t *tx) order(id string) (order ledger.Order, err error) {
	err = t.query(sqlOrder, func(rows *sql.Rows) (err error) {
		order, err = scanOrder(rows)
		return err
	}, id)
	if err == nil && order.ID == "" {
		err = fmt.Errorf("work order %q: %w", id, ledger.ErrNotFound)
	}
	return order, err
}

func scanOrder(r row) (ledger.Order, error) {
	var o ledger.Order
	var ranges, networks string
	var secret []byte
	var listed, notBefore, notAfter, created, changed int64
	err := r.Scan(&o.ID, &o.Product, &o.Profile, &o.Label, &o.Station, &o.Quantity, &ranges, &listed, &networks, &notBefore, &notAfter, &secret, &o.State,
		&created, &o.CreatedBy, &changed, &o.ChangedBy, &o.Taken)
	if err != nil {
		return ledger.Order{}, err
	}
	if err := errors.Join(json.Unmarshal([]byte(ranges), &o.Ranges), json.Unmarshal([]byte(networks), &o.Networks)); err != nil {
		return ledger.Order{}, fmt.Errorf("ranges and networks of work order %q: %w", o.ID, err)
	}
	copy(o.Secret[:], secret)
	o.Listed = listed == 1
	o.NotBefore, o.NotAfter = fromMicros(notBefore), fromMicros(notAfter)
	o.CreatedAt, o.ChangedAt = fromMicros(created), fromMicros(changed)
	return o, nil
}

// Orders implements ledger.Orders.
func (s *Store) Orders(ctx context.Context, query ledger.OrderQuery) ([]ledger.Order, error) {
	var c conditions
	c.and("id >", query.After)
	if query.State != "" {
		c.and("state =", string(query.State))
	}
	if query.Product != "" {
		c.and("product =", query.Product)
	}
	if query.Station != "" {
		c.and("station =", query.Station)
	}
	return list(ctx, s, "listing work orders", scanOrder, orderColumns+c.text()+` ORDER BY id`+c.limit(query.Limit), c.args)
}

// ChangeOrder implements ledger.Orders. Of an order that is not open nothing
// can be changed any more.
func (s *Store) ChangeOrder(ctx context.Context, id string, change ledger.OrderChange, actor string, now time.Time, tasks ...ledger.Task) (ledger.Order, error) {
	if checkNames(id) != nil {
		return ledger.Order{}, fmt.Errorf("changing work order %q: %w", id, ledger.ErrNotFound)
	}
	var order ledger.Order
	o := &op{items: 1, locks: []string{"order:" + id}}
	o.run = func(t *tx) (err error) {
		if order, err = t.order(id); err != nil {
			return err
		}
		kill := change.State != nil && *change.State == ledger.OrderKilled
		if order.State != ledger.OrderOpen && !(kill && order.State == ledger.OrderClosed) {
			return &ledger.OrderError{Order: id, Why: string(order.State)}
		}
		if err := applyChange(&order, change); err != nil {
			return err
		}
		// Changes are in the order of their times, whatever the clocks say: so a
		// rebuild finds the last one.
		at := micros(now)
		if last := micros(order.ChangedAt); at < last {
			at = last + 1
		}
		order.ChangedAt, order.ChangedBy = fromMicros(at), actor
		if _, err := t.exec(sqlChangeOrder, id, order.Quantity, micros(order.NotAfter), hashOrNull(order.Secret), string(order.State), at, clean(actor)); err != nil {
			return err
		}
		if kill {
			if _, err := t.voidAll(now, sqlOpenUnder, id); err != nil {
				return err
			}
			if order, err = t.order(id); err != nil {
				return err
			}
		}
		logged := order
		logged.Taken = 0 // follows from the other events
		t.record(ledger.Event{Kind: ledger.EventOrder, At: now, Order: &logged})
		return t.enqueue(tasks, now)
	}
	if err := s.write(ctx, o); err != nil {
		return ledger.Order{}, fmt.Errorf("changing work order: %w", err)
	}
	return order, nil
}

// applyChange changes an open or closed order or says why not.
func applyChange(order *ledger.Order, change ledger.OrderChange) error {
	if q := change.Quantity; q != nil {
		if *q < 1 {
			return fmt.Errorf("a quantity of %d", *q)
		}
		if *q < order.Taken {
			return &ledger.OrderError{Order: order.ID, Why: "exhausted"}
		}
		order.Quantity = *q
	}
	if end := change.NotAfter; end != nil {
		if !end.After(order.NotBefore) {
			return errors.New("its window would end before it begins")
		}
		order.NotAfter = fromMicros(micros(*end))
	}
	if change.Secret != nil {
		order.Secret = *change.Secret
	}
	if state := change.State; state != nil {
		switch *state {
		case ledger.OrderOpen, ledger.OrderClosed, ledger.OrderKilled:
			order.State = *state
		default:
			return fmt.Errorf("there is no state %q of work orders", *state)
		}
	}
	return nil
}

// OrderUsage implements ledger.Orders.
func (s *Store) OrderUsage(ctx context.Context, id string) (ledger.OrderUsage, error) {
	var u ledger.OrderUsage
	var quantity, taken int
	if err := s.readers.QueryRowContext(ctx, sqlUsage, id).Scan(&quantity, &taken, &u.Open); err != nil {
		return ledger.OrderUsage{}, reading(fmt.Sprintf("work order %q", id), err)
	}
	u.Issued, u.Left = taken-u.Open, quantity-taken
	var last int64
	if err := s.readers.QueryRowContext(ctx, sqlLastUnder, id).Scan(&last); err != nil {
		return ledger.OrderUsage{}, reading(fmt.Sprintf("work order %q", id), err)
	}
	u.Last = fromMicros(last)
	var err error
	u.Refused, err = s.counts(ctx, "counting refusals", sqlRefusedUnder, id)
	return u, err
}
