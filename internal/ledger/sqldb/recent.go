package sqldb

import (
	"sync"

	"mintmark/internal/ledger"
)

// mostRecent bounds the certificates that are kept: some 2 KB each.
const mostRecent = 512

// recent keeps certificates in force that were read lately. A station, a gateway or a registration
// authority asks many times under the same one, and each time its record is read twice: by who
// authenticates it, and by the transaction that makes sure that it is still in force.
//
// What is kept is as the database has it: a certificate in force changes by a revocation
// alone, which passes through the committer of this process, where nobody else writes. So nothing is kept
// of a database that servers share.
type recent struct {
	mu     sync.Mutex
	round  uint64 // moved whenever one may have changed
	serial map[string]ledger.Certificate
}

// get returns a certificate that is kept, and the round for put.
func (r *recent) get(serial []byte) (c ledger.Certificate, ok bool, round uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok = r.serial[string(serial)]
	return c, ok, r.round
}

// put keeps a certificate that was read from the database after get had returned the round.
func (r *recent) put(serial []byte, c ledger.Certificate, round uint64) {
	if c.State != ledger.Valid {
		return // it becomes another one without a revocation
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.round != round {
		return // it may have been read before the change
	}
	if r.serial == nil {
		r.serial = make(map[string]ledger.Certificate)
	}
	if len(r.serial) >= mostRecent {
		for other := range r.serial { // any one: who asks often is soon back
			delete(r.serial, other)
			break
		}
	}
	r.serial[string(serial)] = c
}

// forget drops all that is kept: one of them may have changed.
func (r *recent) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.round++
	clear(r.serial)
}
