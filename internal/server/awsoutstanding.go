package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"mintmark/awsreg"
	"mintmark/internal/ledger"
)

// outstanding are the tasks of a target that failed after the manifest had all that
// they say (awsreg.Told): only AWS IoT is still to be told. This server has to have
// delivered them itself. It may be used concurrently.
type outstanding struct {
	mu    sync.Mutex
	tasks map[int64]bool // by id, which the ledger never gives twice
}

func newOutstanding() *outstanding { return &outstanding{tasks: make(map[int64]bool)} }

// note takes in how a delivery went.
func (o *outstanding) note(tasks []ledger.Task, errs []error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, task := range tasks {
		if errs[i] != nil && awsreg.Told(errs[i]) {
			o.tasks[task.ID] = true
		} else {
			delete(o.tasks, task.ID)
		}
	}
}

func (o *outstanding) known() []int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := make([]int64, 0, len(o.tasks))
	for id := range o.tasks {
		ids = append(ids, id)
	}
	return ids
}

// forget drops tasks that are gone.
func (o *outstanding) forget(ids map[int64]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id := range ids {
		delete(o.tasks, id)
	}
}

// all reports whether the tasks of these kinds that wait in the ledger, n of them,
// are all outstanding only. One that replaced another is not, until it is delivered.
func (o *outstanding) all(ctx context.Context, box ledger.Outbox, n int, kinds ...string) (bool, error) {
	known := o.known()
	if n > len(known) {
		return false, nil
	}
	gone := make(map[int64]bool, len(known))
	for _, id := range known {
		gone[id] = true
	}
	all := true
	for _, kind := range kinds {
		waiting, err := box.Due(ctx, kind, time.Now().AddDate(100, 0, 0), len(known)+1) // postponed ones, too
		if err != nil {
			return false, fmt.Errorf("listing what waits: %w", err)
		}
		for _, task := range waiting {
			all = all && gone[task.ID]
			delete(gone, task.ID)
		}
	}
	o.forget(gone)
	return all, nil
}
