package issuer

import (
	"context"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// CutOffs lists the cloud targets at which an emergency that is PLANNED has begun to shut the
// old CA out, as this server serves by it; see rotation.CutOffs. The list must not be
// modified; it may be called concurrently, and does no I/O.
func (ra *RA) CutOffs(id string) []string {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	return ra.known.cutOffs[id]
}

func (ra *RA) cutOffsOf(ctx context.Context, rotations []ledger.Rotation) (map[string][]string, error) {
	all := make(map[string][]string)
	for _, r := range rotations {
		targets, err := rotation.CutOffs(ctx, ra.Ledger, r)
		if err != nil {
			return nil, err
		}
		all[r.ID] = targets
	}
	return all, nil
}
