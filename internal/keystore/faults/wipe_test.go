package faults

import (
	"context"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"mintmark/internal/keystore/faults/shim"
)

// worstPause is what a request may wait for a lost session.
const worstPause = 250 * time.Millisecond

// TestFaultWipes loses all sessions of the token again and again while certificates are
// asked for. Nobody may notice but by the time that it takes.
func TestFaultWipes(t *testing.T) {
	wipes, asks, rounds := 100, int64(10_000), 3
	if long {
		wipes, asks = 1000, 100_000
	}
	w := newWorld(t, false, nil)
	w.must(t, "issuing")
	// A pause is the machine's, too: after a round that was too slow another one, before
	// others on the machine if that is allowed, tells whose it was. A failure is one in
	// every round.
	for round := 1; ; round++ {
		worst := wipeRound(t, w, wipes, asks)
		switch {
		case t.Failed() || worst < worstPause:
			return
		case round == rounds:
			t.Fatalf("the worst pause was %v in the last of %d rounds, and may be %v", worst, rounds, worstPause)
		case round == 1:
			overtake(t)
			w.reopen(t)
		}
	}
}

// overtake puts this process, and those that it starts, before others until the test
// ends.
func overtake(t *testing.T) {
	set := func(nice int) error {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err != nil {
				return err
			}
			if err := syscall.Setpriority(syscall.PRIO_PROCESS, id, nice); err != nil && err != syscall.ESRCH {
				return err
			}
		}
		return nil
	}
	if err := set(-15); err != nil {
		t.Logf("the next rounds are no better than the first: %v", err)
		return
	}
	t.Cleanup(func() {
		if err := set(0); err != nil {
			t.Error(err)
		}
	})
}

func wipeRound(t *testing.T, w *world, wipes int, asks int64) time.Duration {
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
		// Some are made in the middle of the recovery from the last one.
		if next := l.asked.Load() + asks/int64(wipes)*int64(n%3)/2; !reached(t, l, next) {
			t.Fatalf("the load stands still after %d wipes and %d requests", n, l.asked.Load())
		}
		kind := shim.Wipe(n%3) + shim.CloseAllSessions
		rv, err := w.Wipe(kind, patience)
		if err != nil {
			t.Fatal(err)
		}
		if failed := l.failed(); failed > 0 {
			_, _, failures := l.end()
			none(t, failures)
			t.Fatalf("%d failed after %d wipes", failed, n)
		}
		if rv == 0 { // else there was nothing to lose at the moment
			done[kind]++
			n++
		}
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
