package server

import (
	"context"
	"sync"
	"sync/atomic"

	"mintmark/internal/outbox"
)

// delivery is what this server does for one target of a cloud.
type delivery struct {
	workers   []*outbox.Worker // deliver its tasks, the urgent ones apart
	beat      poke             // wakes what keeps the target current
	stale     atomic.Bool      // the target lacks what was recorded before it was there
	ours      atomic.Bool      // this server has the lease of the target's deliveries
	comparing sync.Mutex       // held by the one comparison with the ledger that runs
}

func newDelivery() *delivery { return &delivery{beat: make(poke, 1)} }

// add makes a worker of the target. What one of them can deliver again, the others can.
func (d *delivery) add(c outbox.Config) {
	c.Succeeded = d.free
	d.workers = append(d.workers, outbox.New(c))
}

// free has the workers try again what failed while the target took nothing.
func (d *delivery) free() {
	for _, worker := range d.workers {
		worker.Free()
	}
}

// wake tells the workers that there may be something to tell.
func (d *delivery) wake() {
	for _, worker := range d.workers {
		worker.Poke()
	}
}

// run tells the target for as long as the lease lasts. Deliveries may come again and
// in any order (awsreg, dpsreg), so that one which a paused server brings after its
// lease does no harm.
func (d *delivery) run(ctx context.Context) error {
	d.stale.Store(true)
	d.ours.Store(true)
	defer d.ours.Store(false)
	d.beat.Set()
	return deliverAll(ctx, d.workers)
}
