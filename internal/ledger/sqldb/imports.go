package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

// A device list is staged where it will stay: a device that is not listed yet
// gets its row marked with the import, and such a row counts from the moment
// that the row of the import says so. Only what concerns a device that is
// listed already waits in a table of its own and is merged at the commit.

const (
	sqlOpenImport = `INSERT INTO imports (id, file, actor, at, updates, server, state) VALUES ($1, $2, $3, $4, $5, $6, 'open') ON CONFLICT (id) DO NOTHING`

	importColumns  = `SELECT id, file, actor, at, updates, server, devices, added, changed, indexed, state FROM imports`
	sqlImport      = importColumns + ` WHERE id = $1`
	sqlOpenImports = importColumns + ` WHERE state IN ('open', 'committing', 'dropping') ORDER BY at, id`

	sqlStaged       = `UPDATE imports SET devices = devices + $2, added = added + $3, changed = changed + $4, unmerged = CASE WHEN $5 = 0 THEN unmerged ELSE 1 END WHERE id = $1 AND state = 'open'`
	sqlCloseImport  = `UPDATE imports SET state = 'committing', indexed = 1 WHERE id = $1 AND state = 'open'`
	sqlCommitImport = `UPDATE imports SET state = 'committed', committed_at = $2 WHERE id = $1 AND state = 'committing'`
	sqlDropImport   = `UPDATE imports SET state = 'dropping' WHERE id = $1 AND state IN ('open', 'committing')`
	sqlDropped      = `UPDATE imports SET state = 'dropped', unmerged = 0, indexed = 0 WHERE id = $1 AND state = 'dropping'`
	sqlMerged       = `UPDATE imports SET unmerged = 0 WHERE id = $1`
	sqlUnmerged     = `SELECT id FROM imports WHERE state = 'committed' AND unmerged = 1`

	sqlStagedDevices = `SELECT id, fields FROM devices WHERE import_id <> '' AND import_id = $1 ORDER BY id LIMIT $2`
	sqlDropDevice    = `DELETE FROM devices WHERE id = $1 AND first_seen = 0 AND certificates = 0 AND held = '' AND changed_at = 0`
	sqlUnlistDevice  = `UPDATE devices SET import_id = '', import_row = 0, order_id = '', product = '', spki = NULL, fields = '' WHERE id = $1`

	sqlChangedRows = `SELECT device, import_row, order_id, product, spki, fields FROM listings
	WHERE import_id = $1 AND known = 0 AND device > $2 ORDER BY device LIMIT $3`
	sqlFieldsOf = `SELECT fields FROM devices WHERE id = $1`
	sqlRelist   = `UPDATE devices SET import_id = $2, import_row = $3, order_id = $4, product = $5, spki = $6, fields = $7 WHERE id = $1`

	sqlStagedRows = `SELECT device FROM listings WHERE import_id = $1 ORDER BY known, device LIMIT $2`
	sqlDropRow    = `DELETE FROM listings WHERE device = $1 AND import_id = $2`
)

// cleanAtOnce is how many rows of an import one transaction removes: issuance
// goes on between two.
const cleanAtOnce = 500

// maxChanged is how many devices one import may list otherwise: they change in
// one transaction, which issuance waits for. Ten thousand take about a second.
const maxChanged = 10_000

// storedImport is an import as stored.
type storedImport struct {
	ledger.Import
	changed int    // devices that are listed otherwise
	indexed bool   // values of its fields may be in an index
	state   string // open, committing, committed, dropping or dropped
}

func scanImport(r row) (storedImport, error) {
	var i storedImport
	var at, updates, indexed int64
	err := r.Scan(&i.ID, &i.File, &i.Actor, &at, &updates, &i.Server, &i.Devices, &i.New, &i.changed, &indexed, &i.state)
	i.At, i.Update, i.indexed = fromMicros(at), updates == 1, indexed == 1
	return i, err
}

// importOf reads one inside the transaction; its state is empty if there is
// none.
func (t *tx) importOf(id string) (i storedImport, err error) {
	err = t.query(sqlImport, func(rows *sql.Rows) (err error) {
		i, err = scanImport(rows)
		return err
	}, id)
	return i, err
}

// unfinished reports whether the devices of an import in that state are its own:
// it may yet be in force.
func unfinished(state string) bool { return state == "open" || state == "committing" }

// notOpen is the error of whatever needs an open import.
func notOpen(state string) error {
	if state == "" {
		return ledger.ErrNotFound
	}
	return fmt.Errorf("it is %s: no such open import: %w", state, ledger.ErrNotFound)
}

