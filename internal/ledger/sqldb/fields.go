package sqldb

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
)

// The values of fields are indexed when their import is committed: until then
// nothing must be found by them, and all at once they can be sorted.

const (
	sqlNewRun    = `INSERT INTO field_runs (import_id) VALUES ($1) RETURNING run`
	sqlIndexNext = `SELECT id, fields FROM devices WHERE import_id <> '' AND import_id = $1 AND id > $2 ORDER BY id LIMIT $3`
	sqlDropField = `DELETE FROM device_fields WHERE run = $1 AND value = $2 AND device = $3`

	sqlRunOf     = `SELECT run FROM field_runs WHERE import_id <> '' AND import_id = $1 ORDER BY run LIMIT 1`
	sqlNextOfRun = `SELECT value, device FROM device_fields WHERE run = $1 ORDER BY value, device LIMIT $2`
	sqlDropPart  = `DELETE FROM device_fields WHERE run = $1 AND (value < $2 OR (value = $2 AND device <= $3))`
	sqlDropRun   = `DELETE FROM field_runs WHERE run = $1`
)

// Sizes of a run. A search looks into each run, and so a list that is small goes
// into the common one; memory holds one run while it is sorted.
const (
	smallList    = 5000   // devices
	devicesInRun = 20_000 // at most
	fieldsAtOnce = 3000   // in one transaction: issuance goes on between two
	commonRun    = 0
)

// field is a value by which a device is found.
type field struct{ value, device string }

// indexFields makes the devices of an import that is being committed known by
// the values of their fields.
func (s *Store) indexFields(ctx context.Context, i storedImport) error {
	type next struct{ device, fields string }
	for after := ""; ; {
		part, err := list(ctx, s, "reading devices of the import", func(r row) (n next, err error) {
			err = r.Scan(&n.device, &n.fields)
			return n, err
		}, sqlIndexNext, []any{i.ID, after, devicesInRun})
		if err != nil || len(part) == 0 {
			return err
		}
		after = part[len(part)-1].device
		var fields []field
		for _, n := range part {
			values, err := readFields(n.fields)
			if err != nil {
				return fmt.Errorf("fields of device %q: %w", n.device, err)
			}
			fields = fieldsOf(fields, n.device, values)
		}
		sortFields(fields)
		run := int64(commonRun)
		if i.New > smallList && len(fields) > 0 {
			if run, err = s.newRun(ctx, i.ID); err != nil {
				return err
			}
		}
		for chunk := range slices.Chunk(fields, fieldsAtOnce) {
			o := &op{items: len(chunk)}
			o.run = func(t *tx) error { return t.putFields(run, chunk) }
			if err := s.write(ctx, o); err != nil {
				return err
			}
		}
	}
}

func (s *Store) newRun(ctx context.Context, id string) (run int64, err error) {
	o := &op{items: 1}
	o.run = func(t *tx) error { return t.query(sqlNewRun, scanInto(&run), id) }
	err = s.write(ctx, o)
	return run, err
}

func fieldsOf(all []field, device string, fields map[string]string) []field {
	for _, value := range fields {
		if value != "" {
			all = append(all, field{value, device})
		}
	}
	return all
}

func sortFields(fields []field) {
	slices.SortFunc(fields, func(a, b field) int {
		return cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(a.device, b.device))
	})
}

// putFields inserts values that are in order.
func (t *tx) putFields(run int64, fields []field) error {
	values := make([]any, 0, insertFields.width*len(fields))
	for _, f := range fields {
		values = append(values, f.value, f.device)
	}
	_, err := t.insert(insertFields, run, values)
	return err
}

// dropFields removes the values by which a device was found from the common
// run. In other runs they stay until the import is dropped: to look into each
// would cost more than a search that finds one in vain; see Devices.
func (t *tx) dropFields(device, fields string) error {
	old, err := readFields(fields)
	if err != nil {
		return &storageError{fmt.Errorf("fields of device %q: %w", device, err)}
	}
	for _, value := range old {
		if _, err := t.exec(sqlDropField, commonRun, value, device); err != nil {
			return err
		}
	}
	return nil
}

// dropRuns removes a part of the runs of an import and returns its size.
func (t *tx) dropRuns(importID string) (int, error) {
	run := int64(commonRun)
	if err := t.query(sqlRunOf, scanInto(&run), importID); err != nil || run == commonRun {
		return 0, err
	}
	var last field
	n := 0
	err := t.query(sqlNextOfRun, func(rows *sql.Rows) error {
		n++
		return rows.Scan(&last.value, &last.device)
	}, run, cleanAtOnce)
	if err != nil {
		return 0, err
	}
	if n < cleanAtOnce {
		// The next part is of the next run.
		if _, err := t.exec(sqlDropRun, run); err != nil {
			return 0, err
		}
	}
	_, err = t.exec(sqlDropPart, run, last.value, last.device)
	return cleanAtOnce, err
}
