package awssim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Fault makes calls go wrong. It is how the tests of a client meet throttling,
// outages, slowness and crashes at a chosen moment or at random. POST /_sim/faults
// takes the same members in JSON.
type Fault struct {
	// Operation is the operation to disturb, for example "RegisterCACertificate",
	// "dynamodb:PutItem", "s3:GetObject" or "mqtt:RegisterThing". A * at the end
	// stands for any rest, as in "mqtt:*"; empty means any operation.
	Operation string

	// Nth is the first call that is disturbed, counted from Inject on; 1 is the
	// next one, and 0 means 1.
	Nth int

	// Every disturbs each Every-th call from Nth on.
	Every int

	// Rate disturbs each call from Nth on with this probability, drawn from a
	// generator that starts at Seed.
	Rate float64
	Seed uint64

	// Times ends the fault after so many disturbed calls. 0 means one, or no end
	// with Every or Rate.
	Times int

	// Latency holds the call back before anything else happens. Alone it does
	// nothing more.
	Latency time.Duration

	// Code is the error code to answer, for example "ThrottlingException".
	Code string

	// Status is the HTTP status of the error. 0 means 400.
	Status int

	// Cut cuts the connection without an answer. It is implied without Code and
	// Latency.
	Cut bool

	// AfterEffect performs the operation first and then loses its answer, as a
	// crash between call and reply does. A client cannot tell the two apart.
	AfterEffect bool

	// NoEffect answers that the operation was done, with nothing else in the answer, and
	// does not do it: a change that AWS accepts and that does not show.
	NoEffect bool
}

// maxFaults and maxLatency bound what is injected.
const (
	maxFaults  = 1000
	maxLatency = time.Minute
)

func (f Fault) check() error {
	switch {
	case f.Nth < 0 || f.Every < 0 || f.Times < 0:
		return errors.New("nth, every and times are counts and not negative")
	case !(f.Rate >= 0 && f.Rate <= 1):
		return fmt.Errorf("rate is %v, not a probability", f.Rate)
	case f.Every > 0 && f.Rate > 0:
		return errors.New("every and rate exclude each other")
	case f.Latency < 0 || f.Latency > maxLatency:
		return fmt.Errorf("latency is %s, more than %s or negative", f.Latency, maxLatency)
	case f.Status != 0 && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("status %d is no error", f.Status)
	case f.Cut && f.Code != "":
		return errors.New("a cut connection has no code")
	case f.Status != 0 && f.Code == "":
		return errors.New("a status needs a code")
	case f.NoEffect && (f.Cut || f.Code != "" || f.AfterEffect):
		return errors.New("what has no effect is answered as if it had, without a code or a cut")
	case f.AfterEffect && f.slowOnly():
		return errors.New("what comes after the effect must be a code or a cut connection")
	}
	return nil
}

// slowOnly reports whether the call is answered as if nothing had been.
func (f Fault) slowOnly() bool { return f.Latency > 0 && f.Code == "" && !f.Cut && !f.NoEffect }

func (f Fault) matches(op string) bool {
	if prefix, ok := strings.CutSuffix(f.Operation, "*"); ok {
		return strings.HasPrefix(op, prefix)
	}
	return f.Operation == "" || f.Operation == op
}

// armed is a fault that waits.
type armed struct {
	Fault
	id    int
	left  int // calls to let pass
	fired int
	draw  *rand.Rand
}

// faults is the pending faults and the record of calls.
type faults struct {
	mu      sync.Mutex
	seq     int
	pending []*armed
	calls   []string
}

// Inject arms a fault. It panics on one that makes no sense, such as a rate of 2.
func (s *Sim) Inject(f Fault) {
	if _, err := s.faults.arm(f); err != nil {
		panic("awssim: injecting a fault: " + err.Error())
	}
}

// ClearFaults disarms every fault.
func (s *Sim) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.pending = nil
}

func (f *faults) arm(one Fault) (int, error) {
	if err := one.check(); err != nil {
		return 0, err
	}
	if one.Nth < 1 {
		one.Nth = 1
	}
	if one.Times == 0 && one.Every == 0 && one.Rate == 0 {
		one.Times = 1
	}
	if one.Code != "" && one.Status == 0 {
		one.Status = http.StatusBadRequest
	}
	one.Cut = one.Cut || one.Code == "" && one.Latency == 0 && !one.NoEffect
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pending) >= maxFaults {
		return 0, fmt.Errorf("the simulator holds at most %d faults", maxFaults)
	}
	f.seq++
	f.pending = append(f.pending, &armed{Fault: one, id: f.seq, left: one.Nth - 1, draw: rand.New(rand.NewPCG(one.Seed, 0))})
	return f.seq, nil
}

// Calls returns the names of the operations called so far, in order, including
// those that failed. Requests that did not authenticate, and operations that the
// simulator does not have, are not in it.
func (s *Sim) Calls() []string {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return append([]string(nil), s.faults.calls...)
}

// record notes a call.
func (f *faults) record(op string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.calls) < maxCalls {
		f.calls = append(f.calls, op)
	}
}

// meet returns the fault that a call meets, if any. One call meets one fault: a
// second that was due at a count waits for the next call.
func (f *faults) meet(op string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var hit *Fault
	for i := 0; i < len(f.pending); i++ {
		p := f.pending[i]
		if !p.matches(op) {
			continue
		}
		if p.left > 0 {
			p.left--
			continue
		}
		if p.Rate > 0 && p.draw.Float64() >= p.Rate || hit != nil {
			continue
		}
		one := p.Fault
		hit = &one
		p.fired++
		p.left = max(0, p.Every-1)
		if p.Times > 0 && p.fired == p.Times {
			f.pending = append(f.pending[:i], f.pending[i+1:]...)
			i--
		}
	}
	return hit
}
