package est

import (
	"net/netip"
	"sync"
	"time"
)

// attempts limits wrong passwords per source address and per user. Secrets are
// too long to be guessed anyway, so the limit is generous: devices behind one
// address, one of them with an old secret, must not lock each other out. For the
// same reason a user's lock does not hold where the user has been right before:
// a stranger who tries passwords elsewhere must not stop the line.
type attempts struct {
	mu      sync.Mutex
	buckets map[attemptKey]bucket
}

const (
	attemptBurst = 60 // wrong passwords before the lock
	// attemptLeak is how fast they are forgotten, so that a device which tries
	// a wrong password more slowly never locks anything.
	attemptLeak    = time.Second
	attemptBuckets = 8192 // bounds the memory, to about a megabyte
)

// attemptKey names a source address or a user of a label. Unknown users share
// one key for each label.
type attemptKey struct {
	source netip.Prefix
	label  string
	user   string
	known  bool
}

type bucket struct {
	failures float64
	at       time.Time
}

// at is the key that remembers where a user has been right.
func (k attemptKey) at(source attemptKey) attemptKey {
	k.source = source.source
	return k
}

func (b bucket) level(now time.Time) float64 {
	return max(0, b.failures-float64(now.Sub(b.at))/float64(attemptLeak))
}

func newAttempts() *attempts { return &attempts{buckets: make(map[attemptKey]bucket)} }

// sourceKey takes a whole IPv6 /64, which is one subscriber's.
func sourceKey(a netip.Addr) attemptKey {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	prefix, _ := a.Prefix(bits) // the zero prefix for an unknown address
	return attemptKey{source: prefix}
}

// locked reports whether a source or an account has been wrong too often.
func (a *attempts) locked(now time.Time, source, account attemptKey) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.buckets[source].level(now) >= attemptBurst {
		return true
	}
	_, proven := a.buckets[account.at(source)]
	return !proven && a.buckets[account].level(now) >= attemptBurst
}

// failed counts a wrong password.
func (a *attempts) failed(now time.Time, source, account attemptKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range []attemptKey{source, account} {
		a.put(now, k, bucket{failures: min(a.buckets[k].level(now)+1, attemptBurst+1), at: now})
	}
}

// succeeded remembers that the account has been right from this source.
func (a *attempts) succeeded(now time.Time, source, account attemptKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.put(now, account.at(source), bucket{at: now})
}

func (a *attempts) put(now time.Time, k attemptKey, b bucket) {
	if _, ok := a.buckets[k]; !ok && len(a.buckets) >= attemptBuckets {
		a.evict(now)
	}
	a.buckets[k] = b
}

// evict forgets the emptiest of a few buckets; map iteration picks them at
// random.
func (a *attempts) evict(now time.Time) {
	var emptiest attemptKey
	seen := 0
	for k, b := range a.buckets {
		if seen == 0 || b.level(now) < a.buckets[emptiest].level(now) {
			emptiest = k
		}
		if seen++; seen == 16 {
			break
		}
	}
	delete(a.buckets, emptiest)
}
