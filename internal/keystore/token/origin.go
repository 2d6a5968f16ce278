package token

import (
	"hash/maphash"
	"sync"
)

// maxOrigins is how many signatures of a key may be made before it is known whether the
// first of them verifies.
const maxOrigins = 256

var originSeed = maphash.MakeSeed()

// origin is where a signature came from.
type origin struct {
	sum     uint64 // of the signature
	leg     *leg
	session *session
}

// origins are those of the last signatures of a key.
type origins struct {
	mu   sync.Mutex
	ring [maxOrigins]origin
	next int
}

func (o *origins) put(signature []byte, l *leg, s *session) {
	sum := maphash.Bytes(originSeed, signature)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ring[o.next] = origin{sum, l, s}
	o.next = (o.next + 1) % maxOrigins
}

// of returns where a signature came from, which is known if leg is not nil.
func (o *origins) of(signature []byte) origin {
	sum := maphash.Bytes(originSeed, signature)
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.ring { // the newest first
		if at := o.ring[(o.next+maxOrigins-1-i)%maxOrigins]; at.leg != nil && at.sum == sum {
			return at
		}
	}
	return origin{}
}
