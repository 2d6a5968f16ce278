package awsreg

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"mintmark/internal/reconcile"
)

// A resource is one thing at AWS that has a desired state.
type resource struct {
	// examine reads what is there and returns what is to be done about it. The
	// action is nil when nothing is, or nothing can be. It makes no change.
	examine func(context.Context) (reconcile.Change, action, error)
	// long says that it takes time by the number of certificates, and bounds its
	// own steps.
	long bool
	// registers is the CA that is registered if the change is its creation; nil
	// for every other resource.
	registers *x509.Certificate
}

// action makes one change. It is run right after the examination that returned
// it, and followed by another, so that it may leave work for the next one. It
// treats as success what an earlier call of its own, whose answer was lost, would
// have left.
type action func(context.Context) error

// settling is how often AWS may fail to show a change after it accepted it.
const settling = 6

// Plan reads the target and returns what Apply would do. What can never be done,
// because AWS would refuse it or because a registration cannot be changed that
// way, is in it as refused.
func (r *Registrar) Plan(ctx context.Context, t Target) (reconcile.Plan, error) {
	_, _, plan, err := r.examine(ctx, t)
	return plan, err
}

// examine reads everything that a target consists of.
func (r *Registrar) examine(ctx context.Context, t Target) (*session, []resource, reconcile.Plan, error) {
	s, err := r.bounded(ctx, t)
	if err != nil {
		return nil, nil, reconcile.Plan{}, err
	}
	resources, err := r.resources(ctx, s)
	if err != nil {
		return nil, nil, reconcile.Plan{}, err
	}
	plan, err := r.plan(ctx, s, resources)
	return s, resources, plan, err
}

// bounded is session within the Registrar's deadline.
func (r *Registrar) bounded(ctx context.Context, t Target) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Deadline)
	defer cancel()
	return r.session(ctx, t, true)
}

// step runs a part of the work on a resource. Each has the Registrar's deadline,
// but for those which bound their own.
func (r *Registrar) step(ctx context.Context, res resource, do func(context.Context) error) error {
	if res.long {
		return do(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Deadline)
	defer cancel()
	return do(ctx)
}

// Apply is ApplyAgreed for whoever agrees to all that the plan may say.
func (r *Registrar) Apply(ctx context.Context, t Target, progress func(reconcile.Change)) (reconcile.Plan, error) {
	return r.ApplyAgreed(ctx, t, reconcile.Agreed{Destructive: true}, progress)
}

// ApplyAgreed makes the target what it should be and returns what it did; on an
// error, what it had done by then. It changes nothing if its own plan has a refusal,
// or is not what was agreed (reconcile.ErrChanged); what another owns (reconcile.Foreign) is
// reported and does not stop the rest. What becomes destructive after the plan was
// made is not done either. A run that was cut off is continued by the next one.
// Progress is called for each resource when it is as desired, and may be nil.
// Config.Deadline bounds each resource, and of a sweep each page of certificates.
func (r *Registrar) ApplyAgreed(ctx context.Context, t Target, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, error) {
	_, resources, plan, err := r.examine(ctx, t)
	if err != nil {
		return reconcile.Plan{}, err
	}
	done := reconcile.Plan{Target: t.Name}
	if err := plan.Refusals("AWS target"); err != nil {
		return done, err
	}
	if err := plan.Check(agreed); err != nil {
		return done, fmt.Errorf("AWS target %q: nothing was changed: %w", t.Name, err)
	}
	for i, res := range resources {
		var change reconcile.Change
		err := r.step(ctx, res, func(ctx context.Context) (err error) {
			change, err = res.converge(ctx, plan.Changes[i].Destructive)
			return err
		})
		if err != nil {
			return done, fmt.Errorf("AWS target %q: %w", t.Name, err)
		}
		done.Changes = append(done.Changes, change)
		if change.Mutates() {
			r.cfg.Logger.Info("changed AWS", "target", t.Name, "kind", change.Kind, "subject", change.Subject, "action", change.Action, "after", change.After)
		}
		if progress != nil {
			progress(change)
		}
	}
	return done, nil
}

func (r *Registrar) plan(ctx context.Context, s *session, resources []resource) (reconcile.Plan, error) {
	plan := reconcile.Plan{Target: s.target.Name}
	for _, res := range resources {
		var change reconcile.Change
		err := r.step(ctx, res, func(ctx context.Context) error {
			return retry(ctx, func() (err error) {
				change, _, err = res.examine(ctx)
				return err
			})
		})
		if err != nil {
			return reconcile.Plan{}, fmt.Errorf("AWS target %q: %w", s.target.Name, err)
		}
		plan.Changes = append(plan.Changes, change)
	}
	if err := r.tenOfOneSubject(ctx, s, resources, plan.Changes); err != nil {
		return reconcile.Plan{}, fmt.Errorf("AWS target %q: %w", s.target.Name, err)
	}
	return plan, nil
}

// converge examines and acts until nothing is left to do, and returns the first
// change found. What it returns without an error has been read back from AWS. It
// makes no destructive change unless that is allowed.
func (res resource) converge(ctx context.Context, destructive bool) (reconcile.Change, error) {
	var first *reconcile.Change
	acted := 0
	err := retry(ctx, func() error {
		for {
			change, act, err := res.examine(ctx)
			if err != nil {
				return err
			}
			if first == nil || first.Action == reconcile.None {
				first = &change
			}
			if change.Action == reconcile.Refuse {
				return errors.New(change.After)
			}
			if act == nil {
				return nil
			}
			if change.Destructive && !destructive {
				return fmt.Errorf("%s %s: to %s what is %q takes it out of service: %w", change.Kind, change.Subject, change.Action, change.Before, reconcile.ErrChanged)
			}
			if acted == settling {
				return fmt.Errorf("%s %s: AWS accepts the change from %q to %q, but does not show it", change.Kind, change.Subject, change.Before, change.After)
			}
			if err := act(ctx); err != nil {
				return err // not accepted, or only to be waited for: retry counts that
			}
			if acted++; acted > 1 { // reads may lag behind writes
				if err := pause(ctx, acted); err != nil {
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
