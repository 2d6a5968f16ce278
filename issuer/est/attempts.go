package est

import (
	"net/netip"
	"time"
)

// attempts limits wrong passwords per source address, and per account at a
// source. Secrets are generated and too long to be guessed, so it is a brake on
// whoever tries, and on nobody else: what strangers do elsewhere locks no
// account where its owner is, and where only the account is locked the right secret
// still passes. A whole line stands behind a station, which has no lock of its own.
type attempts struct{ *buckets[attemptKey] }

const (
	attemptBurst = 60 // wrong passwords before the lock
	// attemptLeak is how fast they are forgotten, so that a device which tries
	// a wrong password more slowly never locks anything.
	attemptLeak = time.Second
)

// attemptKey names a source address or, with a label, an account of it as this
// source tries it. Unknown users share one key for each source and label.
type attemptKey struct {
	source netip.Prefix
	label  string
	user   string
	known  bool
}

func newAttempts() *attempts { return &attempts{newBuckets[attemptKey]()} }

func sourceKey(a netip.Addr) attemptKey { return attemptKey{source: source(a)} }

// at is an account as a source tries it.
func (k attemptKey) at(source attemptKey) attemptKey {
	k.source = source.source
	return k
}

// locked reports whether something has been wrong too often.
func (a *attempts) locked(now time.Time, k attemptKey) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.m[k].level(now) >= attemptBurst
}

// failed counts a wrong password.
func (a *attempts) failed(now time.Time, k attemptKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.put(now, k, bucket{min(a.m[k].level(now)+1, attemptBurst+1), now, attemptLeak})
}
