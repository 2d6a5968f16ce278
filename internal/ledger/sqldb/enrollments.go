package sqldb

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"mintmark/internal/ledger"
)

const (
	enrollmentColumns = `SELECT id, spki, subject, label, profile, purpose, device, cause, other, requester_kind, requester, address, csr,
	state, at, expires_at, decided_at, decided_by, note, changed_at, serial FROM enrollments`
	sqlEnrollment = enrollmentColumns + ` WHERE id = $1`
	// The newest one that is not over, and of those that nobody has taken.
	sqlNewestEnrollment = enrollmentColumns + ` WHERE spki = $1 AND subject = $2 AND expires_at > $3 ORDER BY id DESC LIMIT 1`
	sqlNewestUntaken    = enrollmentColumns + ` WHERE spki = $1 AND subject = $2 AND expires_at > $3 AND serial IS NULL ORDER BY id DESC LIMIT 1`

	sqlLastEnrollment = `SELECT COALESCE(max(id), '') FROM enrollments`
	sqlCountWaiting   = `SELECT count(*) FROM (SELECT 1 FROM enrollments WHERE state = 'pending' AND expires_at > $1 LIMIT $2) AS one`

	sqlWaitingDevice = `SELECT count(*) FROM (SELECT 1 FROM enrollments WHERE state = 'pending' AND device = $1 AND expires_at > $2 LIMIT $3) AS one`
	sqlWaitingAsker  = `SELECT count(*) FROM (SELECT 1 FROM enrollments WHERE state = 'pending' AND device = '' AND requester_kind = $1 AND requester = $2 AND expires_at > $3 LIMIT $4) AS one`

	// Writes an entry as it is from then on. What the request said of itself does
	// not change, and a rebuild keeps the change that came last.
	sqlPutEnrollment = `INSERT INTO enrollments (id, spki, subject, label, profile, purpose, device, cause, other, requester_kind, requester, address, csr,
	state, at, expires_at, decided_at, decided_by, note, changed_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
	ON CONFLICT (id) DO UPDATE SET other = excluded.other, state = excluded.state, expires_at = excluded.expires_at, decided_at = excluded.decided_at,
	decided_by = excluded.decided_by, note = excluded.note, changed_at = excluded.changed_at WHERE excluded.changed_at >= enrollments.changed_at`

	// The certificate that the device holds under another key, as for sqlOtherKey.
	sqlHeldKey = `SELECT serial FROM certificates WHERE device = $1 AND device <> '' AND not_after >= $2 AND spki <> $3 AND purpose = $4 AND state = 'valid'
	ORDER BY serial DESC LIMIT 1`

	sqlSweepEnrollments = `DELETE FROM enrollments WHERE id IN (SELECT id FROM enrollments WHERE expires_at < $1 ORDER BY expires_at, id LIMIT 100)`
)

// keepOver is how long a record is kept that is over. What is removed stays in
// the issuance log; whatever inserts removes, so that a table stays as large as
// what came in that time.
const keepOver = 90 * 24 * time.Hour

// Bounds of an enrollment, in bytes: strangers write it.
const (
	maxSubject = 16 << 10
	maxCSR     = 64 << 10
)

// storedEnrollment is an enrollment as stored.
type storedEnrollment struct {
	ledger.Enrollment
	changedAt int64
}

// QueueEnrollment implements ledger.Enrollments. Most calls are of clients that
// ask again, and only read.
func (s *Store) QueueEnrollment(ctx context.Context, e ledger.Enrollment, most int) (ledger.Enrollment, error) {
	if err := prepareEnrollment(&e); err != nil {
		return ledger.Enrollment{}, fmt.Errorf("queueing enrollment: %w", err)
	}
	known, err := scanEnrollment(s.readers.QueryRowContext(ctx, sqlNewestUntaken, e.Key[:], e.Subject, micros(e.At)))
	switch {
	case err == nil && (known.State != ledger.EnrollmentApproved || known.allowsSecondKey()):
		return known.Enrollment, nil
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return ledger.Enrollment{}, fmt.Errorf("queueing enrollment: %w", err)
	}
	// For all of them: how many wait is counted, and identifiers ascend.
	locks := []string{"enrollments", "key:" + hex.EncodeToString(e.Key[:])}
	for _, device := range []string{e.Device, known.Device} {
		if device != "" {
			locks = append(locks, "device:"+device)
		}
	}
	var queued ledger.Enrollment
	o := &op{items: 1, locks: locks}
	o.run = func(t *tx) (err error) {
		queued, err = t.queueEnrollment(e, most)
		return err
	}
	if err := s.write(ctx, o); err != nil {
		return ledger.Enrollment{}, fmt.Errorf("queueing enrollment: %w", err)
	}
	return queued, nil
}

