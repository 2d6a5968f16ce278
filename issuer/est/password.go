package est

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"mintmark/internal/ledger"
)

// decoy takes the place of an unknown user's secret, so that unknown users and
// wrong secrets take the same path.
var decoy = func() [][32]byte {
	var d [32]byte
	rand.Read(d[:])
	return [][32]byte{d}
}()

// byPassword authenticates by HTTP Basic: RFC 7030, Section 3.2.3. Whatever is
// wrong, the answer is the same 401; only the log says more.
func (h *Handler) byPassword(x *exchange) (identity, error) {
	user, secret, ok := x.r.BasicAuth()
	if !ok {
		return identity{}, fail(http.StatusUnauthorized, ruleNoCredential, "neither an acceptable TLS client certificate nor a password")
	}
	sum := sha256.Sum256([]byte(secret))
	hashes, known := x.label.secrets[user]
	if !known {
		hashes = decoy
	}
	match := 0
	for _, want := range hashes {
		match |= subtle.ConstantTimeCompare(sum[:], want[:])
	}

	now := h.now()
	source, account := sourceKey(x.peer), attemptKey{label: x.label.Name}
	if known {
		account.user, account.known = user, true
	}
	right := known && match == 1
	switch {
	case h.attempts.locked(now, source, account):
		x.note(slog.String("user", shorten(user)), slog.Bool("right", right))
		return identity{}, fail(http.StatusUnauthorized, ruleAttempts, "too many wrong passwords")
	case !right:
		h.attempts.failed(now, source, account)
		x.note(slog.String("user", shorten(user)), slog.Bool("known", known))
		return identity{}, fail(http.StatusUnauthorized, ruleCredential, "unknown user or wrong password")
	}
	return identity{requester: ledger.Requester{Kind: "password", Name: user, Address: x.peer}}, nil
}

// shorten bounds what a stranger can write into the log.
func shorten(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}

// attempts limits wrong passwords per source address and per user. Secrets are
// too long to be guessed anyway, so the limit is generous: devices behind one
// address, one of them with an old secret, must not lock each other out.
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

func (a *attempts) locked(now time.Time, keys ...attemptKey) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range keys {
		if a.buckets[k].level(now) >= attemptBurst {
			return true
		}
	}
	return false
}

func (a *attempts) failed(now time.Time, keys ...attemptKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range keys {
		b, ok := a.buckets[k]
		if !ok && len(a.buckets) >= attemptBuckets {
			a.evict(now)
		}
		a.buckets[k] = bucket{failures: min(b.level(now)+1, attemptBurst+1), at: now}
	}
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
