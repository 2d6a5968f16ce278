package dpssim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Fault makes calls fail.
type Fault struct {
	// Operation is a name as in Calls, or empty for every one; a * at the end stands
	// for any rest. Skip lets so many through first, and Times ends it after so many (0
	// for never).
	Operation string `json:"operation"`
	Skip      int    `json:"skip"`
	Times     int    `json:"times"`
	// Status and Code are the answer; Status 0 cuts the connection instead.
	Status     int    `json:"status"`
	Code       int    `json:"code"`
	Message    string `json:"message"`
	RetryAfter int    `json:"retryAfter"` // seconds; 0 for no header
	// AfterEffect does what was asked before it fails.
	AfterEffect bool `json:"afterEffect"`
}

// maxFaults and maxFaultBody bound what is injected.
const (
	maxFaults    = 1000
	maxFaultBody = 64 << 10
)

func (f Fault) check() error {
	switch {
	case f.Skip < 0 || f.Times < 0 || f.RetryAfter < 0:
		return errors.New("skip, times and retryAfter are counts and not negative")
	case f.Status != 0 && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("status %d is no error", f.Status)
	case f.Status == 0 && (f.Code != 0 || f.Message != "" || f.RetryAfter != 0):
		return errors.New("code, message and retryAfter are of an answer: they need a status")
	case len(f.Operation) > 256 || len(f.Message) > 4096:
		return errors.New("operation or message is too long")
	}
	return nil
}

func (f Fault) matches(op string) bool {
	if prefix, ok := strings.CutSuffix(f.Operation, "*"); ok {
		return strings.HasPrefix(op, prefix)
	}
	return f.Operation == "" || f.Operation == op
}

// ParseFault reads a fault from JSON; unknown fields are refused.
func ParseFault(data []byte) (Fault, error) {
	if len(data) > maxFaultBody {
		return Fault{}, fmt.Errorf("parsing a fault: more than %d bytes", maxFaultBody)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var f Fault
	if err := dec.Decode(&f); err != nil {
		return Fault{}, fmt.Errorf("parsing a fault: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Fault{}, errors.New("parsing a fault: there is more behind it")
	}
	if err := f.check(); err != nil {
		return Fault{}, fmt.Errorf("parsing a fault: %w", err)
	}
	return f, nil
}

// Inject adds a fault. It panics on one that makes no sense, such as status 200.
func (s *Sim) Inject(f Fault) {
	if err := s.faults.arm(f); err != nil {
		panic("dpssim: injecting a fault: " + err.Error())
	}
}

// ClearFaults removes every fault.
func (s *Sim) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.pending = nil
}

// armed is a fault that waits.
type armed struct {
	Fault
	skip  int // calls to let pass
	fired int
}

// faults is the pending faults and the record of calls.
type faults struct {
	mu      sync.Mutex
	pending []*armed
	calls   []string
}

func (f *faults) arm(one Fault) error {
	if err := one.check(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pending) >= maxFaults {
		return fmt.Errorf("the simulator holds at most %d faults", maxFaults)
	}
	f.pending = append(f.pending, &armed{Fault: one, skip: one.Skip})
	return nil
}

func (f *faults) list() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []Fault{}
	for _, p := range f.pending {
		one := p.Fault
		one.Skip = p.skip
		if one.Times > 0 {
			one.Times -= p.fired
		}
		out = append(out, one)
	}
	return out
}

// record notes a call.
func (f *faults) record(op string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.calls) < maxCalls {
		f.calls = append(f.calls, op)
	}
}

// meet returns the fault that a call meets, if any. One call meets one fault: a second
// that was due waits for the next call.
func (f *faults) meet(op string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var hit *Fault
	for i := 0; i < len(f.pending); i++ {
		p := f.pending[i]
		if !p.matches(op) {
			continue
		}
		if p.skip > 0 {
			p.skip--
			continue
		}
		if hit != nil {
			continue
		}
		one := p.Fault
		hit = &one
		p.fired++
		if p.Times > 0 && p.fired == p.Times {
			f.pending = append(f.pending[:i], f.pending[i+1:]...)
			i--
		}
	}
	return hit
}

// Calls lists the operations that were called, in order: "certificates.createOrUpdate",
// "enrollmentGroups.put", "enrollments.bulk", "devices.register" and so on. Requests
// that did not authenticate are not in it.
func (s *Sim) Calls() []string {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return append([]string(nil), s.faults.calls...)
}