// prepareEnrollment makes a request ready to be recorded, or says why it cannot
// be.
func prepareEnrollment(e *ledger.Enrollment) error {
	// RFC 4514, Section 2.4, has this spelling for what no database takes.
	e.Subject = strings.ReplaceAll(e.Subject, "\x00", `\00`)
	if e.Purpose == "" && e.Device != "" {
		e.Purpose = ledger.ForDevice
	}
	switch {
	case e.Key == [32]byte{} || e.Profile == "" || e.Cause == "" || e.At.IsZero():
		return errors.New("its key, profile, cause or time is missing")
	case !e.ExpiresAt.After(e.At):
		return errors.New("it would be over before it begins")
	case (e.Purpose == ledger.ForDevice || e.Purpose == ledger.ForGateway) != (e.Device != ""):
		return fmt.Errorf("it is for purpose %q and device %q", e.Purpose, e.Device)
	case len(e.CSR) > maxCSR:
		return fmt.Errorf("its certification request has %d bytes", len(e.CSR))
	}
	if err := checkText(e.Subject, maxSubject); err != nil {
		return fmt.Errorf("its subject %w", err)
	}
	// Nobody has decided anything yet.
	e.State, e.Other, e.Serial = ledger.EnrollmentPending, "", ""
	e.DecidedAt, e.DecidedBy, e.Note = time.Time{}, "", ""
	return checkNames(e.Label, e.Profile, string(e.Purpose), e.Device, e.Cause, e.Requester.Kind, e.Requester.Name)
}

// allowsSecondKey reports whether an approval is one of another key of the
// device as well.
func (e *storedEnrollment) allowsSecondKey() bool {
	return e.Other != "" || e.Cause == "second-key"
}

// queueEnrollment finds the entry of the same request or records it.
func (t *tx) queueEnrollment(e ledger.Enrollment, most int) (ledger.Enrollment, error) {
	known, err := t.enrollmentBy(sqlNewestUntaken, e.Key[:], e.Subject, micros(e.At))
	if err != nil {
		return e, err
	}
	if known.ID != "" {
		if known.State != ledger.EnrollmentApproved || known.allowsSecondKey() {
			return known.Enrollment, nil
		}
		if known.Other, err = t.heldKey(&known.Enrollment, e.At); err != nil || known.Other == "" {
			return known.Enrollment, err
		}
		// Whoever approved it has not seen that.
		known.State, known.DecidedAt, known.DecidedBy, known.Note = ledger.EnrollmentPending, time.Time{}, "", ""
		if err := t.mayWait(&known.Enrollment, e.At, most); err != nil {
			return e, err
		}
		return known.Enrollment, t.changeEnrollment(&known, e.At)
	}
	if err := t.mayWait(&e, e.At, most); err != nil {
		return e, err
	}
	if e.Other, err = t.heldKey(&e, e.At); err != nil {
		return e, err
	}
	if e.ID, err = t.nextEnrollment(e.At); err != nil {
		return e, err
	}
	if err := t.sweepEnrollments(e.At); err != nil {
		return e, err
	}
	e.At, e.ExpiresAt = fromMicros(micros(e.At)), fromMicros(micros(e.ExpiresAt))
	return e, t.changeEnrollment(&storedEnrollment{Enrollment: e}, e.At)
}

// mayWait refuses one more entry than may wait, of all and of who asks: a
// device makes a new key as often as it likes.
func (t *tx) mayWait(e *ledger.Enrollment, now time.Time, most int) error {
	waiting, own := 0, 0
	if err := t.query(sqlCountWaiting, scanInto(&waiting), micros(now), max(most, 0)); err != nil {
		return err
	}
	if waiting >= most {
		return &ledger.TooManyError{Count: waiting + 1, Most: most, Waiting: true}
	}
	text, args := sqlWaitingDevice, []any{e.Device, micros(now), ledger.MostOfOne}
	if e.Device == "" {
		text, args = sqlWaitingAsker, []any{e.Requester.Kind, e.Requester.Name, micros(now), ledger.MostOfOne}
	}
	if err := t.query(text, scanInto(&own), args...); err != nil {
		return err
	}
	if own >= ledger.MostOfOne {
		return &ledger.TooManyError{Count: own + 1, Most: ledger.MostOfOne, Waiting: true, OfOne: true}
	}
	return nil
}

// heldKey finds the certificate that the device of an entry holds in force
// under another key; empty for none.
func (t *tx) heldKey(e *ledger.Enrollment, now time.Time) (ledger.Serial, error) {
	if e.Device == "" {
		return "", nil
	}
	var serial []byte
	err := t.query(sqlHeldKey, scanInto(&serial), e.Device, micros(now), e.Key[:], string(e.Purpose))
	return serialOf(serial), err
}

// nextEnrollment makes an identifier: microseconds since 1970, and more than
// that of the last one if the clock was set back.
func (t *tx) nextEnrollment(now time.Time) (string, error) {
	var last string
	if err := t.query(sqlLastEnrollment, scanInto(&last)); err != nil {
		return "", err
	}
	next := max(micros(now), 0)
	if n, err := strconv.ParseInt(last, 16, 64); err == nil {
		next = max(next, n+1)
	}
	return fmt.Sprintf("%014x", next), nil
}

// sweepEnrollments removes some of the entries that have been over for long.
func (t *tx) sweepEnrollments(now time.Time) error {
	_, err := t.exec(sqlSweepEnrollments, micros(now.Add(-keepOver)))
	return err
}

