package issuer_test

import (
	"crypto/x509/pkix"
	"fmt"
	"sync/atomic"
	"testing"

	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// BenchmarkEnroll is the whole cycle at a trusted label over SQLite, with as
// many requests in flight as a line has: requests are made beforehand.
func BenchmarkEnroll(b *testing.B) {
	ra := withHierarchy(b, newRA(b, newLedger(b), nil))
	requests := make([][]byte, b.N)
	for i := range requests {
		requests[i] = pkitest.CSR(b, pkitest.NewKey(b), pkix.Name{CommonName: fmt.Sprintf("device-%d", i)})
	}
	var next atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := ra.Enroll(b.Context(), issuer.Request{
				Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", Requester: password, CSR: requests[next.Add(1)-1],
			}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
