package est

import (
	"net/netip"
	"time"
)

// attempts limits wrong passwords per source address and per user. Secrets are
// too long to be guessed anyway, so the limit is generous: devices behind one
// address, one of them with an old secret, must not lock each other out. For the
// same reason a user's lock does not hold where the user has been right before:
// a stranger who tries passwords elsewhere must not stop the line.
type attempts struct{ *buckets[attemptKey] }

const (
	attemptBurst = 60 // wrong passwords before the lock
	// attemptLeak is how fast they are forgotten, so that a device which tries
	// a wrong password more slowly never locks anything.
	attemptLeak = time.Second
)

// attemptKey names a source address or a user of a label. Unknown users share
// one key for each label.
type attemptKey struct {
	source netip.Prefix
	label  string
	user   string
	known  bool
}

// at is the key that remembers where a user has been right.
func (k attemptKey) at(source attemptKey) attemptKey {
	k.source = source.source
	return k
}

func newAttempts() *attempts { return &attempts{newBuckets[attemptKey]()} }

func sourceKey(a netip.Addr) attemptKey { return attemptKey{source: source(a)} }

// locked reports whether a source or an account has been wrong too often.
func (a *attempts) locked(now time.Time, source, account attemptKey) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.m[source].level(now) >= attemptBurst {
		return true
	}
	_, proven := a.m[account.at(source)]
	return !proven && a.m[account].level(now) >= attemptBurst
}

// failed counts a wrong password.
func (a *attempts) failed(now time.Time, source, account attemptKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range []attemptKey{source, account} {
		a.put(now, k, bucket{min(a.m[k].level(now)+1, attemptBurst+1), now, attemptLeak})
	}
}

// succeeded remembers that the account has been right from this source.
func (a *attempts) succeeded(now time.Time, source, account attemptKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.put(now, account.at(source), bucket{at: now, leak: attemptLeak})
}
