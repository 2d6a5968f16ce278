package tokencheck

import (
	"context"
	"crypto"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"mintmark/internal/keystore/token"
)

// measure counts signatures with so many at a time.
func (k *check) measure(ctx context.Context, signer *token.Signer, sessions int) {
	if k.Measure <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, k.Measure)
	defer cancel()
	digest := make([]byte, crypto.SHA256.Size())
	rand.Read(digest)
	var made atomic.Int64
	var failure error
	var once sync.Once
	var wait sync.WaitGroup
	start := time.Now()
	for range sessions {
		wait.Go(func() {
			for ctx.Err() == nil {
				if _, err := signer.Sign(nil, digest, crypto.SHA256); err != nil {
					once.Do(func() { failure = err })
					return
				}
				made.Add(1)
			}
		})
	}
	wait.Wait()
	took := time.Since(start)
	rate := Rate{Sessions: sessions, PerSecond: float64(made.Load()) / took.Seconds()}
	if failure != nil {
		k.failed("speed", fmt.Errorf("after %d signatures: %w", made.Load(), failure))
		return
	}
	k.out.Rates = append(k.out.Rates, rate)
	at := "one at a time"
	if sessions > 1 {
		at = fmt.Sprintf("%d at a time", sessions)
	}
	k.say("speed", OK, "%.0f signatures a second, %s", rate.PerSecond, at)
}
