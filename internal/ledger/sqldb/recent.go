package sqldb

import (
	"sync"

	"mintmark/internal/ledger"
)

// mostRecent bounds the certificates that are kept, of some 2 KB each, and mostRecentDER their size.
const (
	mostRecent    = 512
	mostRecentDER = 8 << 10
)

// recent keeps certificates in force that were read lately. A station, a gateway or a registration
// authority asks many times under the same one, and each time its record is read twice: by who
// authenticates it, and by the transaction that makes sure that it is still in force.
//
// What is kept is as the database has it: a certificate in force changes by a revocation
// alone, which passes through the committer of this process, where nobody else writes. So nothing is kept
// of a database that servers share. Nor is anything while a batch is written that may hold a revocation:
// the database shows it before COMMIT returns, which may copy the WAL first. Whoever has seen it there, as
// OCSP does, asks for the certificate then and must not get what it was.
type recent struct {
	mu       sync.Mutex
	changing bool   // nothing is kept
	round    uint64 // moved whenever one may have changed
	serial   map[string]ledger.Certificate
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
	if c.State != ledger.Valid || len(c.DER) > mostRecentDER {
		return // one that is not in force becomes another one without a revocation
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changing || r.round != round {
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

// suspend drops all that is kept, and has nothing kept until resume: one of them may change.
func (r *recent) suspend() { r.forget(true) }

// resume has certificates kept that are read from now on.
func (r *recent) resume() { r.forget(false) }

func (r *recent) forget(changing bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changing = changing
	r.round++
	clear(r.serial)
}
