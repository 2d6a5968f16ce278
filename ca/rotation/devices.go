package rotation

import (
	"time"

	"mintmark/internal/ledger"
)

// AnchorQuery selects the devices that have to follow a rotation, as its plan names them.
// It fails where the plan cannot be read.
func AnchorQuery(r ledger.Rotation, now time.Time) (ledger.AnchorQuery, error) {
	plan, err := ParsePlan(r.Plan)
	if err != nil {
		return ledger.AnchorQuery{}, err
	}
	q := ledger.AnchorQuery{Rotation: r.ID, Issuers: plan.Affected, Now: now, Silent: plan.Spec.Gates.Silent}
	if r.Kind == ledger.RotateIssuing {
		q.New = r.New
	}
	return q, nil
}
