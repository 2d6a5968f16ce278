package outbox

import (
	"slices"
	"time"

	"mintmark/internal/ledger"
)

const (
	// freeEvery is how often what waits may be freed: tasks that fail whatever the others do
	// are tried again with them, and the pauses of a shorter outage are not longer.
	freeEvery = 5 * time.Minute
	// fewAttempts is how often a task was tried that may fail because nothing can be
	// delivered: later it may be its own fault.
	fewAttempts = 5
	// mostTried bounds how many tasks are remembered that failed again.
	mostTried = 10_000
)

// outage is what a worker knows of whether the outside takes anything. After an outage what
// failed in it is delivered without waiting for its pause, which may be longestPause.
type outage struct {
	away bool      // nothing was taken lately
	last time.Time // when it was freed last
	// tried are the tasks that failed since; nil while nothing is freed.
	tried map[int64]bool
}

// freeing reports whether tasks are taken whose pause is not over.
func (o *outage) freeing() bool { return o.tried != nil }

// freed ends that.
func (o *outage) freed() { o.tried = nil }

// end is that the outside takes tasks again.
func (o *outage) end(now time.Time) {
	o.away = false
	if o.last.IsZero() || now.Sub(o.last) >= freeEvery {
		o.last, o.tried = now, make(map[int64]bool)
	}
}

// until is the time by which the tasks that are taken are due.
func (o *outage) until(now time.Time) time.Time {
	if o.freeing() {
		return now.Add(longestPause)
	}
	return now
}

// left are the tasks that were not tried since the outage.
func (o *outage) left(tasks []ledger.Task) []ledger.Task {
	return slices.DeleteFunc(tasks, func(t ledger.Task) bool { return o.tried[t.ID] })
}

// note takes in how a delivery went.
func (o *outage) note(now time.Time, tasks []ledger.Task, results []error) {
	taken, early := 0, false
	for i, task := range tasks {
		if results[i] == nil {
			taken++
		} else if early = early || task.Attempts < fewAttempts; o.freeing() {
			o.tried[task.ID] = true
		}
	}
	switch {
	case taken > 0 && o.away:
		o.end(now)
		for i, task := range tasks {
			if results[i] != nil && o.freeing() {
				o.tried[task.ID] = true
			}
		}
	case taken == 0 && (early || o.freeing()):
		o.away = true
		o.freed()
	case len(o.tried) > mostTried:
		o.freed()
	}
}
