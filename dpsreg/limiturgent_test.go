package dpsreg

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestLimiterUrgent: what is urgent leaves before bulk calls that wait already, at the pace
// of the quota and in the order in which it came; the bulk calls get the rest.
func TestLimiterUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(1000)
		begin := time.Now()
		var mu sync.Mutex
		var at []time.Time
		var n []int
		left := func(operations int) {
			mu.Lock()
			defer mu.Unlock()
			at, n = append(at, time.Now()), append(n, operations)
		}
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				for range 25 {
					if err := l.wait(t.Context(), 10); err != nil {
						t.Error(err)
					}
					left(10)
				}
			})
		}
		time.Sleep(20 * time.Second)
		hurry := urgent(t.Context())
		var alone time.Duration
		for range 5 {
			before := time.Now()
			if err := l.wait(hurry, 1); err != nil {
				t.Fatal(err)
			}
			left(1)
			alone = max(alone, time.Since(before))
			time.Sleep(time.Second)
		}
		if alone > 500*time.Millisecond {
			t.Errorf("one operation waited %v behind bulk calls", alone)
		}
		var order []int
		burst := time.Now()
		for i := range 40 {
			wait.Go(func() {
				if err := l.wait(hurry, 1); err != nil {
					t.Error(err)
				}
				left(1)
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				if took := time.Since(burst); took > 4*time.Second {
					t.Errorf("the %d. of 40 operations waited %v", i, took)
				}
			})
			synctest.Wait()
		}
		wait.Wait()
		for i, came := range order {
			if i != came {
				t.Fatalf("they left in the order %v", order)
			}
		}
		if most := mostInAMinute(at, n); most > 1000 {
			t.Errorf("%d in a minute", most)
		}
		if took, fair := time.Since(begin), time.Duration(2045*60/1000)*time.Second; took > fair*6/5 {
			t.Errorf("it took %v, at the quota it were %v", took, fair)
		}
	})
}

// TestLimiterUrgentGivesUp: it takes nothing, and everybody waits for a stop.
func TestLimiterUrgentGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(60)
		for l.take(1) == 0 {
		}
		hurry, cancel := context.WithTimeout(urgent(t.Context()), time.Millisecond)
		defer cancel()
		first, second := make(chan error), make(chan error)
		go func() { first <- l.wait(hurry, 10) }()
		synctest.Wait()
		go func() { second <- l.wait(hurry, 1) }()
		for _, c := range []chan error{first, second} {
			if err := <-c; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
		}
		begin := time.Now()
		if err := l.wait(t.Context(), 1); err != nil || time.Since(begin) > 2*time.Second {
			t.Errorf("after those who gave up: %v, %v", time.Since(begin), err)
		}
		begin = time.Now()
		go func() { first <- l.wait(urgent(t.Context()), 1) }()
		synctest.Wait()
		l.stop(time.Minute)
		if err := <-first; err != nil || time.Since(begin) < time.Minute {
			t.Errorf("left after %v of a stop, %v", time.Since(begin), err)
		}
	})
}
