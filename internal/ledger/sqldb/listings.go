package sqldb

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"mintmark/internal/ledger"
)

// rowsAtOnce is how many devices a statement names. More would cost more: what
// SQLite's driver does for a parameter grows with their number.
const rowsAtOnce = 16

// Bounds of a listing, in bytes: an index entry must fit on a page of every
// database.
const (
	maxListed = 256  // identifier, work order, product
	maxValue  = 1000 // a field's value
	// maxStaged bounds the rows that are staged at once, in bytes. They are one
	// record of the issuance log, where a byte may take six.
	maxStaged = 2 << 20
)

var (
	// What is known of the devices of some rows. The identifiers that are
	// left over repeat the last one.
	sqlListedDevices = `SELECT d.id, d.import_id, d.import_row, d.order_id, d.product, d.spki, d.fields, COALESCE(i.state, ''), COALESCE(i.file, '')
	FROM devices d LEFT JOIN imports i ON i.id = d.import_id WHERE d.id IN ` + tuple(1, rowsAtOnce)
	sqlListedRows = `SELECT l.device, l.import_id, l.import_row, i.state, i.file FROM listings l JOIN imports i ON i.id = l.import_id
	WHERE l.device IN ` + tuple(1, rowsAtOnce)
)

var (
	// A device that has certificates or is held, and is in no list, is listed
	// where it stands.
	listDevices = newManyRows(6, rowsAtOnce, `INSERT INTO devices (import_id, id, import_row, order_id, product, spki, fields, first_seen, last_issued, certificates) VALUES `, `, 0, 0, 0`, `
	ON CONFLICT (id) DO UPDATE SET import_id = excluded.import_id, import_row = excluded.import_row, order_id = excluded.order_id,
	product = excluded.product, spki = excluded.spki, fields = excluded.fields WHERE devices.import_id = ''`)
	stageRows = newManyRows(7, rowsAtOnce, `INSERT INTO listings (import_id, device, import_row, known, order_id, product, spki, fields) VALUES `, ``, `
	ON CONFLICT (device) DO UPDATE SET import_id = excluded.import_id, import_row = excluded.import_row, known = excluded.known,
	order_id = excluded.order_id, product = excluded.product, spki = excluded.spki, fields = excluded.fields`)
	insertFields = newManyRows(2, 2*rowsAtOnce, `INSERT INTO device_fields (run, value, device) VALUES `, ``, ` ON CONFLICT (run, value, device) DO NOTHING`)
)

// manyRows inserts rows in many to a statement, which costs half of one to a
// statement. All rows begin with the same value; width counts the others. There
// are two statements only, for each is kept prepared.
type manyRows struct {
	width, most int
	one, many   string
}

func newManyRows(width, most int, begin, constants, end string) manyRows {
	text := func(rows int) string { return begin + tuples(rows, width, constants) + end }
	return manyRows{width, most, text(1), text(most)}
}

// insert inserts rows, given as what they begin with and then one value after
// the other, and returns how many were inserted or changed.
func (t *tx) insert(m manyRows, first any, values []any) (count int64, err error) {
	args := make([]any, 0, 1+m.most*m.width)
	for len(values) > 0 {
		text, n := m.one, m.width
		if len(values) >= m.most*m.width {
			text, n = m.many, m.most*m.width
		}
		changed, err := t.exec(text, append(append(args, first), values[:n]...)...)
		if err != nil {
			return 0, err
		}
		count, values = count+changed, values[n:]
	}
	return count, nil
}

// tuple is ($first, ..., $first+n-1).
func tuple(first, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ", $%d", first+i)
	}
	return "(" + b.String()[2:] + ")"
}

// tuples are rows of $1 and n values of their own each, and what all of them
// end with.
func tuples(rows, n int, end string) string {
	all := make([]string, rows)
	for i := range all {
		all[i] = "($1, " + strings.TrimSuffix(strings.TrimPrefix(tuple(2+i*n, n), "("), ")") + end + ")"
	}
	return strings.Join(all, ", ")
}

// listing is a row of a device list as it is stored.
type listing struct {
	ledger.Listing
	key    []byte
	fields string // JSON
}

