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
	// committed_at is 0 for an import that is not in force.
	deviceColumns = `SELECT d.id, d.first_seen, d.last_issued, d.certificates, d.current_serial, d.held, d.changed_at, d.changed_by, d.note,
	d.import_id, d.order_id, d.product, d.spki, d.fields, COALESCE(i.committed_at, 0)
	FROM devices d LEFT JOIN imports i ON i.id = d.import_id`
	// What a list that is not in force has staged is no device yet. One that was
	// held while nothing was known of it is there even when it is released.
	sqlThere  = `(d.first_seen <> 0 OR d.certificates > 0 OR d.held <> '' OR d.changed_at <> 0 OR i.committed_at > 0)`
	sqlDevice = deviceColumns + ` WHERE d.id = $1 AND ` + sqlThere

	// All that an intent needs to know of its device.
	sqlStanding = `SELECT d.held, d.order_id, d.spki, COALESCE(i.committed_at, 0)
	FROM devices d LEFT JOIN imports i ON i.id = d.import_id WHERE d.id = $1`

	sqlHold    = `UPDATE devices SET held = $2, changed_at = $3, changed_by = $4, note = $5 WHERE id = $1`
	sqlHoldNew = `INSERT INTO devices (id, first_seen, last_issued, certificates, held, changed_at, changed_by, note) VALUES ($1, 0, 0, 0, $2, $3, $4, $5)
	ON CONFLICT (id) DO UPDATE SET held = excluded.held, changed_at = excluded.changed_at, changed_by = excluded.changed_by, note = excluded.note`
	sqlOpenDevice = `SELECT serial FROM certificates WHERE device = $1 AND device <> '' AND state = 'open'`
)

// maxNote bounds what someone may say about a device, in bytes.
const maxNote = 1000

// held refuses a device that is held or retired.
func (t *tx) held(device string) (refusal, err error) {
	held := ""
	if device == "" {
		return nil, nil
	}
	if err := t.query(`SELECT held FROM devices WHERE id = $1`, scanInto(&held), device); err != nil || held == "" {
		return nil, err
	}
	return &ledger.DeviceError{Device: device, Why: held}, nil
}

// admits refuses an intent for what is known of its device. The key that a
// list names binds whoever asks.
func (t *tx) admits(i *ledger.Intent) (refusal, err error) {
	s, err := t.standingOf(i.Device)
	if err != nil {
		return nil, err
	}
	listed := s.listedAt > 0
	why := ""
	switch {
	case s.held != "":
		why = s.held
	case i.Listed && !listed:
		why = "unlisted"
	case listed && s.key != nil && [32]byte(s.key) != i.Key:
		why = "key"
	case i.Listed && i.Order != "" && s.order != i.Order:
		why = "order"
	default:
		return nil, nil
	}
	return &ledger.DeviceError{Device: i.Device, Why: why}, nil
}

// Device implements ledger.Inventory.
func (s *Store) Device(ctx context.Context, id string) (ledger.Device, error) {
	d, err := scanDevice(s.readers.QueryRowContext(ctx, sqlDevice, id))
	if err != nil {
		return ledger.Device{}, reading(fmt.Sprintf("device %q", id), err)
	}
	return d, nil
}

// device reads one inside the transaction.
func (t *tx) device(id string) (d ledger.Device, err error) {
	err = t.query(sqlDevice, func(rows *sql.Rows) (err error) {
		d, err = scanDevice(rows)
		return err
	}, id)
	if err == nil && d.ID == "" {
		err = fmt.Errorf("device %q: %w", id, ledger.ErrNotFound)
	}
	return d, err
}

