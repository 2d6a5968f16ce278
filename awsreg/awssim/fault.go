package awssim

import (
	"net/http"
	"sync"
)

// Fault makes one control-plane call go wrong. It is how the tests of a
// reconciler meet throttling, outages and crashes at a chosen moment.
type Fault struct {
	// Operation is the operation to disturb, for example "RegisterCACertificate".
	Operation string

	// Nth counts calls of the operation from Inject on; 1 is the next one, and 0
	// means 1.
	Nth int

	// Code is the error code to answer, for example "ThrottlingException". Empty
	// means that the connection is cut without an answer.
	Code string

	// Status is the HTTP status of the error. 0 means 400.
	Status int

	// AfterEffect performs the operation first and then loses its answer, as a
	// crash between call and reply does. A client cannot tell the two apart.
	AfterEffect bool
}

// faults is the pending faults and the record of calls.
type faults struct {
	mu      sync.Mutex
	pending []*Fault
	calls   []string
}

// Inject arms a fault. It fires once.
func (s *Sim) Inject(f Fault) {
	if f.Nth < 1 {
		f.Nth = 1
	}
	if f.Status == 0 {
		f.Status = http.StatusBadRequest
	}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.pending = append(s.faults.pending, &f)
}

// Calls returns the names of the operations called so far, in order, including
// those that failed. Requests that did not authenticate, and operations that the
// simulator does not have, are not in it.
func (s *Sim) Calls() []string {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return append([]string(nil), s.faults.calls...)
}

// record notes a call and returns the fault that it meets, if any.
func (f *faults) record(op string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.calls) < maxCalls {
		f.calls = append(f.calls, op)
	}
	var hit *Fault
	for i := 0; i < len(f.pending); i++ {
		p := f.pending[i]
		if p.Operation != op {
			continue
		}
		if p.Nth > 1 {
			p.Nth--
		} else if hit == nil { // a second fault due now waits for the next call
			hit = p
			f.pending = append(f.pending[:i], f.pending[i+1:]...)
			i--
		}
	}
	return hit
}
