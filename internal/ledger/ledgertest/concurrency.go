package ledgertest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// clients is how many requests are in flight at a time.
const clients = 64

// together runs f in all clients at once.
func together(f func(n int)) {
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() { f(n) })
	}
	wg.Wait()
}

var concurrencyChecks = []check{
	{"many requests at once", func(t *testing.T, b *bench) {
		const each = 8
		together(func(n int) {
			for k := range each {
				done := b.Announce()
				i := b.intent(fmt.Sprintf("dev-%d-%d", n, k), fmt.Sprint(n, k))
				results, err := b.Begin(b.ctx, []ledger.Intent{i})
				if err == nil && results[0] == nil {
					results, err = b.Finish(b.ctx, []ledger.Issued{Signed(i, b.now)})
				}
				done()
				if err != nil || results[0] != nil {
					t.Errorf("%v, %v", results, err)
					return
				}
				// What was answered is there for everyone at once.
				if c, err := b.Certificate(b.ctx, i.Serial); err != nil || c.State != ledger.Valid {
					t.Errorf("after finish: %v, %v", c.State, err)
				}
			}
		})
		page, err := b.Certificates(b.ctx, ledger.Query{State: ledger.Valid, Limit: 1000})
		b.ok(err)
		b.equal("certificates", len(page.Certificates), clients*each)
	}},
	{"one certificate for a request that is repeated at once", func(t *testing.T, b *bench) {
		var issued atomic.Int32
		var mu sync.Mutex
		seen := map[ledger.Serial]bool{}
		together(func(n int) {
			for {
				done := b.Announce()
				i := b.intent("dev-1", "k1")
				results, err := b.Begin(b.ctx, []ledger.Intent{i})
				if err != nil {
					t.Error(err)
					done()
					return
				}
				var prior *ledger.PriorError
				switch {
				case results[0] == nil:
					if results, err := b.Finish(b.ctx, []ledger.Issued{Signed(i, b.now)}); err != nil || results[0] != nil {
						t.Error(results, err)
					}
					issued.Add(1)
				case errors.Is(results[0], ledger.ErrInFlight):
					done()
					time.Sleep(time.Millisecond)
					continue
				case errors.As(results[0], &prior):
					i.Serial = prior.Certificate.Serial
				default:
					t.Error(results[0])
				}
				done()
				mu.Lock()
				seen[i.Serial] = true
				mu.Unlock()
				return
			}
		})
		b.equal("issued", issued.Load(), 1)
		b.equal("different answers", len(seen), 1)
	}},
	{"one key wins when many claim a device at once", func(t *testing.T, b *bench) {
		var won, clones atomic.Int32
		together(func(n int) {
			done := b.Announce()
			defer done()
			i := b.intent("dev-1", fmt.Sprint("key ", n))
			results, err := b.Begin(b.ctx, []ledger.Intent{i})
			var clone *ledger.CloneError
			switch {
			case err != nil:
				t.Error(err)
			case results[0] == nil:
				won.Add(1)
				if results, err := b.Finish(b.ctx, []ledger.Issued{Signed(i, b.now)}); err != nil || results[0] != nil {
					t.Error(results, err)
				}
			case errors.As(results[0], &clone):
				clones.Add(1)
			default:
				t.Error(results[0])
			}
		})
		b.equal("won", won.Load(), 1)
		b.equal("clones", clones.Load(), clients-1)
	}},
	{"either finished or void", func(t *testing.T, b *bench) {
		together(func(n int) {
			i := b.intent(fmt.Sprint("dev-", n), fmt.Sprint("k", n))
			if results, err := b.Begin(b.ctx, []ledger.Intent{i}); err != nil || results[0] != nil {
				t.Error(results, err)
				return
			}
			var wg sync.WaitGroup
			var voided, finished error
			wg.Go(func() { voided = b.Void(b.ctx, i.Serial, b.now) })
			wg.Go(func() {
				results, err := b.Finish(b.ctx, []ledger.Issued{Signed(i, b.now)})
				if err != nil {
					t.Error(err)
					return
				}
				finished = results[0]
			})
			wg.Wait()
			if (voided == nil) == (finished == nil) {
				t.Errorf("void: %v, finish: %v", voided, finished)
			}
		})
	}},
	{"CRL numbers are taken once", func(t *testing.T, b *bench) {
		fence := b.fence("crl")
		var mu sync.Mutex
		numbers := map[int64]bool{}
		together(func(int) {
			work, err := b.NextCRL(b.ctx, fence, "line-a", 0, b.now, time.Hour)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			numbers[work.Number] = true
			mu.Unlock()
		})
		b.equal("numbers", len(numbers), clients)
	}},
}
