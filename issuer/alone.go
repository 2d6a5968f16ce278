package issuer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

const (
	hierarchyJob = "hierarchy"
	// hierarchyLease is how long making an authority may take, its key included,
	// until another server may begin.
	hierarchyLease = 2 * time.Minute
)

// turn is this server's turn at changing the hierarchy.
type turn struct {
	ra    *RA
	fence ledger.Fence
}

// takeTurn makes this server the only one that changes the hierarchy, until
// end, and takes over what others have made: two authorities of one name, made
// on two servers at once, would cost the first its key. The caller holds
// ra.making.
func (ra *RA) takeTurn(ctx context.Context) (*turn, error) {
	fence, err := ra.Ledger.Acquire(ctx, hierarchyJob, ra.Server, ra.Now(), hierarchyLease)
	if errors.Is(err, ledger.ErrBusy) {
		return nil, &Refusal{Kind: Unavailable, Rule: "hierarchy-busy", RetryAfter: hierarchyLease / 4, Err: err,
			Text: "another server is making an authority at the moment; repeat the request when it is done"}
	}
	if err != nil {
		return nil, fmt.Errorf("taking the turn at the hierarchy: %w", err)
	}
	if err := ra.Refresh(ctx); err != nil {
		return nil, err
	}
	return &turn{ra, fence}, nil
}

// still returns an error if the turn took too long and is another server's.
func (t *turn) still(ctx context.Context) error {
	again, err := t.ra.Ledger.Acquire(ctx, t.fence.Job, t.fence.Holder, t.ra.Now(), hierarchyLease)
	if err == nil && again != t.fence {
		err = ledger.ErrLapsed
	}
	if err != nil {
		return fmt.Errorf("keeping the turn at the hierarchy: %w", err)
	}
	return nil
}

// end lets another server begin. If that cannot be recorded the lease ends by
// itself.
func (t *turn) end(ctx context.Context) {
	if _, err := t.ra.Ledger.Acquire(context.WithoutCancel(ctx), t.fence.Job, t.fence.Holder, t.ra.Now(), 0); err != nil {
		t.ra.log.Warn("ending the turn at the hierarchy", "error", err)
	}
}
