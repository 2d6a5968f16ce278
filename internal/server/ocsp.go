package server

import (
	"context"
	"crypto"
	"crypto/x509"
	"net/http"
	"strings"
	"time"

	"mintmark/ca/revocation/ocsp"
)

// newOCSP returns the responder, or nil where the configuration has none.
func newOCSP(s *Server) *ocsp.Responder {
	c := s.config.OCSP
	if !c.Enabled {
		return nil
	}
	return ocsp.New(ocsp.Config{
		Ledger: s.ledger, Authority: s.ra.Authority,
		Issue: func(ctx context.Context, authority string) (*x509.Certificate, crypto.Signer, error) {
			return s.ra.Responder(ctx, authority, c.Certificate)
		},
		Lifetime: c.Lifetime, Outage: c.Outage, Most: c.Keep, Unlimited: s.config.Limits.Prefixes(), Now: s.ra.Now, Logger: s.log,
	})
}

// ocspSeen is the function that says when the responder last saw what is revoked; nil
// without one.
func (s *Server) ocspSeen() func() time.Time {
	if s.ocsp == nil {
		return nil
	}
	return s.ocsp.Seen
}

// revoked wakes who publishes that something was revoked by this server.
func (s *Server) revoked() {
	s.poke.Set()
	if s.ocsp != nil {
		s.ocsp.Wake()
	}
}

// runOCSP keeps the responder's answers right until ctx ends.
func (s *Server) runOCSP(ctx context.Context) {
	if s.ocsp != nil {
		s.ocsp.Run(ctx)
	}
}

// public is what the plain-HTTP listener serves. Questions to the responder go around
// the mux, which would clean the slashes out of their base64.
func (s *Server) public() http.Handler {
	published := s.crls.Handler()
	if s.ocsp == nil {
		return published
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, ocsp.Path) {
			s.ocsp.ServeHTTP(w, r)
			return
		}
		published.ServeHTTP(w, r)
	})
}
