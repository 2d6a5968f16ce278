package server

import (
	"context"
	"crypto/fips140"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"mintmark/admin/adminhttp"
	"mintmark/internal/keystore/token"
)

// report is the body of /healthz and /readyz.
type report struct {
	Status   string            `json:"status"` // ok or failing
	Findings map[string]string `json:"findings,omitempty"`
	// Warnings are what does not keep anything from being issued yet.
	Warnings []string `json:"warnings,omitempty"`
	// Tested says of each issuing CA how many seconds ago its key made a test
	// signature that was right.
	Tested  map[string]float64 `json:"tested_seconds_ago,omitempty"`
	FIPS140 fipsState          `json:"fips140"`
}

// fipsState is the FIPS 140-3 mode of the process (docs/fips.md).
type fipsState struct {
	Enabled bool   `json:"enabled"`
	Version string `json:"version"`
}

// FIPS140 says whether this process runs in FIPS 140-3 mode, and with which version of
// Go's cryptographic module.
func FIPS140() (enabled bool, version string) { return fips140.Enabled(), fips140.Version() }

func newReport() *report {
	r := &report{Findings: make(map[string]string)}
	r.FIPS140.Enabled, r.FIPS140.Version = FIPS140()
	return r
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
	r := newReport()
	if err := s.ledger.Health(); err != nil {
		r.Findings["ledger"] = err.Error()
	}
	r.write(w)
}

// newReadiness returns the handler of /readyz. It says whether every label can issue:
// the ledger writes, the key signs a test, the issuing CA lives long enough.
func (s *Server) newReadiness() http.Handler {
	tests := newKeyTests(func(ctx context.Context, name string) error { return plain(s.testKey(ctx, name)) })
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.ready(tests).write(w)
	})
}

// plain leaves out of an error what it says of the token beside its state: probes are
// answered to everybody, and GET /v1/hsm has the rest.
func plain(err error) error {
	if away := (*token.UnavailableError)(nil); errors.As(err, &away) {
		return fmt.Errorf("token %q is %s", away.Token, adminhttp.StateWords(away.State))
	}
	return err
}

func (s *Server) ready(tests *keyTests) *report {
	r := newReport()
	if err := s.ledger.Health(); err != nil {
		r.Findings["ledger"] = err.Error()
	}
	var names []string
	for _, n := range s.issuing() {
		names = append(names, n.authority)
	}
	r.Tested = make(map[string]float64)
	for name, result := range tests.look(names) {
		if result.finding != "" {
			r.Findings["issuer "+name] = result.finding
		}
		if !result.good.IsZero() {
			r.Tested[name] = time.Since(result.good).Round(100 * time.Millisecond).Seconds()
		}
	}
	for _, l := range s.config.Labels {
		if err := s.ra.Usable(l.Profile, l.Issuer); err != nil {
			r.Findings[fmt.Sprintf("label %q", l.Name)] = err.Error()
		}
	}
	for _, t := range s.tokens() {
		r.Warnings = append(r.Warnings, adminhttp.TokenWords(t.Status())...)
	}
	return r
}
