package est

import (
	"net/netip"
	"sync"
	"time"
)

// maxBuckets bounds the memory of a table, to about a megabyte.
const maxBuckets = 8192

// buckets is a bounded table of leaking buckets. It is safe for concurrent use.
type buckets[K comparable] struct {
	mu sync.Mutex
	m  map[K]bucket
}

// bucket holds what has happened and is not forgotten yet.
type bucket struct {
	count float64
	at    time.Time
	leak  time.Duration // one is forgotten in it
}

func newBuckets[K comparable]() *buckets[K] { return &buckets[K]{m: make(map[K]bucket)} }

// level is how much of the bucket's count is left.
func (b bucket) level(now time.Time) float64 {
	if b.count == 0 {
		return 0
	}
	return max(0, b.count-float64(now.Sub(b.at))/float64(b.leak))
}

// lasts is how long the bucket takes to run empty.
func (b bucket) lasts(now time.Time) float64 { return b.level(now) * float64(b.leak) }

// put sets a bucket. The caller holds the lock.
func (t *buckets[K]) put(now time.Time, k K, b bucket) {
	if _, ok := t.m[k]; !ok && len(t.m) >= maxBuckets {
		t.evict(now)
	}
	t.m[k] = b
}

// evict forgets the one of a few buckets that would be empty first; map
// iteration picks them at random.
func (t *buckets[K]) evict(now time.Time) {
	var first K
	seen := 0
	for k, b := range t.m {
		if seen == 0 || b.lasts(now) < t.m[first].lasts(now) {
			first = k
		}
		if seen++; seen == 16 {
			break
		}
	}
	delete(t.m, first)
}

// take counts one more, of at most n a minute, and reports zero; or, if that is
// too many, counts nothing and reports in what time there is room for one. With look it
// never counts.
func (t *buckets[K]) take(now time.Time, k K, n int, look bool) time.Duration {
	if n <= 0 {
		return 0
	}
	leak := max(1, time.Minute/time.Duration(n))
	t.mu.Lock()
	defer t.mu.Unlock()
	level := t.m[k].level(now)
	if over := level + 1 - float64(n); over > 0 {
		return max(1, time.Duration(over*float64(leak)))
	}
	if !look {
		t.put(now, k, bucket{level + 1, now, leak})
	}
	return 0
}

// source is who stands for an address: a whole IPv6 /64 is one subscriber's.
// The zero prefix is an unknown address.
func source(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	prefix, _ := a.Prefix(bits)
	return prefix
}
