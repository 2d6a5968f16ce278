package dpsreg

import (
	"context"
	"errors"
	"time"

	"mintmark/internal/reconcile"
)

// Bundle is a target as a machine without the CA needs it: everything public, no
// secret and no key. It is JSON. What may be secret files of the target (Identity,
// SAS) is not in it; whoever pushes it has credentials of its own.
type Bundle struct {
	Version int       `json:"version"` // 1
	At      time.Time `json:"at"`
	Target  Target    `json:"target"`
	// Authorities are those that the target names, and those above them.
	Authorities []BundledAuthority `json:"authorities"`
}

// BundledAuthority is one authority.
type BundledAuthority struct {
	Name        string   `json:"name"`
	Certificate string   `json:"certificate"` // PEM
	Chain       []string `json:"chain"`       // PEM, issuer first, root last
	Live        bool     `json:"live"`        // certificates in force stand below it
}

// ProofRequest is what goes from the machine with the network to the CA.
type ProofRequest struct {
	Version int     `json:"version"` // 1
	Target  string  `json:"target"`
	Proofs  []Proof `json:"proofs"`
}

// Proof asks for, or is, one proof of possession.
type Proof struct {
	Name      string `json:"name"`      // of the certificate at DPS
	Authority string `json:"authority"` // whose key is to be proved
	SHA256    string `json:"sha256"`    // of its certificate
	Code      string `json:"code"`      // verification code: the common name
	// Certificate is the proof, PEM; empty in a request.
	Certificate string `json:"certificate,omitempty"`
}

// Bundle makes the bundle of a target. It makes no call to Azure.
func (r *Registrar) Bundle(ctx context.Context, t Target) (Bundle, error) {
	return Bundle{}, errors.New("not built yet")
}

// Prove answers a request with the CAs' own keys. It refuses a certificate that is not
// exactly the authority's, and a code that is none.
func (r *Registrar) Prove(ctx context.Context, request ProofRequest) (ProofRequest, error) {
	return ProofRequest{}, errors.New("not built yet")
}

// Push applies a bundle with the proofs that there are, on a machine without the CA.
// What still lacks a proof is in the request that it returns, with everything else
// done that can be.
func Push(ctx context.Context, b Bundle, identity Identity, secret func(string) ([]byte, error), proofs ProofRequest, progress func(reconcile.Change)) (reconcile.Plan, ProofRequest, error) {
	return reconcile.Plan{}, ProofRequest{}, errors.New("not built yet")
}
