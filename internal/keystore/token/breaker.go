package token

import "time"

const (
	// A key is out of use when its strikes reach tripAt: two hangs or three crashes
	// without a signature between them.
	tripAt       = 6
	hangStrikes  = 3
	crashStrikes = 2

	firstTrial = 2 * time.Second
	lastTrial  = time.Minute
)

// breaker keeps a key of which every call hangs or crashes the library from doing so
// to the calls of the other keys. It belongs to one key of one leg.
type breaker struct {
	strikes int
	trips   int
	until   time.Time // when it is tried again, while it is tripped
	reason  string
	granted bool // somebody unlocked the token since it tripped
}

// suspect reports whether the key makes one call at a time for now.
func (b *breaker) suspect() bool { return b.strikes > 0 }

// tripped reports whether the key is out of use.
func (b *breaker) tripped() bool { return b.strikes >= tripAt }

// strike notes a failure that the key is the likely cause of.
func (b *breaker) strike(n int, reason string, now time.Time) {
	was := b.tripped()
	b.strikes += n
	b.reason = reason
	if b.tripped() && !was {
		b.again(now)
	}
}

// half lets the tripped key sign again as a suspect: one more strike, and it is out of use
// for longer. For where no trial can be made in another process.
func (b *breaker) half() { b.strikes, b.granted = tripAt-1, false }

// again says that a trial of the tripped key failed.
func (b *breaker) again(now time.Time) {
	b.until = now.Add(pause(b.trips, firstTrial, lastTrial))
	b.trips++
	b.granted = false
}

// signed closes the breaker.
func (b *breaker) signed() { *b = breaker{} }

// pause is first, doubled n times, at most last.
func pause(n int, first, last time.Duration) time.Duration {
	for range n {
		if first *= 2; first >= last {
			return last
		}
	}
	return min(first, last)
}