// StageDevices implements ledger.Inventory.
func (s *Store) StageDevices(ctx context.Context, id string, rows []ledger.Listing) error {
	if len(rows) == 0 {
		return nil
	}
	listings, err := checkListings(rows)
	if err != nil {
		return fmt.Errorf("staging devices: %w", err)
	}
	o := &op{items: len(rows), locks: importLocks}
	o.run = func(t *tx) error {
		i, err := t.importOf(id)
		if err != nil {
			return err
		}
		if i.state != "open" {
			return notOpen(i.state)
		}
		if err := t.stage(&i, listings); err != nil {
			return err
		}
		logged := make([]ledger.Listing, len(listings))
		for n := range listings {
			logged[n] = listings[n].Listing
		}
		t.record(ledger.Event{Kind: ledger.EventListing, At: s.cfg.Now(), Listing: &ledger.Listings{Import: id, Rows: logged}})
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("staging devices of import %q: %w", id, err)
	}
	return nil
}

// checkListings says what is wrong with rows in themselves. The result shares
// nothing with them that the caller may change, its maps apart.
func checkListings(rows []ledger.Listing) ([]listing, error) {
	if len(rows) > 1000 {
		return nil, fmt.Errorf("%d rows at once, at most 1000 are taken", len(rows))
	}
	size := 0
	earlier := make(map[string]int, len(rows))
	all := make([]listing, len(rows))
	for n, r := range rows {
		refuse := func(format string, args ...any) error {
			return &ledger.RowError{Row: r.Row, Device: r.Device, Reason: fmt.Sprintf(format, args...)}
		}
		if r.Device == "" {
			return nil, refuse("it names no device")
		}
		for _, text := range []string{r.Device, r.Order, r.Product} {
			if err := checkText(text, maxListed); err != nil {
				return nil, refuse("%q %v", text, err)
			}
		}
		for name, value := range r.Fields {
			if err := errors.Join(checkText(name, maxListed), checkText(value, maxValue)); err != nil {
				return nil, refuse("field %q %v", name, err)
			}
		}
		if row, ok := earlier[r.Device]; ok {
			return nil, refuse("it is in row %d already", row)
		}
		earlier[r.Device] = r.Row
		fields, err := writeFields(r.Fields)
		if err != nil {
			return nil, err
		}
		all[n] = listing{Listing: r, key: hashOrNull(r.Key), fields: fields}
		if size += r.Size(); size > maxStaged {
			return nil, fmt.Errorf("more than %d bytes at once", maxStaged)
		}
	}
	return all, nil
}

// checkText says why a text cannot be stored and searched in every database.
func checkText(text string, most int) error {
	switch {
	case len(text) > most:
		return fmt.Errorf("has %d bytes, at most %d are kept", len(text), most)
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return errors.New("is not UTF-8 text")
	}
	return nil
}

// stage writes rows of an import. It refuses before it writes anything.
func (t *tx) stage(i *storedImport, rows []listing) error {
	fresh := make([]*listing, 0, len(rows))
	var known, changed []*listing
	var left []*listedDevice // of dropped imports
	for part := range slices.Chunk(rows, rowsAtOnce) {
		listed, err := t.listedDevices(part)
		if err != nil {
			return err
		}
		waiting := map[string]waitingRow{}
		if len(listed) > 0 {
			if waiting, err = t.waitingRows(part); err != nil {
				return err
			}
		}
		for n := range part {
			l := &part[n]
			d, ok := listed[l.Device]
			switch {
			case !ok:
				fresh = append(fresh, l)
				continue
			case unfinished(d.state):
				return l.twice(i, d.importID, d.file, d.Row)
			case d.state != "committed":
				fresh = append(fresh, l)
				if d.importID != "" {
					left = append(left, &d)
				}
				continue
			}
			if w, ok := waiting[l.Device]; ok && unfinished(w.state) {
				return l.twice(i, w.importID, w.file, w.row)
			}
			what := d.differs(l)
			switch {
			case what == "":
				known = append(known, l)
			case !i.Update:
				return &ledger.RowError{Row: l.Row, Device: l.Device, Reason: "it is listed otherwise: " + what + "; import the list with update to change that"}
			case i.changed+len(changed) == maxChanged:
				return &ledger.RowError{Row: l.Row, Device: l.Device, Reason: fmt.Sprintf("it is listed otherwise: %s; one import can change %d devices, divide the list", what, maxChanged)}
			default:
				changed = append(changed, l)
			}
		}
	}
	for _, d := range left {
		if err := t.dropFields(d.Device, d.fields); err != nil {
			return err
		}
		if _, err := t.exec(sqlUnlistDevice, d.Device); err != nil {
			return err
		}
	}
	if err := t.list(i.ID, fresh); err != nil {
		return err
	}
	if err := t.stageRows(i.ID, known, changed); err != nil {
		return err
	}
	n, err := t.exec(sqlStaged, i.ID, len(rows), len(fresh), len(changed), len(known)+len(changed))
	if err == nil && n == 0 {
		err = errRaced
	}
	return err
}

