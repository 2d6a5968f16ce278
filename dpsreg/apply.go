package dpsreg

import (
	"context"
	"errors"
	"fmt"

	"mintmark/internal/reconcile"
)

// settling is how often Azure may fail to show a change after it accepted it.
const settling = 6

// Plan reads the target and returns what Apply would do. What can never be done,
// because DPS would refuse it or devices in the field would be, is in it as refused.
func (r *Registrar) Plan(ctx context.Context, t Target) (reconcile.Plan, error) {
	e, err := r.examine(ctx, t)
	return e.plan, err
}

// Apply makes CAs and groups what they should be and returns what it did; on an
// error, what it had done by then. It changes nothing if its own plan has a refusal,
// or is not what was agreed (reconcile.ErrChanged). What becomes destructive after the plan was
// made is not done either. A run that was cut off is continued by the next one.
// Progress is called for each resource when it is as desired, and may be nil.
// Connecting.Deadline bounds each resource.
func (r *Registrar) Apply(ctx context.Context, t Target, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, error) {
	done, waits, err := r.apply(ctx, t, agreed, progress)
	if err == nil && len(waits) > 0 {
		err = fmt.Errorf("DPS target %q: %w", t.Name, waits[0])
	}
	return done, err
}

// apply also returns what could not be done yet; the rest is done then.
func (r *Registrar) apply(ctx context.Context, t Target, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, []*waiting, error) {
	done := reconcile.Plan{Target: t.Name}
	e, err := r.examine(ctx, t)
	if err != nil {
		return done, nil, err
	}
	if err := e.plan.Refusals("DPS target"); err != nil {
		return done, nil, err
	}
	if err := e.plan.Check(agreed); err != nil {
		return done, nil, fmt.Errorf("DPS target %q: nothing was changed: %w", t.Name, err)
	}
	var waits []*waiting
	for i, res := range e.resources {
		change, err := r.converge(ctx, res, e.observed, e.plan.Changes[i].Destructive)
		var w *waiting
		if errors.As(err, &w) {
			waits = append(waits, w)
			change, err = reconcile.Change{Kind: res.kind, Subject: res.subject, Action: reconcile.Refuse, After: w.why}, nil
		}
		if err != nil {
			return done, waits, fmt.Errorf("DPS target %q: %s %s: %w", t.Name, res.kind, res.subject, err)
		}
		if change.Mutates() {
			if planned := e.plan.Changes[i]; planned.Action == change.Action {
				change = planned // whose words say more
			}
			r.conn.cfg.Logger.Info("changed Azure", "target", t.Name, "kind", change.Kind, "subject", change.Subject, "action", change.Action, "after", change.After)
		}
		done.Changes = append(done.Changes, change)
		if progress != nil {
			progress(change)
		}
	}
	return done, waits, nil
}

// converge reads, examines and acts until nothing is left to do, and returns the first
// change found. What it returns without an error has been read back from Azure. It
// makes no destructive change unless that is allowed.
func (r *Registrar) converge(ctx context.Context, res resource, o *observed, destructive bool) (reconcile.Change, error) {
	ctx, cancel := context.WithTimeout(ctx, r.conn.cfg.Deadline)
	defer cancel()
	var first *reconcile.Change
	acted := 0
	err := retry(ctx, func() error {
		for {
			if err := res.read(ctx, o); err != nil {
				return err
			}
			change, act, err := res.examine(ctx, o)
			if err != nil {
				return err
			}
			if first == nil || first.Action == reconcile.None {
				first = &change
			}
			switch {
			case change.Action == reconcile.Refuse:
				return errors.New(change.After)
			case act == nil:
				return nil
			case change.Destructive && !destructive:
				return fmt.Errorf("to %s what is %q has become destructive: %w", change.Action, change.Before, reconcile.ErrChanged)
			case acted == settling:
				return fmt.Errorf("DPS accepts the change from %q to %q, but does not show it", change.Before, change.After)
			}
			if err := act(ctx); err != nil {
				if exists(err) { // made by another, or by a call whose answer was lost
					return fmt.Errorf("%w: %w", errNotYet, err)
				}
				return err
			}
			if acted++; acted > 2 { // reads may lag behind writes; a CA takes two steps
				if err := pause(ctx, acted-2, nil); err != nil {
					return err
				}
			}
		}
	})
	if err != nil {
		return reconcile.Change{}, err
	}
	return *first, nil
}