// importLocks makes the writes of imports, of which there are few, wait for each
// other.
var importLocks = []string{"imports"}

// OpenImport implements ledger.Inventory.
func (s *Store) OpenImport(ctx context.Context, i ledger.Import) error {
	if i.ID == "" || i.At.IsZero() {
		return errors.New("opening import: it has no name or no time")
	}
	if err := checkNames(i.ID, i.Server); err != nil {
		return fmt.Errorf("opening import: %w", err)
	}
	i.Devices, i.New = 0, 0
	if err := s.cleanMerged(ctx); err != nil {
		return fmt.Errorf("opening import %q: %w", i.ID, err)
	}
	o := &op{items: 1, locks: importLocks}
	o.run = func(t *tx) error {
		n, err := t.exec(sqlOpenImport, i.ID, clean(i.File), clean(i.Actor), micros(i.At), zeroOrOne(i.Update), i.Server)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("there is one of that name: %w", ledger.ErrTaken)
		}
		t.record(ledger.Event{Kind: ledger.EventImport, At: i.At, Import: &i})
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("opening import %q: %w", i.ID, err)
	}
	return nil
}

// OpenImports implements ledger.Inventory. One that was cut off while it was
// being dropped is among them, and can be dropped again.
func (s *Store) OpenImports(ctx context.Context) ([]ledger.Import, error) {
	return list(ctx, s, "listing open imports", func(r row) (ledger.Import, error) {
		i, err := scanImport(r)
		i.Devices, i.New = 0, 0 // not known before it is in force
		return i.Import, err
	}, sqlOpenImports, nil)
}

// CommitImport implements ledger.Inventory. First the import is closed for
// more rows and its fields are indexed, in many transactions; the one that puts
// it in force grows with the devices whose listing changes, and with nothing
// else. An import that was cut off in between can be committed again.
func (s *Store) CommitImport(ctx context.Context, id string, now time.Time, tasks ...ledger.Task) (ledger.Import, error) {
	if now.IsZero() {
		return ledger.Import{}, fmt.Errorf("putting import %q in force: it has no time", id)
	}
	var i storedImport
	first := &op{items: 1, locks: importLocks}
	first.run = func(t *tx) (err error) {
		if i, err = t.importOf(id); err != nil {
			return err
		}
		if !unfinished(i.state) {
			return notOpen(i.state)
		}
		_, err = t.exec(sqlCloseImport, id)
		return err
	}
	err := s.write(ctx, first)
	if err == nil {
		err = s.indexFields(ctx, i)
	}
	if err == nil {
		last := &op{items: 1, locks: importLocks}
		last.run = func(t *tx) error {
			if err := t.commitImport(&i, now); err != nil {
				return err
			}
			return t.enqueue(tasks, now)
		}
		err = s.write(ctx, last)
	}
	if err != nil {
		return ledger.Import{}, fmt.Errorf("putting import %q in force: %w", id, err)
	}
	// It is in force, whatever becomes of the rows that are left of it: the
	// next import removes them.
	if err := s.cleanMerged(ctx); err != nil && s.cfg.Logger != nil {
		s.cfg.Logger.Warn("rows of a device list that is in force are left over", "import", id, "err", err)
	}
	return i.Import, nil
}

func (t *tx) commitImport(i *storedImport, now time.Time) error {
	stored, err := t.importOf(i.ID)
	if err != nil {
		return err
	}
	if stored.state != "committing" {
		return notOpen(stored.state)
	}
	if i.Update {
		if err := t.merge(i.ID); err != nil {
			return err
		}
	}
	n, err := t.exec(sqlCommitImport, i.ID, micros(now))
	if err == nil && n == 0 {
		err = errRaced
	}
	if err != nil {
		return err
	}
	logged := i.Import
	t.record(ledger.Event{Kind: ledger.EventListed, At: now, Import: &logged})
	return nil
}

// merge gives listed devices what an import says of them.
func (t *tx) merge(id string) error {
	for after := ""; ; {
		var rows []listing
		err := t.query(sqlChangedRows, func(r *sql.Rows) error {
			var l listing
			err := r.Scan(&l.Device, &l.Row, &l.Order, &l.Product, &l.key, &l.fields)
			rows = append(rows, l)
			return err
		}, id, after, cleanAtOnce)
		if err != nil || len(rows) == 0 {
			return err
		}
		for n := range rows {
			if err := t.relist(id, &rows[n]); err != nil {
				return err
			}
		}
		after = rows[len(rows)-1].Device
	}
}

