package dpsreg

import (
	"context"
	"crypto/sha256"
	"errors"

	"mintmark/internal/reconcile"
)

// Agreed is what those who apply have agreed to, after a plan that was made before.
type Agreed struct {
	Hash        [sha256.Size]byte // that of the plan; zero for whatever is to be done
	Destructive bool              // allows what takes something out of service
}

// ErrChanged is wrapped by what Apply returns if there is more to be done than was
// agreed to, or something else.
var ErrChanged = errors.New("the plan is not the one that was agreed to: read it again")

// Plan reads the target and returns what Apply would do.
func (r *Registrar) Plan(ctx context.Context, t Target) (reconcile.Plan, error) {
	return reconcile.Plan{}, errors.New("not built yet")
}

// Apply makes CAs and groups what they should be and returns what it did; on an
// error, what it had done by then. It changes nothing if its own plan has a refusal,
// or is not what was agreed (ErrChanged). Progress may be nil.
func (r *Registrar) Apply(ctx context.Context, t Target, agreed Agreed, progress func(reconcile.Change)) (reconcile.Plan, error) {
	return reconcile.Plan{}, errors.New("not built yet")
}