func scanDevice(r row) (ledger.Device, error) {
	var d ledger.Device
	var first, last, changed, listed int64
	var current, key []byte
	var held, fields string
	err := r.Scan(&d.ID, &first, &last, &d.Certificates, &current, &held, &changed, &d.ChangedBy, &d.Note,
		&d.Import, &d.Order, &d.Product, &key, &fields, &listed)
	if err != nil {
		return ledger.Device{}, err
	}
	d.FirstSeen, d.LastIssued, d.ChangedAt, d.Current = fromMicros(first), fromMicros(last), fromMicros(changed), serialOf(current)
	if listed > 0 {
		d.Listed, d.ListedAt = true, fromMicros(listed)
		copy(d.Key[:], key)
		if d.Fields, err = readFields(fields); err != nil {
			return ledger.Device{}, fmt.Errorf("fields of device %q: %w", d.ID, err)
		}
	} else {
		d.Import, d.Order, d.Product = "", "", ""
	}
	switch {
	case held != "":
		d.State = ledger.DeviceState(held)
	case d.Certificates > 0:
		d.State = ledger.Enrolled
	default:
		d.State = ledger.Expected
	}
	return d, nil
}

// writeFields writes the fields of a device as JSON, in the order of their
// names, so that equal ones are equal texts; none is no text.
func writeFields(fields map[string]string) (string, error) {
	if len(fields) == 0 {
		return "", nil
	}
	text, err := json.Marshal(fields)
	return string(text), err
}

func readFields(text string) (fields map[string]string, err error) {
	if text != "" {
		err = json.Unmarshal([]byte(text), &fields)
	}
	return fields, err
}

// HoldDevice implements ledger.Inventory.
func (s *Store) HoldDevice(ctx context.Context, id string, state ledger.DeviceState, actor, note string, now time.Time, tasks ...ledger.Task) (ledger.Device, error) {
	return s.changeDevice(ctx, ledger.DeviceChange{Device: id, State: state, Actor: actor, Note: note}, now, tasks)
}

// HoldUnknown implements ledger.Inventory.
func (s *Store) HoldUnknown(ctx context.Context, id string, state ledger.DeviceState, actor, note string, now time.Time, tasks ...ledger.Task) (ledger.Device, error) {
	if id == "" || state != ledger.Held && state != ledger.Retired {
		return ledger.Device{}, fmt.Errorf("changing device %q: one that nobody knows can be held or retired, not made %q", id, state)
	}
	return s.changeDevice(ctx, ledger.DeviceChange{Device: id, State: state, Actor: actor, Note: note, New: true}, now, tasks)
}

// changeDevice makes a change of a device's state, which is New if the device may
// be unknown.
func (s *Store) changeDevice(ctx context.Context, change ledger.DeviceChange, now time.Time, tasks []ledger.Task) (ledger.Device, error) {
	id, state, note, held := change.Device, change.State, change.Note, ""
	switch state {
	case ledger.Held, ledger.Retired:
		held = string(state)
	case ledger.Expected:
	default:
		return ledger.Device{}, fmt.Errorf("changing device %q: it can be held, retired or, with %q, released, not made %q", id, ledger.Expected, state)
	}
	if len(note) > maxNote {
		return ledger.Device{}, fmt.Errorf("changing device %q: the note has %d bytes, at most %d are kept", id, len(note), maxNote)
	}
	if checkNames(id) != nil {
		return ledger.Device{}, fmt.Errorf("changing device %q: %w", id, ledger.ErrNotFound)
	}
	var d ledger.Device
	o := &op{items: 1, locks: []string{"device:" + id}}
	o.run = func(t *tx) (err error) {
		made, hold := change, sqlHold // run may come again
		switch _, err := t.device(id); {
		case err == nil:
			made.New = false
		case errors.Is(err, ledger.ErrNotFound) && made.New:
			hold = sqlHoldNew
		default:
			return err
		}
		if _, err := t.exec(hold, id, held, micros(now), clean(made.Actor), clean(note)); err != nil {
			return err
		}
		if held != "" {
			if _, err := t.voidAll(now, sqlOpenDevice, id); err != nil {
				return err
			}
		}
		t.record(ledger.Event{Kind: ledger.EventDevice, At: now, Device: &made})
		if err := t.enqueue(tasks, now); err != nil {
			return err
		}
		d, err = t.device(id)
		return err
	}
	if err := s.write(ctx, o); err != nil {
		return ledger.Device{}, fmt.Errorf("changing device: %w", err)
	}
	return d, nil
}

// errRaced ends a transaction in which another server's write came between a
// check and a write of ours.
var errRaced = &storageError{errors.New("another server has changed the inventory meanwhile")}
