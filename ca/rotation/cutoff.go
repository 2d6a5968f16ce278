package rotation

import (
	"context"
	"strings"

	"mintmark/internal/ledger"
)

// CutOffs lists the cloud targets at which an emergency has begun to shut the old CA out and
// is still PLANNED: another target has failed, or the server died. The journal says it, in the
// line that comes before anything is done at a target. Until the rotation goes on or is taken
// back, they are at the stage of APPROVED; all other targets of any rotation are where StageOf
// says.
func CutOffs(ctx context.Context, records ledger.Rotations, r ledger.Rotation) (targets []string, err error) {
	if !r.Emergency || State(r.State) != Planned || r.Version < 2 { // with version 1 came the line of the plan
		return nil, nil
	}
	seen := make(map[string]bool)
	err = eachEntry(ctx, records, r.ID, func(e ledger.RotationEntry) bool {
		target, _, _ := strings.Cut(e.Step, " ") // none has a space in its name
		if State(e.State) == Approved && e.Event == begun && !seen[target] {
			seen[target] = true
			targets = append(targets, target)
		}
		return true
	})
	return targets, err
}