// twice refuses a row whose device is in an open import.
func (l *listing) twice(i *storedImport, other, file string, row int) error {
	reason := fmt.Sprintf("it is in row %d already", row)
	if other != i.ID {
		reason = fmt.Sprintf("it is in row %d of the list %q, which is being imported; wait for that import %s, or drop it", row, file, other)
	}
	return &ledger.RowError{Row: l.Row, Device: l.Device, Reason: reason}
}

// listedDevice is what is known of a device that a row names.
type listedDevice struct {
	listing
	importID    string
	state, file string // the import's
}

// differs says in words where a row says something else than what is listed.
func (d *listedDevice) differs(l *listing) string {
	var all []string
	add := func(what, has, says string) {
		if has != says {
			all = append(all, fmt.Sprintf("%s is %q, the row says %q", what, has, says))
		}
	}
	add("work order", d.Order, l.Order)
	add("product", d.Product, l.Product)
	if !bytes.Equal(d.key, l.key) {
		add("key", fmt.Sprintf("%x", d.key), fmt.Sprintf("%x", l.key))
	}
	if d.fields != l.fields {
		has, _ := readFields(d.fields)
		var names []string
		for name := range has {
			names = append(names, name)
		}
		for name := range l.Fields {
			if _, ok := has[name]; !ok {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			add(name, has[name], l.Fields[name])
		}
		if len(all) == 0 {
			all = append(all, "its fields have other names")
		}
	}
	return strings.Join(all, ", ")
}

// devicesOf are the parameters of a query for the devices of some rows.
func devicesOf(rows []listing) []any {
	args := make([]any, rowsAtOnce)
	for n := range args {
		args[n] = rows[min(n, len(rows)-1)].Device
	}
	return args
}

func (t *tx) listedDevices(rows []listing) (map[string]listedDevice, error) {
	var all map[string]listedDevice
	err := t.query(sqlListedDevices, func(r *sql.Rows) error {
		var d listedDevice
		err := r.Scan(&d.Device, &d.importID, &d.Row, &d.Order, &d.Product, &d.key, &d.fields, &d.state, &d.file)
		if all == nil {
			all = map[string]listedDevice{}
		}
		all[d.Device] = d
		return err
	}, devicesOf(rows)...)
	return all, err
}

// waitingRow is a row about a listed device that waits for its import.
type waitingRow struct {
	importID    string
	row         int
	state, file string // the import's
}

func (t *tx) waitingRows(rows []listing) (map[string]waitingRow, error) {
	all := map[string]waitingRow{}
	err := t.query(sqlListedRows, func(r *sql.Rows) error {
		var device string
		var w waitingRow
		err := r.Scan(&device, &w.importID, &w.row, &w.state, &w.file)
		all[device] = w
		return err
	}, devicesOf(rows)...)
	return all, err
}

// list inserts devices that are not listed yet, in the order of identifiers, so
// that neighbours go on one page. Their fields follow when the import is
// committed.
func (t *tx) list(id string, rows []*listing) error {
	slices.SortFunc(rows, func(a, b *listing) int { return cmp.Compare(a.Device, b.Device) })
	values := make([]any, 0, listDevices.width*len(rows))
	for _, l := range rows {
		values = append(values, l.Device, l.Row, l.Order, l.Product, l.key, l.fields)
	}
	n, err := t.insert(listDevices, id, values)
	if err == nil && int(n) != len(rows) {
		err = errRaced
	}
	return err
}

// stageRows inserts rows about devices that are listed. Of those that say what
// is listed, it is enough to know that they were there.
func (t *tx) stageRows(id string, known, changed []*listing) error {
	values := make([]any, 0, stageRows.width*(len(known)+len(changed)))
	for _, l := range known {
		values = append(values, l.Device, l.Row, 1, "", "", []byte(nil), "")
	}
	for _, l := range changed {
		values = append(values, l.Device, l.Row, 0, l.Order, l.Product, l.key, l.fields)
	}
	_, err := t.insert(stageRows, id, values)
	return err
}
