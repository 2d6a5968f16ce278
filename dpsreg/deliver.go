package dpsreg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/rest"
	"mintmark/internal/ledger"
)

const (
	// BatchSize is how many tasks are best given to one Deliver.
	BatchSize = 500
	// workers is how many devices are worked on at once. A call takes some tens of
	// milliseconds, and the quota is 17 a second.
	workers = 8
)

// job is one device that is told of.
type job struct {
	standing
	outcome
	look  bool // there is something at DPS, whatever the ledger says
	hurry bool // it may end a block
	err   error
}

// context is for the calls about the one device.
func (j *job) context(ctx context.Context) context.Context {
	if j.hurry || j.blocked() {
		return urgent(ctx)
	}
	return ctx
}

// Deliver tells a target what tasks of one of its kinds say and returns one error a task, nil
// where it is told. What a device should have is read from the ledger when it is
// told, so that tasks may come late, twice and out of order. Of a batch, blocked devices
// come first and new enrollments, ten a call, last.
//
// What another has made at DPS is left alone; see blockForeign for the one exception.
// Where it stands in the way of a device, that is the error of the device's task.
func (ds *Devices) Deliver(ctx context.Context, t Target, tasks []ledger.Task) []error {
	errs := make([]error, len(tasks))
	ctx, cancel := context.WithTimeout(ctx, ds.conn.cfg.Deadline)
	defer cancel()
	jobs := make([]*job, len(tasks))
	for i, task := range tasks {
		jobs[i] = &job{hurry: task.Kind == UrgentKind(t)}
		id, err := parseTask(task)
		if err == nil {
			jobs[i].standing, err = ds.standing(ctx, t, id)
		}
		jobs[i].err = err
	}
	ds.tell(ctx, t, jobs)
	for i, j := range jobs {
		errs[i] = j.err
	}
	return errs
}

// tell settles all jobs that have no error yet.
func (ds *Devices) tell(ctx context.Context, t Target, jobs []*job) {
	var first, then, fresh []*job
	for _, j := range jobs {
		switch {
		case j.err != nil || j.silent() && !j.look:
		case j.blocked():
			first = append(first, j)
		case j.fresh() && !j.look:
			fresh = append(fresh, j)
		default:
			then = append(then, j)
		}
	}
	if len(first)+len(then)+len(fresh) == 0 {
		return
	}
	s, err := ds.conn.session(t)
	if err != nil {
		for _, j := range slices.Concat(first, then, fresh) {
			j.err = err
		}
		return
	}
	settle := func(list []*job) {
		inParallel(workers, len(list), func(i int) {
			j := list[i]
			j.outcome, j.err = ds.settle(j.context(ctx), s, j.standing)
		})
	}
	settle(first)
	// Hubs have a quota of their own, which is small: nothing else waits for it.
	var stopping sync.WaitGroup
	defer stopping.Wait()
	if len(t.Hubs) > 0 {
		stopping.Go(func() {
			inParallel(workers, len(first), func(i int) {
				j := first[i]
				j.err = errors.Join(j.err, ds.stop(j.context(ctx), s, j.standing, &j.outcome))
			})
		})
	}
	settle(then)
	// Most enrollments that are to be made are not there; those that are cost a second
	// call.
	var there []*job
	var mu sync.Mutex
	chunks := slices.Collect(slices.Chunk(fresh, dps.MaxBulk))
	inParallel(workers, len(chunks), func(i int) {
		left := ds.make(ctx, s, chunks[i])
		mu.Lock()
		defer mu.Unlock()
		there = append(there, left...)
	})
	settle(there)
}

// silent reports that there is nothing at Azure of the device, and nothing is wanted.
// What may be there for another reason is found by Reconcile.
func (d standing) silent() bool {
	return !d.wasBlocked() && !slices.ContainsFunc(d.wants, func(w want) bool { return w.Kind != wantNothing })
}

// fresh reports that the device gets its first individual enrollment, as far as the
// ledger can tell.
func (d standing) fresh() bool {
	if d.wasBlocked() || len(d.wants) != 1 {
		return false
	}
	w := d.wants[0]
	return w.Kind == wantPinned && w.RegistrationID != "" && len(d.certificates) == 1
}

// make creates the enrollments of at most dps.MaxBulk devices and returns those that
// must be looked at singly, because there is something already.
func (ds *Devices) make(ctx context.Context, s *session, jobs []*job) (left []*job) {
	byID := make(map[string]*job)
	var list []dps.Enrollment
	for _, j := range jobs {
		next, err := j.decide(j.wants[0], nil)
		id := j.wants[0].RegistrationID
		switch {
		case err != nil:
			j.err = fmt.Errorf("device %q: %w", j.device.ID, err)
		case byID[id] != nil: // of two devices with one name: see the error
			left = append(left, j)
		default:
			byID[id] = j
			list = append(list, next.enrollment)
			j.add(next)
		}
	}
	refused, err := s.dps.Bulk(ctx, dps.BulkCreate, list)
	again := func(j *job) {
		j.outcome = outcome{}
		left = append(left, j)
	}
	if err != nil {
		for _, e := range list {
			j := byID[e.RegistrationID]
			// One that the service does not take must not keep nine others out.
			var refused *rest.Error
			if errors.As(err, &refused) && !refused.Temporary() {
				again(j)
				continue
			}
			j.outcome, j.err = outcome{}, fmt.Errorf("making %d individual enrollments: %w", len(list), err)
		}
		return left
	}
	for _, e := range refused {
		j := byID[strings.ToLower(e.RegistrationID)]
		if j == nil {
			for _, j := range jobs {
				j.outcome, j.err = outcome{}, errors.New("making individual enrollments: the service refuses one that was not among them")
			}
			return nil
		}
		again(j)
	}
	if made := len(list) - len(refused); made > 0 {
		ds.conn.cfg.Logger.Info("individual enrollments made", "target", s.target.Name, "count", made)
	}
	return left
}

// inParallel calls work for each index below count, n of them at once.
func inParallel(n, count int, work func(i int)) {
	var wait sync.WaitGroup
	queue := make(chan int)
	for range min(n, count) {
		wait.Go(func() {
			for i := range queue {
				work(i)
			}
		})
	}
	for i := range count {
		queue <- i
	}
	close(queue)
	wait.Wait()
}
