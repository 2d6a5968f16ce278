package jobs

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mintmark/internal/ledger"
)

// leases is a lease in memory: the real ones are proven by ledgertest, and a
// database cannot live in a bubble of simulated time.
type leases struct {
	holder string
	until  time.Time
	token  int64
	calls  atomic.Int64
	fail   atomic.Bool
}

func (l *leases) Acquire(_ context.Context, job, holder string, now time.Time, ttl time.Duration) (ledger.Fence, error) {
	l.calls.Add(1)
	if l.fail.Load() {
		return ledger.Fence{}, ledger.ErrUnavailable
	}
	if l.holder != holder {
		if now.Before(l.until) {
			return ledger.Fence{}, ledger.ErrBusy
		}
		l.holder = holder
		l.token++
	}
	l.until = now.Add(ttl)
	return ledger.Fence{Job: job, Holder: holder, Token: l.token}, nil
}

func config(l *leases, poke <-chan struct{}) Config {
	return Config{Ledger: l, Name: "crl", Holder: "a", TTL: time.Minute, Every: time.Hour, Poke: poke, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}
}

func TestRunsOnScheduleAndPoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		poke := make(chan struct{}, 1)
		var runs atomic.Int64
		go Run(ctx, config(&leases{}, poke), func(context.Context, ledger.Fence) error { runs.Add(1); return nil })
		time.Sleep(24*time.Hour + time.Minute)
		synctest.Wait()
		if runs.Load() != 25 {
			t.Errorf("%d runs in a day, want 25", runs.Load())
		}
		poke <- struct{}{}
		synctest.Wait()
		if runs.Load() != 26 {
			t.Errorf("a poke did not run the job")
		}
		cancel()
		synctest.Wait()
	})
}

func TestBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var runs atomic.Int64
		go Run(ctx, config(&leases{}, nil), func(context.Context, ledger.Fence) error { runs.Add(1); return errors.New("no") })
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if n := runs.Load(); n < 10 || n > 25 {
			t.Errorf("%d runs of a failing job in three hours", runs.Load())
		}
		cancel()
		synctest.Wait()
	})
}

func TestKeepsAndLosesTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := &leases{}
		ended := make(chan error, 1)
		go Run(ctx, config(l, nil), func(ctx context.Context, _ ledger.Fence) error {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return ctx.Err()
		})
		time.Sleep(10 * time.Minute)
		if l.calls.Load() < 25 {
			t.Errorf("the lease was extended %d times in ten minutes", l.calls.Load())
		}
		l.fail.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case err := <-ended:
			if !errors.Is(err, ledger.ErrLapsed) {
				t.Errorf("work ended with %v", err)
			}
		default:
			t.Error("work goes on without its lease")
		}
		cancel()
		synctest.Wait()
	})
}

func TestWaitsForAnotherHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := &leases{holder: "b", until: time.Now().Add(90 * time.Minute), token: 1}
		var token atomic.Int64
		go Run(ctx, config(l, nil), func(_ context.Context, f ledger.Fence) error { token.Store(f.Token); return nil })
		time.Sleep(61 * time.Minute)
		synctest.Wait()
		if token.Load() != 0 {
			t.Error("ran under another's lease")
		}
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if token.Load() != 2 {
			t.Errorf("token is %d after a change of holder, want 2", token.Load())
		}
		cancel()
		synctest.Wait()
	})
}
