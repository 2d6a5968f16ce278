package adminhttp

import (
	"context"
	"net/http"

	"mintmark/internal/reconcile"
)

func (h *handler) applyAWS(w http.ResponseWriter, r *http.Request) error {
	name, err := h.awsTarget(r)
	if err != nil {
		return err
	}
	return h.applyPlan(w, r, planned{
		kind: "AWS target", name: name, failed: fromAWS,
		plan: func(ctx context.Context) (reconcile.Plan, error) { return h.AWS.Plan(ctx, name) },
		apply: func(ctx context.Context, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, error) {
			return h.AWS.Apply(ctx, name, agreed, progress)
		},
	})
}
