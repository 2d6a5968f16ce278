package dpsreg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
)

const (
	// rereadings is how often what a task is about may change while it is told.
	rereadings = 5
	// calm is how many of them may be for failures that pass, each after a pause. What
	// lasts longer is for the outbox, which has longer pauses.
	calm = 2
)

// outcome is what was done about a device at DPS and at hubs.
type outcome struct {
	did   []string // nil if everything was as it should be
	more  bool     // than to promote a certificate
	notes []string // what is otherwise than wanted and stays so
	now   []settled
}

var errNoRegistrationID = errors.New("the common name of its certificate is no registration id that DPS takes: use 1 to 128 of a-z 0-9 - . _ : with a letter, a digit or - at the end")

// settled is what a device has under one registration id now.
type settled struct {
	want
	deviceID string // of the enrollment; empty for the registration id
}

func (o *outcome) add(s step) {
	if s.do != leave {
		o.did, o.more = append(o.did, s.what), o.more || !s.promoted
	}
	if s.note != "" {
		o.notes = append(o.notes, s.note)
	}
}

func (o *outcome) join(other outcome) {
	o.did, o.more = append(o.did, other.did...), o.more || other.more
	o.notes, o.now = append(o.notes, other.notes...), append(o.now, other.now...)
}

// promoted reports that a new certificate became the primary one, and nothing else.
func (o *outcome) promoted() bool { return len(o.did) > 0 && !o.more }

// settle brings the enrollments of a device to what they should be.
func (ds *Devices) settle(ctx context.Context, s *session, d standing) (outcome, error) {
	var all outcome
	var errs []error
	for _, w := range d.wants {
		o, err := ds.settleOne(ctx, s, d.device.ID, w.RegistrationID, true)
		if err != nil {
			errs = append(errs, fmt.Errorf("device %q: %w", d.device.ID, err))
		}
		all.join(o)
	}
	return all, errors.Join(errs...)
}

// settleOne brings what a device has under one registration id to what it should be.
//
// What is at Azure is read before the ledger, and changed only in the version that was
// read; after a change the ledger is read once more. So whatever another has told Azure in
// between, from a newer state of the ledger, is not overwritten by an older one.
//
// With hubs, the identity of a device that is not blocked any more is released before
// its enrollment is: the mark in the enrollment says until the end that there is
// something to undo. Identities are stopped by stop, after the enrollment.
func (ds *Devices) settleOne(ctx context.Context, s *session, device, id string, hubs bool) (outcome, error) {
	var o outcome
	err := untilCalm(ctx, func() (bool, error) { return ds.attempt(ctx, s, device, id, hubs, &o) })
	return o, err
}

// untilCalm makes attempts until one succeeds and does not want another. What another
// changed in between is read again at once, what may pass after a pause.
func untilCalm(ctx context.Context, attempt func() (again bool, err error)) error {
	for attempts := 1; ; attempts++ {
		again, err := attempt()
		switch {
		case err == nil && !again:
			return nil
		case attempts == rereadings && err != nil:
			return fmt.Errorf("giving up after %d attempts: %w", attempts, err)
		case attempts == rereadings:
			return fmt.Errorf("giving up after %d attempts: it changes all the time", attempts)
		case err == nil || raced(err):
			if ctx.Err() != nil {
				return ctx.Err()
			}
		case attempts > calm || !passes(err) || pause(ctx, attempts, err) != nil:
			return err
		}
	}
}

// raced reports that what was to be changed is not what was read: another version,
// there already, or gone.
func raced(err error) bool {
	var r *racedError
	return errors.As(err, &r)
}

type racedError struct{ err error }

func (e *racedError) Error() string { return e.err.Error() }
func (e *racedError) Unwrap() error { return e.err }

// attempt is one reading and what follows from it.
func (ds *Devices) attempt(ctx context.Context, s *session, device, id string, hubs bool, o *outcome) (again bool, err error) {
	if id == "" {
		return false, errNoRegistrationID
	}
	var there *dps.Enrollment
	switch e, err := s.dps.Enrollment(ctx, id); {
	case err == nil:
		there = &e
	case !missing(err):
		return false, fmt.Errorf("reading individual enrollment %q: %w", id, err)
	}
	d, err := ds.standing(ctx, s.target, device)
	if err != nil {
		return false, err
	}
	w, known := d.want(id)
	if !known {
		return false, fmt.Errorf("the ledger has no certificate of device %q with the common name %q", device, id)
	}
	o.now = []settled{{want: w}}
	if there != nil {
		o.now[0].deviceID = there.DeviceID
	}
	next, err := d.decide(w, there)
	if err != nil {
		return false, err
	}
	if hubs && w.Kind != wantBlocked && (d.wasBlocked() || there != nil && markOf(*there).kind == markBlocked) {
		if err := ds.atHubs(ctx, s, d, o.now[0], o); err != nil {
			return false, err
		}
	}
	if err := s.do(ctx, next); err != nil {
		return false, fmt.Errorf("individual enrollment %q: %w", id, err)
	}
	if o.add(next); next.do != leave {
		ds.logger(s, device).Info("individual enrollment changed", "registration", id, "done", next.what)
	}
	if next.note != "" {
		ds.logger(s, device).Warn("individual enrollment is not as wanted", "registration", id, "note", next.note)
	}
	if next.do == leave {
		return false, nil
	}
	// Whoever told something newer in between may have found it done already, and
	// written nothing that would have stopped this.
	after, err := ds.standing(ctx, s.target, device)
	if err != nil {
		return false, err
	}
	now, _ := after.want(id)
	// What shuts a device out is read back: the next attempt finds nothing to do.
	return next.again || w.Kind == wantBlocked || !now.same(w), nil
}

// same reports whether two wants of one registration id lead to the same.
func (w want) same(other want) bool {
	return w.Kind == other.Kind && slices.EqualFunc(w.Certificates, other.Certificates, func(a, b ledger.Certificate) bool { return a.Serial == b.Serial })
}

// do makes a step true.
func (s *session) do(ctx context.Context, next step) error {
	var err error
	switch next.do {
	case create:
		if _, err = s.dps.PutEnrollment(ctx, next.enrollment); exists(err) || changed(err) {
			return &racedError{err}
		}
	case update:
		if _, err = s.dps.PutEnrollment(ctx, next.enrollment); changed(err) || missing(err) {
			return &racedError{err}
		}
	case remove:
		if err = s.dps.DeleteEnrollment(ctx, next.enrollment.RegistrationID, next.enrollment.Etag); missing(err) {
			return nil
		} else if changed(err) {
			return &racedError{err}
		}
	}
	return err
}

func (ds *Devices) logger(s *session, device string) *slog.Logger {
	return ds.conn.cfg.Logger.With("target", s.target.Name, "device", device)
}
