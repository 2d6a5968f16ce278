package sqldb

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

const (
	sqlTakeEnrollment = `UPDATE enrollments SET serial = $2 WHERE id = $1 AND state = 'approved' AND serial IS NULL`
	// What a void serial number gives back.
	sqlReturnEnrollment = `UPDATE enrollments SET serial = NULL WHERE serial IS NOT NULL AND serial = $1`

	// How the intent stands that has taken something.
	sqlTaker = `SELECT state, ` + sqlInForce + ` FROM certificates c WHERE serial = $1`
)

// DecideEnrollment implements ledger.Enrollments.
func (s *Store) DecideEnrollment(ctx context.Context, id string, approve bool, actor, note string, now, expires time.Time) (ledger.Enrollment, error) {
	if len(note) > maxNote {
		return ledger.Enrollment{}, fmt.Errorf("deciding enrollment %q: the note has %d bytes, at most %d are kept", id, len(note), maxNote)
	}
	if actor == "" || now.IsZero() || !expires.After(now) {
		return ledger.Enrollment{}, fmt.Errorf("deciding enrollment %q: nobody decides, or the decision would be over at once", id)
	}
	// Key and device of an entry never change.
	e, err := s.Enrollment(ctx, id)
	if err != nil {
		return ledger.Enrollment{}, fmt.Errorf("deciding: %w", err)
	}
	locks := []string{"key:" + hex.EncodeToString(e.Key[:])}
	if e.Device != "" {
		locks = append(locks, "device:"+e.Device)
	}
	var decided ledger.Enrollment
	o := &op{items: 1, locks: locks}
	o.run = func(t *tx) error {
		stored, err := t.enrollmentBy(sqlEnrollment, id)
		switch {
		case err != nil:
			return err
		case stored.ID == "":
			return ledger.ErrNotFound
		case stored.State == ledger.EnrollmentIssued:
			return &ledger.EnrollmentError{ID: id, Why: "issued"}
		case !now.Before(stored.ExpiresAt):
			return &ledger.EnrollmentError{ID: id, Why: "expired"}
		}
		stored.State = ledger.EnrollmentRejected
		if approve {
			stored.State = ledger.EnrollmentApproved
		}
		stored.DecidedAt, stored.ExpiresAt = fromMicros(micros(now)), fromMicros(micros(expires))
		stored.DecidedBy, stored.Note = clean(actor), clean(note)
		if err := t.changeEnrollment(&stored, now); err != nil {
			return err
		}
		decided = stored.Enrollment
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return ledger.Enrollment{}, fmt.Errorf("deciding enrollment %q: %w", id, err)
	}
	return decided, nil
}

// approved refuses an intent whose enrollment does not allow it; secondKey says
// that the approval is one of another key of the device as well.
func (t *tx) approved(i *ledger.Intent) (secondKey bool, refusal, err error) {
	e, err := t.enrollmentBy(sqlEnrollment, i.Enrollment)
	if err != nil {
		return false, nil, err
	}
	refuse := func(why string) (bool, error, error) {
		return false, &ledger.EnrollmentError{ID: i.Enrollment, Why: why}, nil
	}
	// What was approved is this key for this device under this profile.
	if e.ID == "" || e.Key != i.Key || e.Device != i.Device || e.Profile != i.Profile || e.Purpose != "" && e.Purpose != i.Purpose {
		return refuse("unknown")
	}
	if e.State == ledger.EnrollmentIssued {
		done, refusal, err := t.takenBy(e.Serial, i.At)
		switch {
		case refusal != nil || err != nil:
			return false, refusal, err
		case done:
			return refuse("issued")
		}
		e.State = ledger.EnrollmentApproved // for only what is approved is taken
	}
	switch {
	case !i.At.Before(e.ExpiresAt):
		return refuse("expired")
	case e.State != ledger.EnrollmentApproved:
		return refuse(string(e.State))
	}
	return e.allowsSecondKey(), nil, nil
}

// takenBy reports whether what a serial number has taken is spent. While its
// intent is open the refusal is ErrInFlight; one whose epoch has lapsed is
// voided, which gives back what it took.
func (t *tx) takenBy(serial ledger.Serial, now time.Time) (done bool, refusal, err error) {
	b, err := serialBytes(serial)
	if err != nil {
		return false, nil, err
	}
	state, live := "", false
	if err := t.query(sqlTaker, scanInto(&state, &live), b, micros(now)); err != nil {
		return false, nil, err
	}
	switch {
	case state != string(ledger.Open):
		return true, nil, nil
	case live:
		return false, ledger.ErrInFlight, nil
	}
	_, err = t.void(b, now)
	return false, nil, err
}

// take takes approval and one-time secret of an intent that nothing stands
// against.
func (t *tx) take(i *ledger.Intent, serial []byte) error {
	if i.Enrollment != "" {
		if err := taken(t.exec(sqlTakeEnrollment, i.Enrollment, serial)); err != nil {
			return err
		}
	}
	if i.Secret != [32]byte{} {
		return taken(t.exec(sqlTakeSecret, i.Device, serial, i.Secret[:]))
	}
	return nil
}

// taken makes an error of what was there before and is gone: the locks leave
// room for that only to a server that does not take them.
func taken(n int64, err error) error {
	if err == nil && n != 1 {
		err = errRaced
	}
	return err
}
