package sqldb_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pgtest"
)

// BenchmarkEnrollCommit is what an enrollment costs in the ledger: Begin and
// Finish, 64 requests in flight. cpu-us/op is the process's, fsync excluded.
func BenchmarkEnrollCommit(b *testing.B) {
	for _, clients := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) { benchmarkEnroll(b, sqlite, clients, 0) })
	}
	// As in a server: each request computes between its two commits.
	b.Run("clients=64,busy", func(b *testing.B) { benchmarkEnroll(b, sqlite, 64, 150*time.Microsecond) })
}

// BenchmarkIssuePostgres is the same with PostgreSQL on the same host, whose
// own computing is not part of cpu-us/op.
func BenchmarkIssuePostgres(b *testing.B) {
	server := pgtest.Start(b)
	postgres := func(b *testing.B, change func(*sqldb.Config)) *sqldb.Store {
		s, _ := openPostgres(b, server.NewDatabase(b), "alpha", b.TempDir(), change)
		return s
	}
	for _, clients := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) { benchmarkEnroll(b, postgres, clients, 0) })
	}
}

func sqlite(b *testing.B, change func(*sqldb.Config)) *sqldb.Store {
	s, _ := open(b, b.TempDir(), change)
	return s
}

func benchmarkEnroll(b *testing.B, open func(*testing.B, func(*sqldb.Config)) *sqldb.Store, clients int, work time.Duration) {
	var batches, items atomic.Int64
	s := open(b, func(c *sqldb.Config) {
		c.ObserveCommit = func(n int, _ time.Duration) {
			batches.Add(1)
			items.Add(int64(n))
		}
	})
	ctx := context.Background()
	now := time.Now()
	epoch, err := s.Join(ctx, "alpha", now, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	tbs, der := bytes.Repeat([]byte{0x30, 0x82, 7}, 200), bytes.Repeat([]byte{0x30, 0x82, 9}, 300)
	batches.Store(0)
	items.Store(0)
	var next atomic.Int64
	var wg sync.WaitGroup
	cpu := cpuTime()
	b.ResetTimer()
	for range clients {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				done := s.Announce()
				spin(work)
				i := ledgertest.NewIntent(epoch, now.Add(time.Duration(n)*100*time.Microsecond), fmt.Sprintf("device-%08d", n), fmt.Sprint("key", n))
				i.TBS = tbs
				results, err := s.Begin(ctx, []ledger.Intent{i})
				if err == nil && results[0] == nil {
					spin(work)
					results, err = s.Finish(ctx, []ledger.Issued{{Serial: i.Serial, DER: der, At: i.At}})
				}
				done()
				if err != nil || results[0] != nil {
					b.Error(results, err)
					return
				}
				spin(work / 2)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(items.Load())/float64(max(1, batches.Load())), "items/batch")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N)-2.5*float64(work.Microseconds()), "cpu-us/op")
}

// spin computes for about the given time.
func spin(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
