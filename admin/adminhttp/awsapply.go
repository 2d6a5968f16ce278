package adminhttp

import (
	"context"
	"net/http"

	"mintmark/awsreg"
	"mintmark/internal/reconcile"
)

func (h *handler) applyAWS(w http.ResponseWriter, r *http.Request) error {
	name, err := h.target(r)
	if err != nil {
		return err
	}
	return h.applyPlan(w, r, planned{
		kind: "AWS target", name: name, failed: fromAWS,
		plan: func(ctx context.Context) (reconcile.Plan, error) { return h.AWS.Plan(ctx, name) },
		apply: func(ctx context.Context, a agreement, progress func(reconcile.Change)) (reconcile.Plan, error) {
			return h.AWS.Apply(ctx, name, awsreg.Agreed(a), progress)
		},
	})
}
