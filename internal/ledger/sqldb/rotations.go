package sqldb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"mintmark/internal/ledger"
)

const (
	sqlPutRotation = `INSERT INTO rotations (id, kind, old_ca, new_ca, emergency, plan, state, since, paused, issue, canary, twins, kept, signatures, at, actor, version, ended)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
	ON CONFLICT (id) DO UPDATE SET emergency = excluded.emergency, state = excluded.state, since = excluded.since, paused = excluded.paused,
	issue = excluded.issue, canary = excluded.canary, twins = excluded.twins, kept = excluded.kept, signatures = excluded.signatures,
	actor = excluded.actor, version = excluded.version, ended = excluded.ended`
	sqlRotationNow = `SELECT version, kind, old_ca, new_ca, plan, at FROM rotations WHERE id = $1`
	sqlRunning     = `SELECT id FROM rotations WHERE ended = 0 AND id <> $1 ORDER BY id LIMIT 1`
	sqlRotations   = `SELECT id, kind, old_ca, new_ca, emergency, plan, state, since, paused, issue, canary, twins, kept, signatures, at, actor, version
	FROM rotations ORDER BY at, id`

	sqlPutEntry = `INSERT INTO rotation_journal (rotation, number, at, actor, state, step, event, text) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	sqlJournal  = `SELECT number, at, actor, state, step, event, text FROM rotation_journal WHERE rotation = $1 AND number > $2 ORDER BY number LIMIT $3`
)

// PutRotation implements ledger.Rotations. As every version has one line in the
// journal, the line's number is the version.
func (s *Store) PutRotation(ctx context.Context, rotation ledger.Rotation, entry ledger.RotationEntry, over bool) error {
	if entry.At.IsZero() {
		entry.At = s.cfg.Now()
	}
	change := ledger.RotationChange{Rotation: rotation, Entry: entry, Over: over}
	if err := checkRotation(&change); err != nil {
		return fmt.Errorf("recording rotation: %w", err)
	}
	o := &op{items: 1, locks: []string{"rotations"}}
	o.run = func(t *tx) error {
		if err := t.follows(&change.Rotation); err != nil {
			return err
		}
		if !over {
			other := ""
			if err := t.query(sqlRunning, scanInto(&other), rotation.ID); err != nil {
				return err
			}
			if other != "" {
				return fmt.Errorf("rotation %q is not over: %w", other, ledger.ErrTaken)
			}
		}
		if err := t.putRotation(&change); err != nil {
			return err
		}
		t.record(ledger.Event{Kind: ledger.EventRotation, At: change.Entry.At, Rotation: &change})
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("recording rotation %q: %w", rotation.ID, err)
	}
	return nil
}

// checkRotation says what is wrong with a record, and brings it into the form in which it
// is kept.
func checkRotation(c *ledger.RotationChange) error {
	r, e := &c.Rotation, &c.Entry
	switch {
	case r.ID == "" || r.State == "" || r.At.IsZero():
		return errors.New("it has no name, no state or no time")
	case r.Kind != ledger.RotateRoot && r.Kind != ledger.RotateIssuing:
		return fmt.Errorf("it is of kind %q", r.Kind)
	case r.Old == "" || r.New == "" || r.Old == r.New:
		return fmt.Errorf("it is from %q to %q", r.Old, r.New)
	case len(r.Plan) == 0 || len(r.Plan) > ledger.MostPlan:
		return fmt.Errorf("its plan has %d bytes, at most %d may be kept", len(r.Plan), ledger.MostPlan)
	case r.Version < 1:
		return fmt.Errorf("it is version %d", r.Version)
	case len(r.Twins) > 1000 || len(r.Signatures) > 1000:
		return fmt.Errorf("it has %d twins and %d signatures", len(r.Twins), len(r.Signatures))
	}
	r.Twins, r.Signatures = slices.Clone(r.Twins), slices.Clone(r.Signatures)
	names := []string{r.ID, string(r.Kind), r.Old, r.New, r.State, string(r.Issue), r.Actor, e.Actor, e.State, e.Step, e.Event}
	size := 0
	for _, t := range r.Twins {
		names, size = append(names, t.Authority), size+len(t.DER)
	}
	for i := range r.Signatures {
		s := &r.Signatures[i]
		names, size = append(names, s.Gate, s.Officer), size+len(s.Signature)
		s.At = fromMicros(micros(s.At))
	}
	names = append(names, r.Canary.Labels...)
	if size > maxDER || len(r.Canary.Labels) > 1000 {
		return fmt.Errorf("its certificates and signatures have %d bytes, its canary %d labels", size, len(r.Canary.Labels))
	}
	if len(r.Twins) == 0 {
		r.Twins = nil
	}
	if len(r.Signatures) == 0 {
		r.Signatures = nil
	}
	if len(r.Canary.Labels) == 0 {
		r.Canary.Labels = nil
	}
	r.Since, r.At, e.At = fromMicros(micros(r.Since)), fromMicros(micros(r.At)), fromMicros(micros(e.At))
	r.Paused, e.Text = cut(r.Paused, 4000), cut(e.Text, 16_000)
	e.Number = r.Version
	return checkNames(names...)
}

// follows returns ErrStale unless the record is the next version of the stored one.
func (t *tx) follows(r *ledger.Rotation) error {
	var was ledger.Rotation
	var at int64
	if err := t.query(sqlRotationNow, scanInto(&was.Version, &was.Kind, &was.Old, &was.New, &was.Plan, &at), r.ID); err != nil {
		return err
	}
	switch {
	case was.Version != r.Version-1:
		return fmt.Errorf("version %d after %d: %w", r.Version, was.Version, ledger.ErrStale)
	case was.Version > 0 && (was.Kind != r.Kind || was.Old != r.Old || was.New != r.New || at != micros(r.At) || !slices.Equal(was.Plan, r.Plan)):
		return errors.New("what it replaces, when it began and its plan never change")
	}
	return nil
}

// putRotation writes the record and the line of its journal.
func (t *tx) putRotation(c *ledger.RotationChange) error {
	r, e := &c.Rotation, &c.Entry
	canary, err := json.Marshal(r.Canary)
	if err != nil {
		return err
	}
	twins, err := json.Marshal(r.Twins)
	if err != nil {
		return err
	}
	signatures, err := json.Marshal(r.Signatures)
	if err != nil {
		return err
	}
	_, err = t.exec(sqlPutRotation, r.ID, string(r.Kind), r.Old, r.New, zeroOrOne(r.Emergency), r.Plan, r.State, micros(r.Since), r.Paused, string(r.Issue),
		string(canary), string(twins), zeroOrOne(r.Kept), string(signatures), micros(r.At), r.Actor, r.Version, zeroOrOne(c.Over))
	if err != nil {
		return err
	}
	_, err = t.exec(sqlPutEntry, r.ID, e.Number, micros(e.At), e.Actor, e.State, e.Step, e.Event, e.Text)
	return err
}

// Rotations implements ledger.Rotations.
func (s *Store) Rotations(ctx context.Context) ([]ledger.Rotation, error) {
	return list(ctx, s, "listing rotations", func(row row) (ledger.Rotation, error) {
		var r ledger.Rotation
		var emergency, since, kept, at int64
		var canary, twins, signatures string
		err := row.Scan(&r.ID, &r.Kind, &r.Old, &r.New, &emergency, &r.Plan, &r.State, &since, &r.Paused, &r.Issue, &canary, &twins, &kept, &signatures, &at, &r.Actor, &r.Version)
		if err != nil {
			return r, err
		}
		r.Emergency, r.Kept, r.Since, r.At = emergency != 0, kept != 0, fromMicros(since), fromMicros(at)
		return r, errors.Join(json.Unmarshal([]byte(canary), &r.Canary), json.Unmarshal([]byte(twins), &r.Twins), json.Unmarshal([]byte(signatures), &r.Signatures))
	}, sqlRotations, nil)
}

// RotationJournal implements ledger.Rotations.
func (s *Store) RotationJournal(ctx context.Context, id string, after int64, limit int) ([]ledger.RotationEntry, error) {
	return list(ctx, s, "listing the journal of a rotation", func(row row) (ledger.RotationEntry, error) {
		var e ledger.RotationEntry
		var at int64
		err := row.Scan(&e.Number, &at, &e.Actor, &e.State, &e.Step, &e.Event, &e.Text)
		e.At = fromMicros(at)
		return e, err
	}, sqlJournal, []any{id, after, pageSize(limit)})
}

// rotation writes a version, once the one before is there.
func (r *replay) rotation(c *ledger.RotationChange) (needs string, err error) {
	if err := checkRotation(c); err != nil {
		return "", err
	}
	var have int64
	if err := r.query(`SELECT version FROM rotations WHERE id = $1`, scanInto(&have), c.Rotation.ID); err != nil {
		return "", err
	}
	if have < c.Rotation.Version-1 {
		return aRotation(c.Rotation.ID, c.Rotation.Version-1), nil
	}
	if err := r.follows(&c.Rotation); err != nil {
		return "", err
	}
	return "", r.putRotation(c)
}