// relist changes what is listed of one device.
func (t *tx) relist(id string, l *listing) error {
	old := ""
	if err := t.query(sqlFieldsOf, scanInto(&old), l.Device); err != nil {
		return err
	}
	if err := t.dropFields(l.Device, old); err != nil {
		return err
	}
	if _, err := t.exec(sqlRelist, l.Device, id, l.Row, l.Order, l.Product, l.key, l.fields); err != nil {
		return err
	}
	values, err := readFields(l.fields)
	if err != nil {
		return err
	}
	return t.putFields(commonRun, fieldsOf(nil, l.Device, values))
}

// DropImport implements ledger.Inventory. The import stops counting first; its
// rows are removed in many transactions. If ctx ends between two, it is still
// among the open imports and can be dropped again.
func (s *Store) DropImport(ctx context.Context, id string) error {
	o := &op{items: 1, locks: importLocks}
	o.run = func(t *tx) error {
		i, err := t.importOf(id)
		switch {
		case err != nil:
			return err
		case i.state == "dropping":
			return nil
		case !unfinished(i.state):
			return notOpen(i.state)
		}
		if n, err := t.exec(sqlDropImport, id); n == 0 && err == nil {
			return errRaced
		} else if err != nil {
			return err
		}
		i.Devices, i.New = 0, 0
		t.record(ledger.Event{Kind: ledger.EventUnlisted, At: s.cfg.Now(), Import: &i.Import})
		return nil
	}
	err := s.write(ctx, o)
	if err == nil {
		err = s.inParts(ctx, func(t *tx) (int, error) { return t.dropDevices(id) })
	}
	if err == nil {
		err = s.inParts(ctx, func(t *tx) (int, error) { return t.dropRows(id) })
	}
	if err == nil {
		err = s.inParts(ctx, func(t *tx) (int, error) { return t.dropRuns(id) })
	}
	if err == nil {
		last := &op{items: 1, locks: importLocks}
		last.run = func(t *tx) error {
			_, err := t.exec(sqlDropped, id)
			return err
		}
		err = s.write(ctx, last)
	}
	if err != nil {
		return fmt.Errorf("dropping import %q: %w", id, err)
	}
	return nil
}

// cleanMerged removes the rows of imports that are in force.
func (s *Store) cleanMerged(ctx context.Context) error {
	ids, err := list(ctx, s, "listing merged imports", func(r row) (id string, err error) {
		err = r.Scan(&id)
		return id, err
	}, sqlUnmerged, nil)
	for _, id := range ids {
		if err == nil {
			err = s.inParts(ctx, func(t *tx) (int, error) { return t.dropRows(id) })
		}
		if err == nil {
			o := &op{items: 1, locks: importLocks}
			o.run = func(t *tx) error {
				_, err := t.exec(sqlMerged, id)
				return err
			}
			err = s.write(ctx, o)
		}
	}
	return err
}

// inParts runs part in one transaction after the other until it has found less
// than a full one.
func (s *Store) inParts(ctx context.Context, part func(*tx) (int, error)) error {
	for found := cleanAtOnce; found == cleanAtOnce; {
		if err := ctx.Err(); err != nil {
			return err
		}
		o := &op{items: cleanAtOnce, locks: importLocks}
		o.run = func(t *tx) (err error) {
			found, err = part(t)
			return err
		}
		if err := s.write(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// dropDevices removes some devices of a dropped import, or only what the import
// has said of them.
func (t *tx) dropDevices(id string) (int, error) {
	type staged struct{ id, fields string }
	i, err := t.importOf(id)
	if err != nil {
		return 0, err
	}
	var all []staged
	err = t.query(sqlStagedDevices, func(r *sql.Rows) error {
		var d staged
		err := r.Scan(&d.id, &d.fields)
		all = append(all, d)
		return err
	}, id, cleanAtOnce)
	if err != nil {
		return 0, err
	}
	for _, d := range all {
		if i.indexed {
			if err := t.dropFields(d.id, d.fields); err != nil {
				return 0, err
			}
		}
		dropped, err := t.exec(sqlDropDevice, d.id)
		if err == nil && dropped == 0 { // it has a certificate, or was held
			_, err = t.exec(sqlUnlistDevice, d.id)
		}
		if err != nil {
			return 0, err
		}
	}
	return len(all), nil
}

// dropRows removes some rows of an import about devices that were listed
// before.
func (t *tx) dropRows(id string) (int, error) {
	var all []string
	err := t.query(sqlStagedRows, func(r *sql.Rows) error {
		var device string
		err := r.Scan(&device)
		all = append(all, device)
		return err
	}, id, cleanAtOnce)
	for _, device := range all {
		if err == nil {
			_, err = t.exec(sqlDropRow, device, id)
		}
	}
	return len(all), err
}
