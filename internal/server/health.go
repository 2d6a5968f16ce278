package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// report is the body of /healthz and /readyz.
type report struct {
	Status   string            `json:"status"` // ok or failing
	Findings map[string]string `json:"findings,omitempty"`
}

func (r *report) write(w http.ResponseWriter) {
	code := http.StatusOK
	r.Status = "ok"
	if len(r.Findings) > 0 {
		r.Status = "failing"
		code = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(r)
}

// healthz says whether the server can make anything durable.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	r := &report{Findings: make(map[string]string)}
	if err := s.ledger.Health(); err != nil {
		r.Findings["ledger"] = err.Error()
	}
	r.write(w)
}

const (
	// readinessAge is how long a test signature counts, so that a prober
	// cannot keep an HSM busy.
	readinessAge = 5 * time.Second
	testTimeout  = 3 * time.Second
)

// readiness says whether every label can issue: the ledger writes, the key
// signs a test, the issuing CA lives long enough.
type readiness struct {
	s  *Server
	mu sync.Mutex
	at time.Time
	r  *report
}

func (s *Server) newReadiness() *readiness { return &readiness{s: s} }

func (rd *readiness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A key that hangs must not hang every later probe with it.
	if !rd.mu.TryLock() {
		(&report{Findings: map[string]string{"readiness": "a test signature has not come back yet"}}).write(w)
		return
	}
	defer rd.mu.Unlock()
	if rd.r == nil || time.Since(rd.at) > readinessAge {
		rd.r, rd.at = rd.s.ready(context.WithoutCancel(r.Context())), time.Now()
	}
	rd.r.write(w)
}

func (s *Server) ready(ctx context.Context) *report {
	r := &report{Findings: make(map[string]string)}
	if err := s.ledger.Health(); err != nil {
		r.Findings["ledger"] = err.Error()
	}
	for _, n := range s.issuing() {
		authority, err := s.ra.Authority(n.authority)
		if err == nil {
			ctx, cancel := context.WithTimeout(ctx, testTimeout)
			err = authority.TestSign(ctx)
			cancel()
		}
		if err != nil {
			r.Findings["issuer "+n.authority] = err.Error()
		}
	}
	for _, l := range s.config.Labels {
		if err := s.ra.Usable(l.Profile, l.Issuer); err != nil {
			r.Findings[fmt.Sprintf("label %q", l.Name)] = err.Error()
		}
	}
	return r
}
