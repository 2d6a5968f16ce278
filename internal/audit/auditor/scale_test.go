package auditor

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// Memory does not grow with certificates, but for their serial numbers. 2,000
// of them, or as many as MINTMARK_LONG says, where it also says how long that
// takes.
func TestVerifyScale(t *testing.T) {
	n := 2_000
	if long := os.Getenv("MINTMARK_LONG"); long != "" {
		n = 100_000
		if wanted, err := strconv.Atoi(long); err == nil && wanted > 1 {
			n = wanted
		}
	}
	w := newWorld(t, "alpha", 0)
	root := w.authority("root", nil)
	key := newKey(t)
	for i := 0; i < n; i += 250 {
		var intents, all []ledger.Event
		for k := i; k < min(n, i+250); k++ {
			c := w.sign(fmt.Sprintf("dev-%07d", k), root, key, false)
			intents, all = append(intents, w.intentOf(c, "root", ledger.ForDevice)), append(all, issuedOf(c))
		}
		w.append(intents...)
		w.append(all...)
	}
	w.head()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var most uint64
	c := w.config()
	c.Progress = func(int64) {
		runtime.ReadMemStats(&after)
		most = max(most, after.HeapAlloc)
	}
	began := time.Now()
	report := clean(t, c)
	if report.Certificates != int64(n)+1 {
		t.Errorf("%d certificates", report.Certificates)
	}
	t.Logf("%d certificates in %v, heap at most %d MB more", n, time.Since(began), (int64(most)-int64(before.HeapAlloc))>>20)
	if grown := int64(most) - int64(before.HeapAlloc); grown > 64<<20+int64(n)*100 {
		t.Errorf("the heap grew by %d MB", grown>>20)
	}
}
