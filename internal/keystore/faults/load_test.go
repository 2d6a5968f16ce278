package faults

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load asks for something from several goroutines in closed loops.
type load struct {
	asked atomic.Int64

	stop func()
	mu   sync.Mutex
	// What was asked for took, and what it failed with.
	worst    time.Duration
	failures []error
}

// startLoad asks, until end.
func startLoad(t testing.TB, workers int, ask func(ctx context.Context, worker int) error) *load {
	t.Helper()
	l := &load{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				start := time.Now()
				// What was asked is always waited for.
				err := ask(context.WithoutCancel(ctx), worker)
				if l.note(time.Since(start), err) > mostFailures {
					return // there is nothing more to learn
				}
			}
		})
	}
	l.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(l.stop)
	return l
}

// mostFailures is when a load gives up.
const mostFailures = 500

// note notes an answer and returns how many failed.
func (l *load) note(took time.Duration, err error) int {
	l.asked.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.worst = max(l.worst, took)
	if err != nil {
		l.failures = append(l.failures, err)
	}
	return len(l.failures)
}

// failed is how many failed until now.
func (l *load) failed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.failures)
}

// reached waits until so many were asked for, unless they all fail.
func reached(t testing.TB, l *load, n int64) bool {
	t.Helper()
	for start := time.Now(); l.asked.Load() < n; time.Sleep(time.Millisecond) {
		if time.Since(start) > patience || l.failed() > mostFailures {
			_, _, failures := l.end()
			none(t, failures)
			return false
		}
	}
	return true
}

// end stops it and waits for the last answers.
func (l *load) end() (asked int64, worst time.Duration, failures []error) {
	l.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked.Load(), l.worst, slices.Clone(l.failures)
}

// none fails the test for every failure, up to a few.
func none(t testing.TB, failures []error) {
	t.Helper()
	for _, err := range failures[:min(len(failures), 5)] {
		t.Errorf("failed: %v", err)
	}
	if n := len(failures); n > 5 {
		t.Errorf("and %d more failed", n-5)
	}
}
