package dpsreg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"mintmark/internal/reconcile"
)

// Pushing is what a machine without the CA needs beside a bundle.
type Pushing struct {
	Identity Identity
	Connect  Connect
	// Secret is as Connecting.Secret. Must be set if Identity names a file.
	Secret func(path string) ([]byte, error)
	// Proofs are those that were made so far; zero for none.
	Proofs ProofRequest
	Now    func() time.Time // time.Now if nil
	Logger *slog.Logger     // discarded if nil
}

// PlanPush returns what Push would do if every proof were there. It changes nothing.
func PlanPush(ctx context.Context, b Bundle, p Pushing) (reconcile.Plan, error) {
	r, t, err := p.registrar(b)
	if err != nil {
		return reconcile.Plan{}, err
	}
	return r.Plan(ctx, t)
}

// Push applies a bundle with the proofs that there are, on a machine without the CA.
// What still lacks a proof is in the request that it returns, with everything else
// done that can be; what waits for it is in the plan as refused. A verification code
// is asked for only where no proof is at hand, because asking ends the one before. A CA
// whose proof DPS does not take is left as it is, with no word in the request.
func Push(ctx context.Context, b Bundle, p Pushing, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, ProofRequest, error) {
	request := ProofRequest{Version: bundleVersion, Target: b.Target.Name, Proofs: []Proof{}}
	r, t, err := p.registrar(b)
	if err != nil {
		return reconcile.Plan{}, request, err
	}
	done, waits, err := r.apply(ctx, t, agreed, progress)
	for _, w := range waits {
		if w.proof != nil {
			request.Proofs = append(request.Proofs, *w.proof)
		}
	}
	return done, request, err
}

// registrar is the bundle's, with credentials and proofs.
func (p Pushing) registrar(b Bundle) (*Registrar, Target, error) {
	if p.Secret == nil {
		p.Secret = func(string) ([]byte, error) { return nil, errors.New("there is no way to read secrets") }
	}
	c, err := NewConnections(Connecting{Secret: p.Secret, Now: p.Now, Logger: p.Logger})
	if err != nil {
		return nil, Target{}, err
	}
	r, err := b.registrar(c)
	if err != nil {
		return nil, Target{}, fmt.Errorf("reading the bundle: %w", err)
	}
	if len(p.Proofs.Proofs) > 0 {
		if err := p.Proofs.check(); err != nil {
			return nil, Target{}, err
		}
		if p.Proofs.Target != b.Target.Name {
			return nil, Target{}, fmt.Errorf("the proofs are for target %q, the bundle is of %q", p.Proofs.Target, b.Target.Name)
		}
	}
	r.proofs = p.Proofs.Proofs
	t := b.Target
	t.Identity, t.Connect = p.Identity, p.Connect
	return r, t, t.Validate()
}
