package sqldb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mintmark/internal/ledger"
)

const (
	sqlFinish = `UPDATE certificates SET state = 'valid', tbs = NULL, der = $2, issued_at = $3 WHERE serial = $1 AND state = 'open'`

	// A gateway's CA certificate makes the device known, so that it can be held,
	// and is not counted: it does not stand for the device.
	sqlPutDevice = `INSERT INTO devices (id, first_seen, last_issued, certificates, current_serial)
	SELECT device, CAST($2 AS BIGINT), CASE WHEN purpose = 'device' THEN CAST($2 AS BIGINT) ELSE 0 END, CASE WHEN purpose = 'device' THEN 1 ELSE 0 END,
	CASE WHEN purpose = 'device' THEN serial ELSE NULL END FROM certificates WHERE serial = $1 AND device <> ''
	` + onKnownDevice
	onKnownDevice = `ON CONFLICT (id) DO UPDATE SET first_seen = CASE WHEN devices.first_seen = 0 THEN excluded.first_seen ELSE devices.first_seen END,
	last_issued = CASE WHEN excluded.certificates = 0 THEN devices.last_issued ELSE excluded.last_issued END,
	certificates = devices.certificates + excluded.certificates, current_serial = COALESCE(excluded.current_serial, devices.current_serial)`

	// Both at once, for a database to which each statement is a way there and back; sqlFinish and
	// sqlPutDevice say the same.
	sqlFinishShared = `WITH done AS (UPDATE certificates SET state = 'valid', tbs = NULL, der = $2, issued_at = $3 WHERE serial = $1 AND state = 'open'
	RETURNING serial, device, purpose),
	known AS (INSERT INTO devices (id, first_seen, last_issued, certificates, current_serial)
	SELECT device, CAST($3 AS BIGINT), CASE WHEN purpose = 'device' THEN CAST($3 AS BIGINT) ELSE 0 END, CASE WHEN purpose = 'device' THEN 1 ELSE 0 END,
	CASE WHEN purpose = 'device' THEN serial ELSE NULL END FROM done WHERE device <> ''
	` + onKnownDevice + ` RETURNING id)
	SELECT 1 FROM done`

	sqlDropTask   = `DELETE FROM outbox WHERE kind = $1 AND task_key = $2 AND task_key <> ''`
	sqlInsertTask = `INSERT INTO outbox (kind, task_key, payload, due) VALUES ($1, $2, $3, $4)`
)

// Finish implements ledger.Issuance. Finishing again with the same bytes is no
// error.
func (s *Store) Finish(ctx context.Context, issued []ledger.Issued) ([]error, error) {
	if len(issued) == 0 {
		return nil, nil
	}
	issued = slices.Clone(issued) // the caller may leave before it is written
	serials := make([][]byte, len(issued))
	for i := range issued {
		var err error
		if serials[i], err = serialBytes(issued[i].Serial); err != nil {
			return nil, fmt.Errorf("recording certificate: %w", err)
		}
		if len(issued[i].DER) == 0 || len(issued[i].DER) > maxDER || issued[i].At.IsZero() {
			return nil, fmt.Errorf("recording certificate %s: it has %d bytes and was issued at %v", issued[i].Serial, len(issued[i].DER), issued[i].At)
		}
	}
	var results []error
	o := &op{items: len(issued), issuance: true}
	o.run = func(t *tx) error {
		results = make([]error, len(issued))
		for i := range issued {
			var err error
			if results[i], err = t.finish(&issued[i], serials[i]); err != nil {
				return err
			}
		}
		return nil
	}
	o.orphans = func() [][]byte { return serials }
	if err := s.write(ctx, o); err != nil {
		return nil, fmt.Errorf("recording certificate: %w", err)
	}
	return results, nil
}

// finish records one certificate or says why not; the second error is the
// database's.
func (t *tx) finish(i *ledger.Issued, serial []byte) (refusal, err error) {
	n, err := t.setFinished(i, serial)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		c, err := t.certificate(serial)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			return fmt.Errorf("%w: %s was never begun", ledger.ErrVoided, i.Serial), nil
		case err != nil:
			return nil, err
		case c.State == ledger.Valid && bytes.Equal(c.DER, i.DER):
			return nil, nil
		case c.State == ledger.Voided:
			return ledger.ErrVoided, nil
		}
		return fmt.Errorf("%w: %s is %s with other bytes", ledger.ErrVoided, i.Serial, c.State), nil
	}
	if err := t.enqueue(i.Tasks, i.At); err != nil {
		return nil, err
	}
	t.record(ledger.Event{Kind: ledger.EventIssued, At: i.At, Issued: i})
	return nil, nil
}

// setFinished makes an open intent a certificate, and its device known. It returns how many it
// has changed: one or none.
func (t *tx) setFinished(i *ledger.Issued, serial []byte) (n int64, err error) {
	if t.shared {
		return t.execOne(sqlFinishShared, serial, i.DER, micros(i.At))
	}
	if n, err = t.exec(sqlFinish, serial, i.DER, micros(i.At)); n > 0 {
		_, err = t.exec(sqlPutDevice, serial, micros(i.At))
	}
	return n, err
}

// enqueue inserts tasks. A new one takes the place of an undelivered older one
// under a new identifier, so that Done for the older one does not remove it. A
// task without a time is due now.
func (t *tx) enqueue(tasks []ledger.Task, now time.Time) error {
	for _, task := range tasks {
		if task.Key != "" {
			if _, err := t.exec(sqlDropTask, task.Kind, task.Key); err != nil {
				return err
			}
		}
		due := task.Due
		if due.IsZero() {
			due = now
		}
		if _, err := t.exec(sqlInsertTask, task.Kind, task.Key, task.Payload, micros(due)); err != nil {
			return err
		}
	}
	return nil
}
