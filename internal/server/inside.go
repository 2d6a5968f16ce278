package server

import (
	"crypto/tls"
	"net/http"

	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// Inside is what a server serves, for callers inside this process; see Options.Inside.
// All of it may be used concurrently, until Serve returns.
type Inside struct {
	// EST answers requests whose TLS state the caller has filled in.
	EST http.Handler
	// Certificate is what a TLS client would be shown.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Machine     *rotation.Machine
	RA          *issuer.RA
	Ledger      ledger.Ledger
	// Admin is the administrative API as a person sees it. Who that is the caller says.
	Admin func(access.Principal) http.Handler
}

func (s *Server) inside(est http.Handler, own *ownTLS) Inside {
	return Inside{
		EST: est, Certificate: own.get, Machine: s.machine(), RA: s.ra, Ledger: s.ledger,
		Admin: func(p access.Principal) http.Handler {
			return s.admin(func(*http.Request) (access.Principal, bool, error) { return p, true, nil })
		},
	}
}
