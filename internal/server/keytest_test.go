package server

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestKeyTests: a probe is answered within half a second, whatever hangs.
func TestKeyTests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var good, hung atomic.Int32
		release := make(chan error)
		k := newKeyTests(func(_ context.Context, name string) error {
			if name == "hangs" {
				hung.Add(1)
				return <-release
			}
			good.Add(1)
			return nil
		})
		names := []string{"hangs", "signs"}
		look := func(within time.Duration) map[string]keyResult {
			t.Helper()
			start := time.Now()
			r := k.look(names)
			if d := time.Since(start); d > within {
				t.Errorf("the probe took %v", d)
			}
			return r
		}
		r := look(testPatience)
		if !strings.Contains(r["hangs"].finding, "has not come back for 500ms") || !r["hangs"].good.IsZero() {
			t.Errorf("a key that hangs: %+v", r["hangs"])
		}
		if r["signs"].finding != "" || r["signs"].good.IsZero() {
			t.Errorf("a key that signs: %+v", r["signs"])
		}
		// A prober that asks all the time starts nothing more.
		for range 4 {
			look(testPatience)
		}
		if hung.Load() != 1 || good.Load() != 1 {
			t.Errorf("%d and %d test signatures were begun", hung.Load(), good.Load())
		}
		time.Sleep(readinessAge)
		if r = look(testPatience); good.Load() != 2 || hung.Load() != 1 || !strings.Contains(r["hangs"].finding, "for 8s") {
			t.Errorf("%d and %d test signatures were begun: %+v", hung.Load(), good.Load(), r["hangs"])
		}
		release <- errors.New("token \"factory\" is absent: no such token")
		synctest.Wait()
		if r = look(0); r["hangs"].finding != `token "factory" is absent: no such token` {
			t.Errorf("a key that failed: %+v", r["hangs"])
		}
		time.Sleep(readinessAge)
		go func() { release <- nil }()
		if r = look(testPatience); r["hangs"].finding != "" || r["hangs"].good.IsZero() {
			t.Errorf("a key that is back: %+v", r["hangs"])
		}
		// Slow is not hung: what was good stays so until the time is up.
		time.Sleep(readinessAge)
		if r = look(testPatience); r["hangs"].finding != "" || hung.Load() != 3 {
			t.Errorf("a slow key: %+v, begun %d times", r["hangs"], hung.Load())
		}
		time.Sleep(testTimeout)
		if r = look(testPatience); !strings.Contains(r["hangs"].finding, "has not come back for") {
			t.Errorf("a key that was slow: %+v", r["hangs"])
		}
		release <- nil
		synctest.Wait()
	})
}
