package dpsreg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mintmark/internal/ledger"
)

// strayOrder says why devices of a group's work orders would not end in it; empty if they
// all do. o is what DPS has, nil for what the target says alone.
func (r *Registrar) strayOrder(ctx context.Context, t Target, g Group, o *observed) (string, error) {
	if r.cfg.Records == nil || r.cfg.LabelIssuer == nil {
		return "", nil // of a bundle that is when it is made
	}
	groups := r.grounds(t, o)
	for _, id := range g.Orders {
		order, err := r.cfg.Records.Order(ctx, id)
		if errors.Is(err, ledger.ErrNotFound) {
			return fmt.Sprintf("there is no work order %q, whose devices should end in it: create it, or take it out of orders", id), nil
		}
		if err != nil {
			return "", fmt.Errorf("looking up work order %q: %w", id, err)
		}
		if i := slices.IndexFunc(t.Enrollments, func(e Enrollment) bool { return e.takes(order) }); i >= 0 {
			return fmt.Sprintf("devices of work order %q get individual enrollments of their own (enrollments entry %q)", id, t.Enrollments[i].Name), nil
		}
		switch end, _, err := r.leads(t, order.Label, groups); {
		case err != nil:
			return fmt.Sprintf("work order %q: %v", id, err), nil
		case end == "":
			return fmt.Sprintf("devices of work order %q come in at label %q, which leads to no group", id, order.Label), nil
		case !strings.EqualFold(end, g.ID):
			return fmt.Sprintf("devices of work order %q come in at label %q and end in group %q", id, order.Label, end), nil
		}
	}
	return "", nil
}

// takes reports whether devices of a work order get individual enrollments.
func (e Enrollment) takes(order ledger.Order) bool {
	has := func(list []string, s string) bool { return len(list) == 0 || slices.Contains(list, s) }
	return has(e.Orders, order.ID) && has(e.Labels, order.Label) && has(e.Profiles, order.Profile)
}
