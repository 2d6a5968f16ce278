package outbox

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mintmark/internal/ledger"
)

// tasks is an outbox in memory.
type tasks struct {
	mu   sync.Mutex
	all  map[int64]ledger.Task
	fail error
}

func newTasks(n int) *tasks {
	o := &tasks{all: map[int64]ledger.Task{}}
	for id := range int64(n) {
		o.all[id] = ledger.Task{ID: id, Kind: "aws", Due: time.Now()}
	}
	return o
}

func (o *tasks) Due(_ context.Context, kind string, now time.Time, limit int) ([]ledger.Task, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var due []ledger.Task
	for _, id := range slices.Sorted(maps.Keys(o.all)) {
		if t := o.all[id]; !t.Due.After(now) && t.Kind == kind {
			due = append(due, t)
		}
	}
	slices.SortStableFunc(due, func(a, b ledger.Task) int { return a.Due.Compare(b.Due) })
	return due[:min(limit, len(due))], o.fail
}

func (o *tasks) Done(_ context.Context, ids []int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		delete(o.all, id)
	}
	return o.fail
}

func (o *tasks) Retry(_ context.Context, id int64, at time.Time, cause string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.all[id]
	t.Due, t.LastErr, t.Attempts = at, cause, t.Attempts+1
	o.all[id] = t
	return o.fail
}

func (o *tasks) Tasks(_ context.Context, key string) ([]ledger.Task, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []ledger.Task
	for _, t := range o.all {
		if t.Key == key {
			list = append(list, t)
		}
	}
	return list, nil
}

func (o *tasks) Backlog(context.Context) (map[string]int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return map[string]int{"aws": len(o.all)}, nil
}

func (o *tasks) left() int {
	b, _ := o.Backlog(context.Background())
	return b["aws"]
}

func start(t *testing.T, o ledger.Outbox, deliver func(context.Context, []ledger.Task) []error) *Worker {
	w := New(Config{Ledger: o, Kind: "aws", Deliver: deliver, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("run returned %v", err)
		}
	})
	return w
}

// pass lets time go by and everyone finish what they do at its end.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestDeliversInBoundedBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newTasks(100)
		var sizes []int
		start(t, o, func(_ context.Context, tasks []ledger.Task) []error {
			sizes = append(sizes, len(tasks))
			return make([]error, len(tasks))
		})
		synctest.Wait()
		if o.left() != 0 || !slices.Equal(sizes, []int{32, 32, 32, 4}) {
			t.Errorf("%d left, batches %v", o.left(), sizes)
		}
	})
}

func TestPoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newTasks(0)
		w := start(t, o, func(_ context.Context, tasks []ledger.Task) []error { return make([]error, len(tasks)) })
		synctest.Wait()
		o.mu.Lock()
		o.all[7] = ledger.Task{ID: 7, Kind: "aws", Due: time.Now()}
		o.mu.Unlock()
		synctest.Wait()
		if o.left() != 1 {
			t.Error("delivered without poke or time")
		}
		w.Poke()
		synctest.Wait()
		if o.left() != 0 {
			t.Error("not delivered after a poke")
		}
	})
}

func TestFailuresAreTriedAgainSlower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newTasks(2)
		var times []time.Time
		var mended atomic.Bool
		start(t, o, func(_ context.Context, tasks []ledger.Task) []error {
			results := make([]error, len(tasks))
			for i, task := range tasks {
				if task.ID == 1 && !mended.Load() {
					results[i] = errors.New("throttled")
					times = append(times, time.Now())
				}
			}
			return results
		})
		synctest.Wait()
		if o.left() != 1 {
			t.Fatalf("one failure held up another task: %d left", o.left())
		}
		pass(24 * time.Hour)
		for i := 1; i < len(times); i++ {
			pause := times[i].Sub(times[i-1])
			most := min(longestPause, firstPause<<min(i-1, 20))
			if pause < most/2 || pause > most {
				t.Errorf("pause %d is %v, want between %v and %v", i, pause, most/2, most)
			}
		}
		if n := len(times); n < 24*4 || n > 24*8+12 {
			t.Errorf("%d attempts in a day", n)
		}
		o.mu.Lock()
		task := o.all[1]
		o.mu.Unlock()
		if task.Attempts != len(times) || task.LastErr != "throttled" {
			t.Errorf("task %+v", task)
		}
		mended.Store(true)
		pass(longestPause)
		if o.left() != 0 {
			t.Error("not delivered after the outside came back")
		}
	})
}

// TestEachRetryInItsTime: what is to be tried again after something else that failed is
// tried when its own pause is over.
func TestEachRetryInItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newTasks(20)
		failed := make(map[int64]bool)
		start(t, o, func(_ context.Context, tasks []ledger.Task) []error {
			results := make([]error, len(tasks))
			for i, task := range tasks {
				if !failed[task.ID] {
					failed[task.ID] = true
					results[i] = errors.New("away")
				}
			}
			return results
		})
		pass(firstPause + time.Second)
		if n := o.left(); n != 0 {
			t.Errorf("%d of 20 left", n)
		}
	})
}

func TestMissingResultsAreFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newTasks(2)
		start(t, o, func(_ context.Context, tasks []ledger.Task) []error { return make([]error, 1) })
		synctest.Wait()
		if n := o.left(); n != 1 {
			t.Errorf("%d left, want 1", n)
		}
	})
}

func TestLedgerAwayDoesNotHammerTheOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newTasks(1)
		o.fail = ledger.ErrUnavailable
		calls := 0
		w := start(t, o, func(_ context.Context, tasks []ledger.Task) []error {
			calls++
			return make([]error, len(tasks))
		})
		for range 3600 {
			w.Poke()
			pass(time.Second)
		}
		if calls > 150 {
			t.Errorf("%d deliveries in an hour", calls)
		}
	})
}

func TestDeliveryThatHangsIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newTasks(1)
		var took time.Duration
		start(t, o, func(ctx context.Context, tasks []ledger.Task) []error {
			began := time.Now()
			<-ctx.Done()
			took = time.Since(began)
			return []error{context.Cause(ctx)}
		})
		pass(time.Minute)
		if took != time.Minute {
			t.Errorf("ended after %v", took)
		}
	})
}

// put enqueues a task.
func (o *tasks) put(task ledger.Task) {
	o.mu.Lock()
	defer o.mu.Unlock()
	task.Due = time.Now()
	o.all[task.ID] = task
}

// TestSeenWithoutPoke: what another server has enqueued is delivered within seconds.
func TestSeenWithoutPoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newTasks(0)
		start(t, o, func(_ context.Context, tasks []ledger.Task) []error { return make([]error, len(tasks)) })
		for id := range int64(100) {
			pass(time.Duration(id) * 97 * time.Millisecond)
			o.put(ledger.Task{ID: id, Kind: "aws"})
			pass(5 * time.Second)
			if o.left() != 0 {
				t.Fatal("not delivered within 5 s")
			}
		}
	})
}

// TestOutageEnds: what has waited during an outage, however long its pause is by then, is
// delivered with the first task that is taken again; also by another worker for the same
// place, and of more tasks than a batch.
func TestOutageEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newTasks(100)
		var away atomic.Bool
		deliver := func(_ context.Context, tasks []ledger.Task) []error {
			results := make([]error, len(tasks))
			for i := range results {
				if away.Load() {
					results[i] = errors.New("away")
				}
			}
			return results
		}
		away.Store(true)
		w := start(t, o, deliver)
		var urgent *Worker
		urgent = New(Config{Ledger: o, Kind: "urgent", Deliver: deliver, Logger: slog.New(slog.DiscardHandler), Succeeded: func() { w.Free(); urgent.Free() }})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go urgent.Run(ctx)
		for range 2 { // the second outage as the first
			pass(3 * time.Hour)
			if o.left() != 100 {
				t.Fatalf("%d left", o.left())
			}
			away.Store(false)
			o.put(ledger.Task{ID: 1000, Kind: "urgent"})
			urgent.Poke()
			synctest.Wait()
			if o.left() != 0 {
				t.Fatalf("%d left", o.left())
			}
			away.Store(true)
			for id := range int64(100) {
				o.put(ledger.Task{ID: id, Kind: "aws"})
			}
		}
		cancel()
	})
}

// TestOwnFaultIsNotFreed: what fails whatever the others do is tried little more often than by its
// pauses, while others come and go.
func TestOwnFaultIsNotFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newTasks(3) // of which 1 is never taken
		attempts := 0
		w := start(t, o, func(_ context.Context, tasks []ledger.Task) []error {
			results := make([]error, len(tasks))
			for i, task := range tasks {
				if task.ID == 1 {
					results[i], attempts = errors.New("refused"), attempts+1
				}
			}
			return results
		})
		for id := range int64(24 * 360) { // one each ten seconds, for a day
			o.put(ledger.Task{ID: 10 + id, Kind: "aws"})
			w.Poke()
			pass(10 * time.Second)
		}
		if o.left() != 1 || attempts > 24*8+30 {
			t.Errorf("%d left, tried %d times in a day", o.left(), attempts)
		}
	})
}

// TestFlappingIsNotHammered: an outside that comes and goes each minute has what waits tried a few
// times an hour.
func TestFlappingIsNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newTasks(1) // never taken
		attempts, away := 0, false
		w := start(t, o, func(_ context.Context, tasks []ledger.Task) []error {
			results := make([]error, len(tasks))
			for i, task := range tasks {
				if task.ID == 0 {
					attempts++
				}
				if task.ID == 0 || away {
					results[i] = errors.New("away")
				}
			}
			return results
		})
		for id := range int64(24 * 60) {
			away = id%2 == 0
			o.put(ledger.Task{ID: 10 + id, Kind: "aws"})
			w.Poke()
			pass(time.Minute)
		}
		if attempts > 24*12+24*8+30 {
			t.Errorf("tried %d times in a day", attempts)
		}
	})
}
