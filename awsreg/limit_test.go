package awsreg

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// departures lets callers use a bucket at once, each again and again, and returns
// when they left. Answered says what AWS says to the call at that moment.
func departures(b *bucket, callers, each int, answered func() bool) []time.Time {
	var mu sync.Mutex
	var left []time.Time
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for range each {
				if b.wait(context.Background()) != nil {
					return
				}
				mu.Lock()
				left = append(left, time.Now())
				refused := answered()
				mu.Unlock()
				b.answered(refused)
			}
		})
	}
	wait.Wait()
	slices.SortFunc(left, time.Time.Compare)
	return left
}

func never() bool { return false }

func TestLimitPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits(2)
		start := time.Now()
		left := departures(l.bucket("RegisterCertificate"), 40, 25, never)
		if len(left) != 1000 {
			t.Fatalf("%d calls", len(left))
		}
		// 1000 calls at 20 a second, less the headroom.
		if took, want := time.Since(start).Seconds(), 1000/(20*headroom); took < want*0.99 || took > want*1.01 {
			t.Errorf("took %.1f s, want %.1f", took, want)
		}
		// No second has more than AWS allows.
		for i := range left {
			n := 0
			for n < len(left)-i && left[i+n].Sub(left[i]) < time.Second {
				n++
			}
			if n > 20+limitBurst {
				t.Fatalf("%d calls in the second from %v", n, left[i].Sub(start))
			}
		}
		// Another operation has a bucket and a quota of its own.
		start = time.Now()
		departures(l.bucket("AttachPolicy"), 10, 30, never)
		if took, want := time.Since(start).Seconds(), 300/(30*headroom); took < want*0.97 || took > want*1.01 {
			t.Errorf("took %.1f s, want %.1f", took, want)
		}
	})
}

func TestLimitTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLimits(1).bucket("DescribeCertificate")
		departures(b, 1, limitBurst, never)
		interval := time.Duration(float64(time.Second) / b.rate)
		start := time.Now()
		giveUp, cancel := context.WithCancel(t.Context())
		var order []int
		var mu sync.Mutex
		for i := range 4 {
			go func() {
				ctx := t.Context()
				if i == 0 || i == 2 {
					ctx = giveUp
				}
				if b.wait(ctx) == nil {
					mu.Lock()
					defer mu.Unlock()
					order = append(order, i)
				}
			}()
			synctest.Wait() // so that they queue in this order
		}
		time.Sleep(interval / 2)
		cancel() // the first in the line and one within it
		time.Sleep(2 * interval)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(order, []int{1, 3}) {
			t.Errorf("order %v", order)
		}
		// The two who stayed left one and two intervals after the beginning: the
		// turns of those who went away were theirs.
		if got := b.next.Sub(start); got < 2*interval || got > 3*interval {
			t.Errorf("the next turn is after %v, an interval is %v", got, interval)
		}
	})
}

func TestLimitAdapts(t *testing.T) {
	// rate is what AWS allows while others use up the rest.
	run := func(t *testing.T, b *bucket, rate float64, seconds int) (accepted, refused int) {
		tokens, last, end := rate, time.Now(), time.Now().Add(time.Duration(seconds)*time.Second)
		for time.Now().Before(end) {
			if err := b.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			tokens, last = min(rate, tokens+now.Sub(last).Seconds()*rate), now
			if tokens < 1 {
				refused++
				b.answered(true)
				continue
			}
			tokens--
			accepted++
			b.answered(false)
		}
		return accepted, refused
	}
	synctest.Test(t, func(t *testing.T) {
		b := newLimits(1).bucket("UpdateCertificate")
		run(t, b, 4, 60)
		accepted, refused := run(t, b, 4, 300)
		if accepted < 4*300*90/100 || refused > accepted/2 {
			t.Errorf("at 4 a second: %d accepted, %d refused", accepted, refused)
		}
		// The others have gone.
		run(t, b, 1000, 90)
		if accepted, _ = run(t, b, 1000, 100); accepted < 950 {
			t.Errorf("afterwards: %d in 100 s", accepted)
		}
	})
	// Refusals that are not about our rate cost next to nothing.
	synctest.Test(t, func(t *testing.T) {
		b := newLimits(1).bucket("UpdateCertificate")
		random := rand.New(rand.NewPCG(1, 2))
		start := time.Now()
		departures(b, 10, 500, func() bool { return random.Float64() < 0.05 })
		if took := time.Since(start).Seconds(); took > 1.07*500 {
			t.Errorf("5,000 calls at 10 a second took %.0f s", took)
		}
	})
	// Nor do refusals in a window with few calls, as at the end of a batch, where the last device is tried
	// again: they say nothing of the rate.
	synctest.Test(t, func(t *testing.T) {
		b := newLimits(1).bucket("UpdateCertificate")
		departures(b, 10, 20, never)
		time.Sleep(limitWindow)
		departures(b, 1, 2, func() bool { return true })
		time.Sleep(limitWindow)
		start := time.Now()
		departures(b, 10, 20, never)
		if took := time.Since(start).Seconds(); took > 1.07*20 {
			t.Errorf("after two refusals in a silence 200 calls at 10 a second took %.0f s", took)
		}
	})
}
