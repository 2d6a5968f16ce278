package faults

import (
	"context"
	"math"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mintmark/internal/keystore/faults/shim"
)

// worstPause is what a request may wait for a lost session.
const worstPause = 250 * time.Millisecond

// TestFaultWipes loses all sessions of the token again and again while certificates are
// asked for. Nobody may notice but by the time that it takes.
func TestFaultWipes(t *testing.T) {
	w := newWorld(t, false, nil)
	w.must(t, "issuing")
	// A pause is the machine's, too: after a round that was too slow another one tells
	// whose it was. A failure is one in every round.
	wipes := 20
	if long {
		wipes = 100
	}
	least := math.Inf(1)
	for range 3 {
		busy := contention(t)
		worst := wipeRound(t, w, wipes, int64(wipes)*100, false)
		if t.Failed() || worst < worstPause {
			return
		}
		least = min(least, max(busy, contention(t)))
		t.Logf("a processor took %.1f times as long as it should", least)
	}
	if least < 1.5 {
		t.Errorf("the worst pause may be %v", worstPause)
		return
	}
	if long {
		t.Error("the pauses cannot be judged while others use the processors: make faults wants the machine for itself")
		return
	}
	t.Log("the pauses are not judged: others use the processors")
}

// TestFaultWipesTwice makes another loss in the middle of the recovery from each.
func TestFaultWipesTwice(t *testing.T) {
	w := newWorld(t, false, nil)
	w.must(t, "issuing")
	wipes := 30
	if long {
		wipes = 1000
	}
	wipeRound(t, w, wipes, int64(wipes)*100, true)
}

// contention is how much longer than its processor time a calculation takes at the
// moment, with one on every processor.
func contention(t *testing.T) float64 {
	t.Helper()
	const work = 50 * time.Millisecond
	used := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
			t.Error(err)
			return work
		}
		return time.Duration(ts.Nano())
	}
	var wg sync.WaitGroup
	start := time.Now()
	for range runtime.NumCPU() {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for from := used(); used()-from < work; {
			}
		})
	}
	wg.Wait()
	return float64(time.Since(start)) / float64(work)
}

// wipeRound makes so many wipes while at least so many requests are made, and returns the
// worst pause. With twice another wipe follows each at once.
func wipeRound(t *testing.T, w *world, wipes int, asks int64, twice bool) time.Duration {
	t.Helper()
	a := w.cas["issuing"]
	began, logins, restarts := time.Now(), w.Get(shim.Logins), w.Get(shim.Loads)
	l := startLoad(t, 8, func(ctx context.Context, worker int) error {
		// Whole certificates, and bare signatures that are verified like theirs.
		if worker%4 != 0 {
			return a.TestSign(ctx)
		}
		_, err := issue(ctx, a, w.device)
		return err
	})
	done := make(map[shim.Wipe]int)
	for n := 0; n < wipes; {
		if !reached(t, l, l.asked.Load()+50+int64(n%4)*25) {
			t.Fatalf("the load stands still after %d wipes and %d requests", n, l.asked.Load())
		}
		rv := wipe(t, w, n)
		if failed := l.failed(); failed > 0 {
			_, _, failures := l.end()
			none(t, failures)
			t.Fatalf("%d failed after %d wipes", failed, n)
		}
		if rv != 0 {
			continue // there was nothing to lose at the moment
		}
		done[kindOf(n)]++
		if twice {
			wipe(t, w, n/3)
		}
		n++
	}
	if !reached(t, l, asks) {
		t.Fatalf("the load stands still after %d requests", l.asked.Load())
	}
	asked, worst, failures := l.end()
	none(t, failures)
	t.Logf("%v wipes: %d asked, %d failed, worst pause %v, %d logins, %d restarts, in %v", done, asked, len(failures),
		worst.Round(time.Millisecond), w.Get(shim.Logins)-logins, w.Get(shim.Loads)-restarts, time.Since(began).Round(time.Millisecond))
	return worst
}

// kindOf is the kind of the wipe number n.
func kindOf(n int) shim.Wipe { return shim.CloseAllSessions + shim.Wipe(n%3) }

// wipe makes one and returns what the library said.
func wipe(t *testing.T, w *world, n int) uint {
	t.Helper()
	rv, err := w.Wipe(kindOf(n), patience)
	if err != nil {
		t.Fatal(err)
	}
	return rv
}
