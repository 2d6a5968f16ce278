package dpsreg

import (
	"context"
	"fmt"

	"mintmark/internal/reconcile"
)

// resources lists what a target consists of, in the order in which it is made: CAs,
// then the groups that stand on them. What goes comes last, groups before the CAs that
// they stand on.
func (r *Registrar) resources(s *session) []resource {
	var list, groups, cas []resource
	all := r.authorities()
	for _, ca := range s.target.CAs {
		if ca.deleted() {
			cas = append(cas, r.caDeletion(s, ca, all[ca.Authority]))
			continue
		}
		list = append(list, r.caResource(s, ca, all[ca.Authority]))
	}
	for _, g := range s.target.Groups {
		if g.deleted() {
			groups = append(groups, r.groupDeletion(s, g))
			continue
		}
		list = append(list, r.groupResource(s, g))
	}
	return append(append(list, groups...), cas...)
}

// examined is a target with what was found of it.
type examined struct {
	session   *session
	resources []resource
	observed  *observed
	plan      reconcile.Plan
}

// examine reads everything that a target consists of and makes its plan.
func (r *Registrar) examine(ctx context.Context, t Target) (examined, error) {
	t, err := r.checked(t)
	if err != nil {
		return examined{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.conn.cfg.Deadline)
	defer cancel()
	s, err := r.conn.session(t)
	if err != nil {
		return examined{}, err
	}
	e := examined{session: s, resources: r.resources(s), plan: reconcile.Plan{Target: t.Name}}
	if err := retry(ctx, func() (err error) {
		e.observed, err = r.observe(ctx, s)
		return err
	}); err != nil {
		return examined{}, fmt.Errorf("DPS target %q: %w", t.Name, err)
	}
	// Each resource is examined in the state that those before it will have made.
	after := e.observed.clone()
	after.planning = true
	for _, res := range e.resources {
		change, _, err := res.examine(ctx, after)
		if err != nil {
			return examined{}, fmt.Errorf("DPS target %q: %s %s: %w", t.Name, res.kind, res.subject, err)
		}
		if change.Mutates() {
			res.effect(after)
		}
		e.plan.Changes = append(e.plan.Changes, change)
	}
	budget(e.observed, e.plan.Changes)
	if err := r.warn(ctx, t, e.plan.Changes); err != nil {
		return examined{}, fmt.Errorf("DPS target %q: %w", t.Name, err)
	}
	return e, nil
}

// warn adds to the creation of a CA what those who approve it should know.
func (r *Registrar) warn(ctx context.Context, t Target, changes []reconcile.Change) error {
	all := r.authorities()
	for i, c := range changes {
		if c.Kind != kindCA || c.Action != reconcile.Create && c.Action != reconcile.Update {
			continue
		}
		for _, ca := range t.CAs {
			a := all[ca.Authority]
			if caSubject(ca, ca.NameAtDPS(a.Certificate)) != c.Subject {
				continue
			}
			text, err := r.expiryText(ctx, a)
			if err != nil {
				return err
			}
			if text != "" {
				changes[i].After += "; " + text
			}
		}
	}
	return nil
}

// expiryText says whether a CA ends too early; empty if it does not.
func (r *Registrar) expiryText(ctx context.Context, a Authority) (string, error) {
	if r.conn.cfg.Now().After(a.Certificate.NotAfter) {
		return fmt.Sprintf("%q expired on %s", a.Name, day(a.Certificate.NotAfter)), nil
	}
	early, err := r.below.outlived(ctx, a.Certificate)
	if err != nil || !early {
		return "", err
	}
	return fmt.Sprintf("%q expires on %s, before certificates of devices below it do", a.Name, day(a.Certificate.NotAfter)), nil
}
