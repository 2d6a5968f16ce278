package dpsreg

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// left counts, of operations that left at some times, the most in any minute.
func mostInAMinute(at []time.Time, n []int) int {
	most := 0
	for i := range at {
		sum := 0
		for j := i; j < len(at) && at[j].Sub(at[i]) < time.Minute; j++ {
			sum += n[j]
		}
		most = max(most, sum)
	}
	return most
}

// TestLimiterQuota: no minute has more operations than the quota, and little of it is
// left unused; single calls and bulk calls alike.
func TestLimiterQuota(t *testing.T) {
	for _, test := range []struct{ quota, bulk int }{{1000, 1}, {1000, 10}, {100, 1}, {100, 10}, {20, 10}, {10, 1}, {10, 10}, {1_000_000, 10}} {
		synctest.Test(t, func(t *testing.T) {
			l := newLimiter(test.quota)
			var at []time.Time
			var n []int
			calls := min(4*test.quota/test.bulk, 4000)
			begin := time.Now()
			for range calls {
				if err := l.wait(t.Context(), test.bulk); err != nil {
					t.Fatal(err)
				}
				at, n = append(at, time.Now()), append(n, test.bulk)
			}
			if most := mostInAMinute(at, n); most > test.quota {
				t.Errorf("quota %d by %d: %d in a minute", test.quota, test.bulk, most)
			}
			if took, fair := time.Since(begin), time.Duration(float64(calls*test.bulk)/float64(test.quota)*float64(time.Minute)); test.quota >= 100 && took > fair*6/5 {
				t.Errorf("quota %d by %d: %d calls took %v, at the quota it were %v", test.quota, test.bulk, calls, took, fair)
			}
		})
	}
}

// TestLimiterShared: many callers at once do not leave faster than one.
func TestLimiterShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(1000)
		var mu sync.Mutex
		var at []time.Time
		var n []int
		var wait sync.WaitGroup
		for range 50 {
			wait.Go(func() {
				for range 40 {
					if err := l.wait(t.Context(), 1); err != nil {
						t.Error(err)
					}
					mu.Lock()
					at, n = append(at, time.Now()), append(n, 1)
					mu.Unlock()
				}
			})
		}
		wait.Wait()
		if most := mostInAMinute(at, n); most > 1000 {
			t.Errorf("%d in a minute", most)
		}
	})
}

// TestLimiterStop: after a 429 nothing leaves before the time that the service said,
// and then not in a burst.
func TestLimiterStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(1000)
		begin := time.Now()
		l.stop(30 * time.Second)
		l.stop(5 * time.Second) // a shorter one does not end it
		if err := l.wait(t.Context(), 0); err != nil || time.Since(begin) < 30*time.Second {
			t.Errorf("left after %v, %v", time.Since(begin), err)
		}
		for range 20 {
			if err := l.wait(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin) - 30*time.Second; took < time.Second {
			t.Errorf("20 operations left within %v after a silence that was ordered", took)
		}
		begin = time.Now()
		l.stop(0)
		if err := l.wait(t.Context(), 1); err != nil || time.Since(begin) < quiet {
			t.Errorf("left after %v of a 429 that does not say how long, %v", time.Since(begin), err)
		}
	})
}

// TestLimiterStopsWaiting: whoever waits already waits for the end of the stop too.
func TestLimiterStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(60)
		for l.take(1) == 0 {
		}
		begin, done := time.Now(), make(chan error)
		go func() { done <- l.wait(t.Context(), 1) }()
		synctest.Wait()
		l.stop(time.Minute)
		if err := <-done; err != nil || time.Since(begin) < time.Minute {
			t.Errorf("left after %v, %v", time.Since(begin), err)
		}
	})
}

// TestLimiterGivesUp: a caller who gives up takes nothing, and leaves its turn to the
// next.
func TestLimiterGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(60)
		for l.take(1) == 0 {
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		first, second := make(chan error), make(chan error)
		go func() { first <- l.wait(ctx, 10) }()
		synctest.Wait()
		go func() { second <- l.wait(ctx, 1) }()
		for _, c := range []chan error{first, second} {
			if err := <-c; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
		}
		begin := time.Now()
		if err := l.wait(t.Context(), 1); err != nil || time.Since(begin) > 2*time.Second {
			t.Errorf("after those who gave up: %v, %v", time.Since(begin), err)
		}
	})
}
