package adminhttp

import (
	"context"
	"errors"
	"net/http"
	"time"

	"mintmark/internal/ledger"
)

// peopleJob is the lease of who changes principals, quantityJob begins that of
// who changes the quantity of a work order.
const (
	peopleJob   = "people"
	quantityJob = "quantity of "
)

// turnTime is more than a change takes. Who dies in one keeps the others out
// for so long.
const turnTime = 30 * time.Second

// turn makes a request the only one, at this server and all others, that
// changes something of which it first reads how it is: how many officers would be
// left, whether a quantity is raised. Of two at once the second would decide by
// what is no longer so, and do alone what takes two persons.
type turn struct {
	h     *handler
	fence ledger.Fence
}

// takeTurn refuses if another request has the turn. The caller has read the body
// of its request, which may take long, and calls end.
func (h *handler) takeTurn(ctx context.Context, job string) (*turn, error) {
	fence, err := h.Ledger.Acquire(ctx, job, h.RA.Server+" "+requestID(), h.RA.Now(), turnTime)
	if errors.Is(err, ledger.ErrBusy) {
		return nil, fail(http.StatusServiceUnavailable, "busy", "someone else changes this at the moment: see what has become of it, and try again")
	}
	if err != nil {
		return nil, err
	}
	return &turn{h, fence}, nil
}

// still refuses if the turn took too long and is another's by now.
func (t *turn) still(ctx context.Context) error {
	again, err := t.h.Ledger.Acquire(ctx, t.fence.Job, t.fence.Holder, t.h.RA.Now(), turnTime)
	if err == nil && again != t.fence {
		err = ledger.ErrBusy
	}
	return err
}

// end lets another request begin. If that cannot be recorded the lease ends by
// itself.
func (t *turn) end(ctx context.Context) {
	if _, err := t.h.Ledger.Acquire(context.WithoutCancel(ctx), t.fence.Job, t.fence.Holder, t.h.RA.Now(), 0); err != nil {
		t.h.Logger.Warn("ending a turn", "job", t.fence.Job, "error", err)
	}
}
