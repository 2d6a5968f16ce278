package dpssim

import (
	"strings"
	"sync"
	"time"
)

// rates counts calls against Config.Limits in a sliding window; how Azure counts is not
// documented. Its clock is Config.Now.
type rates struct {
	limits *Limits // nil for none
	now    func() time.Time

	mu    sync.Mutex
	taken map[string][]spent // by what is counted, oldest first
}

// spent is a number of operations at a time.
type spent struct {
	at time.Time
	n  int
}

func newRates(l *Limits, now func() time.Time) *rates {
	return &rates{limits: l, now: now, taken: map[string][]spent{}}
}

// operations takes n operations of the data plane, or reports false and takes none.
// Callers count a bulk call of n enrollments as n.
func (r *rates) operations(n int) bool {
	return r.limits == nil || r.take("operations", n, r.limits.Operations, time.Minute)
}

// registrations takes one registration of a device.
func (r *rates) registrations() bool {
	return r.limits == nil || r.take("registrations", 1, r.limits.Registrations, time.Minute)
}

// polls takes one poll of one device.
func (r *rates) polls(registrationID string) bool {
	return r.limits == nil || r.take("polls/"+strings.ToLower(registrationID), 1, r.limits.Polls, 10*time.Second)
}

func (r *rates) take(key string, n, limit int, window time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	used := r.taken[key]
	sum := 0
	fresh := used[:0]
	for _, u := range used {
		if now.Sub(u.at) < window {
			fresh = append(fresh, u)
			sum += u.n
		}
	}
	if sum+n > limit {
		r.taken[key] = fresh
		return false
	}
	if len(r.taken) > maxRecords { // a device that has gone needs no count
		clear(r.taken)
	}
	r.taken[key] = append(fresh, spent{now, n})
	return true
}