// changeEnrollment writes an entry as it is from now on. Changes are in the
// order of their times, whatever the clocks say: so a rebuild finds the last
// one.
func (t *tx) changeEnrollment(e *storedEnrollment, now time.Time) error {
	e.changedAt = max(micros(now), e.changedAt+1)
	if err := t.putEnrollment(&e.Enrollment, e.changedAt); err != nil {
		return err
	}
	logged := e.Enrollment
	t.record(ledger.Event{Kind: ledger.EventEnrollment, At: fromMicros(e.changedAt), Enrollment: &logged})
	return nil
}

func (t *tx) putEnrollment(e *ledger.Enrollment, changedAt int64) error {
	var other []byte
	if e.Other != "" {
		var err error
		if other, err = serialBytes(e.Other); err != nil {
			return err
		}
	}
	address := ""
	if e.Requester.Address.IsValid() {
		address = e.Requester.Address.String()
	}
	_, err := t.exec(sqlPutEnrollment, e.ID, e.Key[:], e.Subject, e.Label, e.Profile, string(e.Purpose), e.Device, e.Cause, other,
		e.Requester.Kind, e.Requester.Name, address, e.CSR, string(e.State), micros(e.At), micros(e.ExpiresAt), micros(e.DecidedAt), clean(e.DecidedBy), clean(e.Note), changedAt)
	return err
}

// FindEnrollment implements ledger.Enrollments.
func (s *Store) FindEnrollment(ctx context.Context, key [32]byte, subject string, now time.Time) (ledger.Enrollment, error) {
	subject = strings.ReplaceAll(subject, "\x00", `\00`)
	e, err := scanEnrollment(s.readers.QueryRowContext(ctx, sqlNewestEnrollment, key[:], subject, micros(now)))
	if err != nil {
		return ledger.Enrollment{}, reading("enrollment", err)
	}
	return e.Enrollment, nil
}

// Enrollment implements ledger.Enrollments.
func (s *Store) Enrollment(ctx context.Context, id string) (ledger.Enrollment, error) {
	e, err := scanEnrollment(s.readers.QueryRowContext(ctx, sqlEnrollment, id))
	if err != nil {
		return ledger.Enrollment{}, reading(fmt.Sprintf("enrollment %q", id), err)
	}
	return e.Enrollment, nil
}

// Enrollments implements ledger.Enrollments.
func (s *Store) Enrollments(ctx context.Context, query ledger.EnrollmentQuery) ([]ledger.Enrollment, error) {
	text, args := selectEnrollments(query)
	return list(ctx, s, "listing enrollments", func(r row) (ledger.Enrollment, error) {
		e, err := scanEnrollment(r)
		return e.Enrollment, err
	}, text, args)
}

// selectEnrollments writes the query. Each condition finds its index; see the
// migration.
func selectEnrollments(q ledger.EnrollmentQuery) (string, []any) {
	var c conditions
	c.and("id >", q.After)
	switch q.State {
	case "":
	case ledger.EnrollmentIssued:
		c.where = append(c.where, `serial IS NOT NULL`)
	default:
		c.and("serial IS NULL AND state =", string(q.State))
	}
	if q.Device != "" {
		c.and("device <> '' AND device =", q.Device)
	}
	if q.Label != "" {
		c.and("label =", q.Label)
	}
	if !q.Now.IsZero() {
		c.and("expires_at >", micros(q.Now))
	}
	return enrollmentColumns + c.text() + ` ORDER BY id` + c.limit(q.Limit), c.args
}

// enrollmentBy reads one inside the transaction; its identifier is empty if
// there is none.
func (t *tx) enrollmentBy(text string, args ...any) (e storedEnrollment, err error) {
	err = t.query(text, func(rows *sql.Rows) (err error) {
		e, err = scanEnrollment(rows)
		return err
	}, args...)
	return e, err
}

func scanEnrollment(r row) (storedEnrollment, error) {
	var e storedEnrollment
	var key, other, serial []byte
	var address string
	var at, expires, decided int64
	err := r.Scan(&e.ID, &key, &e.Subject, &e.Label, &e.Profile, &e.Purpose, &e.Device, &e.Cause, &other, &e.Requester.Kind, &e.Requester.Name, &address, &e.CSR,
		&e.State, &at, &expires, &decided, &e.DecidedBy, &e.Note, &e.changedAt, &serial)
	if err != nil {
		return storedEnrollment{}, err
	}
	if address != "" {
		if e.Requester.Address, err = netip.ParseAddr(address); err != nil {
			return storedEnrollment{}, fmt.Errorf("reading requester of enrollment %q: %w", e.ID, err)
		}
	}
	copy(e.Key[:], key)
	e.Other, e.Serial = serialOf(other), serialOf(serial)
	e.At, e.ExpiresAt, e.DecidedAt = fromMicros(at), fromMicros(expires), fromMicros(decided)
	if e.Serial != "" {
		e.State = ledger.EnrollmentIssued
	}
	return e, nil
}
